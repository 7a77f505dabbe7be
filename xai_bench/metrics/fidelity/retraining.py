"""Models retrained without what an explanation points at, or on nothing else.

Needs the data and the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai_bench.metrics.probes.other_models.retrained import RetrainedLoss
from xai_bench.types import Baseline, Case

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
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        return case.measure(RetrainedLoss(self.baseline, FRACTIONS, keep=True)).mean(1)
