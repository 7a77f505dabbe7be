"""Explainers that remove units and watch the output drop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.explainers.credit import Credits, combined, explained
from xai_bench.types import Baseline, Inputs, Kind, Model, Range, Rng, Rows


@dataclass(frozen=True)
class LeaveOneOut:
    """The drop of the output when one unit is removed. Li+ 2016."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Li+ 2016, arXiv:1612.08220"
    version: ClassVar[int] = 1

    baseline: Baseline

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        return explained(self, model, inputs, targets, rng=rng)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows((n_units + 1) * n_references)

    def coalitions(self, n_units: int) -> Tensor:
        full = torch.ones(1, n_units, dtype=torch.bool)
        return torch.cat([full, ~torch.eye(n_units, dtype=torch.bool)])

    def solve(self, kept: Tensor, values: Tensor) -> Credits:
        return Credits(values[:, :1] - values[:, 1:])


@dataclass(frozen=True)
class Occlusion:
    """The drop of the output when a sliding window of consecutive units is removed.

    A window's drop is shared evenly by its units; a unit gets the mean over the windows that cover
    it. The last window ends at the last unit. Zeiler & Fergus 2014, who give every unit the whole
    drop: the same up to the factor `window`.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Zeiler & Fergus 2014, arXiv:1311.2901"
    version: ClassVar[int] = 1
    search: ClassVar[Mapping[str, Range]] = {"window": Range(1, 8, whole=True)}

    baseline: Baseline
    window: int = 3
    stride: int = 1

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        if not 1 <= self.stride <= self.window:
            raise ValueError(
                f"occlusion found window {self.window} and stride {self.stride}; "
                "give 1 <= stride <= window, so that every unit is covered"
            )
        return explained(self, model, inputs, targets, rng=rng)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows((1 + self._n_windows(n_units)) * n_references)

    def _n_windows(self, n_units: int) -> int:
        return 1 + math.ceil(max(n_units - self.window, 0) / self.stride)

    def coalitions(self, n_units: int) -> Tensor:
        last = max(n_units - self.window, 0)
        first = (self.stride * torch.arange(self._n_windows(n_units))).clamp(max=last)[:, None]
        unit = torch.arange(n_units)
        dropped = (unit >= first) & (unit < first + self.window)
        return torch.cat([torch.ones(1, n_units, dtype=torch.bool), ~dropped])

    def solve(self, kept: Tensor, values: Tensor) -> Credits:
        return shared_drops(kept, values)


def shared_drops(kept: Tensor, values: Tensor) -> Credits:
    """Of the full coalition and windows: a window's drop is shared evenly by its units, and a unit
    gets the mean over the windows that cover it.
    """
    dropped = (~kept[1:]).double()
    share = dropped / dropped.sum(1, keepdim=True) / dropped.sum(0)
    return Credits(combined(values[:, :1] - values[:, 1:], share))
