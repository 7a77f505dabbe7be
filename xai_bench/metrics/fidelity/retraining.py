"""How much worse a model gets that is retrained without the important units, or on them alone.

Needs the data and the recipe of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai_bench.metrics.probes.other_models.retrained import RetrainedLoss
from xai_bench.types import Baseline, Case, KnownScores

FRACTIONS = (0.1, 0.3, 0.5)
"""Shares of units that are removed or kept; each costs a training per explainer."""


@dataclass(frozen=True)
class RemoveAndRetrain:
    """Rise of the loss when the model is retrained on data without the most important units.

    Mean over 10, 30 and 50 % of the units. Where other units carry the same information, the loss
    does not rise and good explanations score low; and which units are missing may itself reveal the
    class. Costs a training per fraction and explainer, and explanations of the training and
    validation parts.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Hooker+ 2019, arXiv:1806.10758"
    sign_invariant: ClassVar[bool] = True
    # Columns add 144, 25, 9, 4, 1 and 1/4 to the squared output, the loss without them; the
    # fractions take 1, 2 and 3 of six columns, from the largest or from the smallest on.
    known_scores_retrained: ClassVar[KnownScores] = KnownScores(
        exact=(144 + 169 + 178) / 3, opposite=(0.25 + 1.25 + 5.25) / 3
    )
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the loss: cross-entropy in nats, or squared error."""
        return case.measure(RetrainedLoss(self.baseline, FRACTIONS)).mean(1)


@dataclass(frozen=True)
class KeepAndRetrain:
    """Rise of the loss when the model is retrained on the most important units alone.

    Mean over 10, 30 and 50 % of the units. Costs as much as removing them; the explanations are
    shared.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Hooker+ 2019, arXiv:1806.10758"
    sign_invariant: ClassVar[bool] = True
    # The loss of everything, 183.25, less what the kept columns are worth.
    known_scores_retrained: ClassVar[KnownScores] = KnownScores(
        exact=183.25 - (144 + 169 + 178) / 3, opposite=183.25 - (0.25 + 1.25 + 5.25) / 3
    )
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the loss: cross-entropy in nats, or squared error."""
        return case.measure(RetrainedLoss(self.baseline, FRACTIONS, keep=True)).mean(1)
