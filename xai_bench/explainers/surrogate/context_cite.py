"""ContextCite: which parts of a context a language model's answer rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.explainers.removal.engine import UnitAttributions
from xai_bench.explainers.surrogate.lime import LassoLIME
from xai_bench.types import Kind


@dataclass(frozen=True)
class ContextCite(LassoLIME):
    """A sparse linear model of the output on which units are kept, each with chance 1/2.

    Made for few model rows and units that are sentences; all coalitions weigh the same. `alpha`
    punishes sizes in standard deviations of the sample's own outputs, so that what survives depends
    on neither the unit of the output nor the length of the answer: Cohen-Wang+ 2024 divide by the
    length before a fixed penalty, and lose more parts the longer the answer is.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    paper: ClassVar[str] = "Cohen-Wang+ 2024, arXiv:2409.00729"
    version: ClassVar[int] = 1
    # Drawn columns correlate by chance; the penalty leaves out what is small.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry", "linearity")

    budget: int = 64
    width: float = math.inf
    alpha: float = 0.05

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """The lasso of outputs in their own standard deviations, in units of the output again."""
        # Added up one by one: a sum would round by the number of samples beside this one.
        n = values.shape[1]
        mean = values.cumsum(1)[:, -1:] / n
        size = ((values - mean).square().cumsum(1)[:, -1:] / n).sqrt()
        scale = torch.where(size > 0, size, 1.0)
        return UnitAttributions(super().solve(kept, values / scale).values * scale)
