"""Whether the standard errors that an explainer states are as large as its errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.metrics.common import pooled, total
from xai_bench.metrics.probes.removal.exact import ExactShapley
from xai_bench.types import Baseline, Case, KnownScores, Unsupported

_ROUNDING = 1e-5
"""Relative to the largest exact value: the error of single precision where nothing is drawn."""


@dataclass(frozen=True)
class IntervalCoverage:
    """Share of units whose interval, attribution plus or minus error, covers the Shapley value.

    The interval is Student's where the explainer states degrees of freedom, else the normal one.
    Errors are right where the mean is near `confidence`. Below, they are too small, or the
    explainer estimates something else, as Banzhaf and LIME do; above, they are too large. The exact
    values are those of the game of `baseline`, which has to be the explainer's own and
    deterministic, or its draws count as errors. Units without a stated error are left out; NaN
    where all are. Costs `2^U * R` forward rows per sample, shared by all explainers.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Covert & Lee 2021, arXiv:2012.01536 (the errors); Student 1908"
    version: ClassVar[int] = 2
    scale_invariant: ClassVar[bool] = False
    # Normal numbers with a stated error of 1: the mean over k = 1, ..., 8 of their probability to
    # lie within 1.96 of k.
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=0, random=0.18562)
    baseline: Baseline
    confidence: float = 0.95
    max_units: int = 12

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        stated = case.explanation.standard_error
        if stated is None:
            raise Unsupported("the explainer states no standard error")
        if case.kind != "contribution":
            raise Unsupported(f"attributions of kind '{case.kind}' do not estimate Shapley values")
        exact = case.measure(ExactShapley(self.baseline, self.max_units)).values
        error = units.pool(stated.double(), case.inputs.units)
        # Of the two-sided interval: 0.975 for a confidence of 0.95.
        half = _quantile((1 + self.confidence) / 2, case.explanation.degrees_of_freedom)
        rounding = _ROUNDING * exact.abs().amax(1, keepdim=True)
        # Errors of 0, of what was not drawn, would else cover nothing but equal bits.
        covered = (pooled(case) - exact).abs() <= half * error + rounding
        counted = units.present(case.inputs.units) & ~error.isnan()
        return total((covered & counted).double()) / total(counted.double())


def _quantile(probability: float, degrees_of_freedom: Tensor | None) -> Tensor:
    """`[B] -> [B, 1]`: of Student's distribution, or of the normal one where None are stated."""
    from scipy.special import stdtrit

    if degrees_of_freedom is None:
        degrees_of_freedom = torch.tensor([torch.inf], dtype=torch.float64)
    return torch.as_tensor(stdtrit(degrees_of_freedom.numpy(), probability))[:, None]
