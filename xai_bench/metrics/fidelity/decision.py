"""What becomes of the predicted class when the most important units are removed.

For classifiers, and for language models that choose between answers. The class is the one that is
predicted at x, whatever is explained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.metrics.fidelity.deletion import ERASER_FRACTIONS
from xai_bench.metrics.probes.removal.decisions import TopRemoved
from xai_bench.types import Baseline, Case, KnownScores

_FLOOR = math.log(1e-6)
"""A probability below one in a million counts as that: its logarithm has no bound."""


@dataclass(frozen=True)
class LogOdds:
    """Mean change of the log-probability of the predicted class without the top 1, 5, 10, 20, 50 %.

    Probabilities below 1e-6 count as that. Costs at most `1 + 5 R` rows.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Shrikumar+ 2017, arXiv:1704.02685; fractions: arXiv:1911.03429"
    # The eight units are no classifier.
    known_scores: ClassVar[KnownScores] = KnownScores()
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        """`[B]`, negative where the class becomes less likely."""
        decisions = case.measure(TopRemoved(self.baseline, ERASER_FRACTIONS))
        low = decisions.log_probability.clamp(min=_FLOOR)
        return (low - decisions.intact.clamp(min=_FLOOR)[:, None]).mean(1)


@dataclass(frozen=True)
class DecisionFlip:
    """1 where the prediction changes without the most important unit, else 0.

    Of references, the mean lead of the class over the others decides. Costs `1 + R` rows.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Serrano & Smith 2019, arXiv:1906.03731"
    known_scores: ClassVar[KnownScores] = KnownScores()
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or 1."""
        decisions = case.measure(TopRemoved(self.baseline, (0.0,)))
        return (decisions.lead[:, 0] < 0).double()


@dataclass(frozen=True)
class FlipShare:
    """The smallest share of units, most important first, without which the prediction changes.

    Up to `max_steps` units are removed one by one, more in groups of about equal size; all are
    tried, since a prediction may change back. 1 where it never changes. Costs at most
    `1 + R * min(U, max_steps)` rows.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Serrano & Smith 2019, arXiv:1906.03731 (fraction of tokens)"
    known_scores: ClassVar[KnownScores] = KnownScores()
    baseline: Baseline
    max_steps: int = 64

    def score(self, case: Case) -> Tensor:
        """`[B]`, above 0 and at most 1."""
        steps = tuple(step / self.max_steps for step in range(1, self.max_steps + 1))
        decisions = case.measure(TopRemoved(self.baseline, steps))
        n_units = decisions.removed[:, -1:].double()
        share = torch.where(decisions.lead < 0, decisions.removed / n_units, 1.0)
        return share.amin(1)
