"""Whether the class is still recognised when the important units are inpainted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.calls.model_outputs import own_outputs
from xai_bench.core.inpainting import NoisyLinear
from xai_bench.metrics.common import pooled
from xai_bench.metrics.probes.removal.curves import counts
from xai_bench.types import Case, KnownScores, Unsupported

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of units that are replaced."""


@dataclass(frozen=True)
class Road:
    """Share of fractions at which the largest output is still the true label's.

    The top `ceil(f * U)` units are replaced by noisy linear imputation, which leaves no edges that
    would reveal their shape; the mean over samples is the accuracy. `noise` is in standard
    deviations. Needs images or series, a classifier and labels. Costs one forward row and one
    linear system per fraction.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Rong+ 2022, arXiv:2202.00449"
    known_scores: ClassVar[KnownScores] = KnownScores()  # eight units are neither image nor series
    noise: float = 0.1
    fractions: tuple[float, ...] = FRACTIONS

    @torch.no_grad()
    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        inputs, model, labels, rng = case.inputs, case.model, case.labels, case.rng.child("road")
        if labels is None or model.n_outputs < 2:
            raise Unsupported("ROAD measures accuracy; it needs a classifier and true labels")
        imputer = NoisyLinear(self.noise)
        rank = units.ranking(pooled(case), inputs.units, rng=rng)
        removed = counts(units.count(inputs.units), tuple(self.fractions))
        correct = []
        for n_removed in removed.unbind(1):
            # The same stream at every fraction, so that only the removed units differ.
            kept = (rank >= n_removed[:, None])[:, None]
            points = imputer.impute(inputs, kept, rng=rng)[:, 0, 0]
            outputs = own_outputs(model, inputs.with_x(points))
            # The true label, as in the paper: accuracy, not agreement with the prediction.
            correct.append(outputs.argmax(1) == labels)
        return torch.stack(correct, dim=1).double().mean(1)
