"""What a model says of background rows, class by class: what global explainers learn from."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_bench.core import coalitions
from xai_bench.types import Inputs, Model, Unsupported


def answers(model: Model, background: Inputs) -> Tensor:
    """`[N, C]` float64: the target output of every row for every class; `N * C` rows."""
    points = background.x[:, None]
    classes = torch.arange(model.n_outputs).expand(len(background), -1)
    columns = [coalitions.values_at(model, background, c, points) for c in classes.T]
    return torch.cat(columns, dim=1)


def require_classes(targets: Tensor) -> None:
    """Raise `Unsupported` where the target is more than a class."""
    if targets.is_floating_point():
        raise Unsupported("a surrogate is learnt per class, and this target depends on the label")


def of_layout(values: Tensor, layout: Tensor, inputs: Inputs) -> Tensor:
    """`[B, *S]` values of units that must be `layout [*S]` in every sample."""
    if not bool((inputs.units == layout).all()):
        raise Unsupported("global importance needs units that are the same in every sample")
    return values.to(inputs.x.dtype).expand(inputs.x.shape).clone()
