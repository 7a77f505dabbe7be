"""What one explanation costs: rows through the model first, which are the same on every machine."""

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
        """`[B]`, in seconds."""
        return case.cost.seconds


@dataclass(frozen=True)
class ForwardRows:
    """Rows sent forward through the model per explanation, counted."""

    category: ClassVar[str] = "cost"
    higher_is_better: ClassVar[bool] = False

    def score(self, case: Case) -> Tensor:
        """`[B]`, a number of rows."""
        return case.cost.forward_rows


@dataclass(frozen=True)
class GradientRows:
    """Rows sent back through the model per explanation, counted."""

    category: ClassVar[str] = "cost"
    higher_is_better: ClassVar[bool] = False

    def score(self, case: Case) -> Tensor:
        """`[B]`, a number of rows."""
        return case.cost.gradient_rows


@dataclass(frozen=True)
class PeakMemory:
    """Highest resident memory above the start of explaining the batch, in MB (10^6 bytes)."""

    category: ClassVar[str] = "cost"
    higher_is_better: ClassVar[bool] = False
    reproducible: ClassVar[bool] = False

    def score(self, case: Case) -> Tensor:
        """`[B]`, in MB; NaN where the operating system does not say."""
        return case.cost.peak_bytes / 1e6


@dataclass(frozen=True)
class FitSeconds:
    """Wall time of the explainer's one-off work for the whole cell, the same for every sample."""

    category: ClassVar[str] = "cost"
    higher_is_better: ClassVar[bool] = False
    reproducible: ClassVar[bool] = False

    def score(self, case: Case) -> Tensor:
        """`[B]`, in seconds."""
        return torch.full_like(case.cost.seconds, case.cost.fit_seconds)


@dataclass(frozen=True)
class ModelFlops:
    """Millions of floating-point operations of the model per explanation.

    Counted rows, forward and back, times the operations of one row: the same on every machine. The
    explainer's own arithmetic is left out, and so are element-wise operations. NaN where the model
    does nothing that is counted.
    """

    category: ClassVar[str] = "cost"
    higher_is_better: ClassVar[bool] = False

    def score(self, case: Case) -> Tensor:
        """`[B]`, in millions of operations."""
        row, cost = case.measure(RowFlops()), case.cost
        spent = cost.forward_rows * row.forward + cost.gradient_rows * row.gradient
        return spent / 1e6 if row.forward > 0 else torch.full_like(spent, torch.nan)
