"""Outputs of a model at many points, in calls of at most `model.max_rows` rows."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_bench.types import Inputs, Model


def row_batches(model: Model, n_rows: int, *, gradient: bool = False) -> tuple[Tensor, ...]:
    """Row numbers 0 .. `n_rows - 1` (long), split into what the model takes in one call."""
    most = gradient_rows(model) if gradient else model.max_rows
    batches: tuple[Tensor, ...] = torch.arange(n_rows).split(most)
    return batches


def gradient_rows(model: Model) -> int:
    """The most rows of a call that a way back follows; `max_rows` where the model says no other."""
    most: int | None = getattr(model, "max_gradient_rows", None)
    return model.max_rows if most is None else most


def room(model: Model) -> int:
    """The most rows of a call that cannot be split; `max_rows` where the model says no other."""
    most: int | None = getattr(model, "room", None)
    return model.max_rows if most is None else most


def filled_up(rows: Tensor, n_rows: int) -> Tensor:
    """`rows [n, ...]`, and the last one again up to `n_rows`, as models fill their batches."""
    copies = rows[-1:].detach().expand(n_rows - len(rows), *rows.shape[1:])
    return torch.cat([rows, copies])


@torch.no_grad()
def own_outputs(model: Model, inputs: Inputs) -> Tensor:
    """`[N, C]` in the precision of the model; `N` rows."""
    if len(inputs) <= model.max_rows:
        return model.outputs(inputs)
    batches = row_batches(model, len(inputs))
    return torch.cat([model.outputs(inputs.take(rows)) for rows in batches])


def outputs(model: Model, inputs: Inputs) -> Tensor:
    """`[N, C]`; `N` rows."""
    return own_outputs(model, inputs).double()


def outputs_at(model: Model, inputs: Inputs, points: Tensor) -> Tensor:
    """`points [B, K, *S] -> [B, K, C]`; `K` rows per sample."""
    flat = outputs(model, inputs.stacked(points.to(inputs.x.dtype)))
    return flat.view(*points.shape[:2], -1)


@torch.no_grad()
def target_outputs(model: Model, inputs: Inputs, targets: Tensor) -> Tensor:
    """`[N]`: the explained scalar of each sample; `N` rows."""
    batches = row_batches(model, len(inputs))
    parts = [model.target_output(inputs.take(rows), targets[rows]) for rows in batches]
    return torch.cat(parts).double()


def class_outputs(model: Model, inputs: Inputs) -> Tensor:
    """`[N, C]`: the explained scalar of each sample were each class its target; `N * C` rows."""
    classes = torch.arange(model.n_outputs, device=inputs.x.device)
    # Class by class: the target may be any function of all outputs, such as a margin.
    columns = [target_outputs(model, inputs, c.expand(len(inputs))) for c in classes]
    return torch.stack(columns, dim=1)
