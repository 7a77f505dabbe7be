"""What people know of the samples: true attributions, evidence, sensitive columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xai_bench.adapters.attributions import attribution_of
from xai_bench.adapters.layout import Layout
from xai_bench.adapters.targets import Known, labels_of
from xai_bench.models.base import Target
from xai_bench.types import Inputs


def with_truth(layout: Layout, truth: Any, target: Target, targets: Tensor) -> Inputs:
    """The samples with attributions known to be right, or a function of x `[B, *S]` that gives
    them; without, where the target does not follow the output, such as a loss.

    Raises ValueError for attributions of another shape.
    """
    inputs = layout.inputs
    if truth is None or not target.follows_output:
        return inputs
    if callable(truth) and not isinstance(truth, Tensor):

        def of_x(rows: Inputs, targets: Tensor) -> Tensor:
            return torch.as_tensor(truth(rows.x)).double()

        return replace(inputs, domain=replace(inputs.domain, truth=of_x))
    values = attribution_of(truth, layout, targets, 1)

    def of_samples(rows: Inputs, targets: Tensor) -> Tensor:
        return values[rows.index]

    return replace(inputs, domain=replace(inputs.domain, truth=of_samples))


def with_labels(inputs: Inputs, labels: Any, known: Known, n_outputs: int) -> Inputs:
    """The samples, their domain told the true labels of its background rows, where there are any.

    Raises ValueError where rows and labels, or classes and labels, do not fit.
    """
    if labels is None:
        return inputs
    n_classes = n_outputs if known.task == "classification" else 0
    rows = inputs.domain.background
    codes = labels_of(labels, len(rows), n_classes, known.classes)
    return replace(inputs, domain=replace(inputs.domain, labels=codes))


def with_sensitive(inputs: Inputs, groups: Mapping[str, Tensor], layout: Layout) -> Inputs:
    """The samples, their domain told which elements stand for the columns of these groups."""
    places = [k for k, name in enumerate(layout.names) if name in groups]
    if not places:
        return inputs
    sensitive = torch.isin(inputs.units[0], torch.tensor(places))
    return replace(inputs, domain=replace(inputs.domain, sensitive=sensitive))


def rationale_of(given: Any, layout: Layout, targets: Tensor) -> Tensor | None:
    """`[N, *S]` bool, given so or for each unit. Raises ValueError for another shape."""
    return None if given is None else attribution_of(given, layout, targets, 1) > 0
