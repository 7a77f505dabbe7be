"""What one explanation takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.metrics.probes.flops import RowFlops
from xai_bench.types import Case


@dataclass(frozen=True)
class Seconds:
    """Wall time per explanation; a batch's time is shared evenly by its samples."""

    category: ClassVar[str] = "cost"
    higher_is_better: ClassVar[bool] = False
    reproducible: ClassVar[bool] = False

    def score(self, case: Case) -> Tensor:
        return case.cost.seconds


@dataclass(frozen=True)
class ForwardRows:
    """Rows sent forward through the model per explanation, counted."""

    category: ClassVar[str] = "cost"
    higher_is_better: ClassVar[bool] = False

    def score(self, case: Case) -> Tensor:
        return case.cost.forward_rows


@dataclass(frozen=True)
class GradientRows:
    """Rows sent back through the model per explanation, counted."""

    category: ClassVar[str] = "cost"
    higher_is_better: ClassVar[bool] = False

    def score(self, case: Case) -> Tensor:
        return case.cost.gradient_rows


@dataclass(frozen=True)
class PeakMemory:
    """Highest resident memory above the start of explaining the batch, in MB (10^6 bytes)."""

    category: ClassVar[str] = "cost"
    higher_is_better: ClassVar[bool] = False
    reproducible: ClassVar[bool] = False

    def score(self, case: Case) -> Tensor:
        return case.cost.peak_bytes / 1e6


@dataclass(frozen=True)
class FitSeconds:
    """Wall time of the explainer's one-off work for the whole cell, the same for every sample."""

    category: ClassVar[str] = "cost"
    higher_is_better: ClassVar[bool] = False
    reproducible: ClassVar[bool] = False

    def score(self, case: Case) -> Tensor:
        return torch.full_like(case.cost.seconds, case.cost.fit_seconds)


@dataclass(frozen=True)
class ModelFlops:
    """Millions of floating-point operations of the model per explanation: counted rows, forward and
    back, times those of one row.

    The same on every machine. The explainer's own arithmetic is left out, and so are operations on
    single numbers. NaN where the model does nothing that is counted.
    """

    category: ClassVar[str] = "cost"
    higher_is_better: ClassVar[bool] = False

    def score(self, case: Case) -> Tensor:
        row, cost = case.measure(RowFlops()), case.cost
        spent = cost.forward_rows * row.forward + cost.gradient_rows * row.gradient
        return spent / 1e6 if row.forward > 0 else torch.full_like(spent, torch.nan)
