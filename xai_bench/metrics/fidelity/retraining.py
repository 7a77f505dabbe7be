"""Models retrained without what an explanation points at, or on nothing else.

Needs the data and the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai_bench.metrics.probes.other_models.retrained import RetrainedLoss
from xai_bench.types import Baseline, Case, KnownScores

FRACTIONS = (0.1, 0.3, 0.5)


@dataclass(frozen=True)
class RemoveAndRetrain:
    """Rise of the loss when the most important units are removed from all data and the model is
    trained anew, mean over the fractions.

    What a removed unit said may be said by others: redundant data hides good explanations. And
    which units are removed may tell the class. Costs a training per fraction and explainer, and
    explanations of the training and validation parts.
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
        return case.measure(RetrainedLoss(self.baseline, FRACTIONS)).mean(1)


@dataclass(frozen=True)
class KeepAndRetrain:
    """Rise of the loss when nothing but the most important units is kept in all data and the model
    is trained anew, mean over the fractions.

    Costs as much as removing them; the explanations are the same.
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
        return case.measure(RetrainedLoss(self.baseline, FRACTIONS, keep=True)).mean(1)
