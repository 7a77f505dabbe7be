"""What other models say, trained by the same recipe: from other seeds, on shuffled labels, or on
data without what the explanation points at. Needs the data and the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.metrics.randomisation import similarity
from xai_bench.probes.retrained import RetrainedLoss, lab_of
from xai_bench.types import Baseline, Case

FRACTIONS = (0.1, 0.3, 0.5)


@dataclass(frozen=True)
class LabelRandomisation:
    """Similarity of magnitudes with the map of a model trained on shuffled labels.

    1 for a map that ignores the model. NaN where either map is the same everywhere. Costs one
    training per cell, and one explanation.
    """

    category: ClassVar[str] = "randomisation"
    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Adebayo+ 2018, arXiv:1810.03292"
    version: ClassVar[int] = 1
    reproducible: ClassVar[bool] = True

    def score(self, case: Case) -> Tensor:
        other = case.explain(case.inputs, model=lab_of(case).mislabelled())
        return similarity(case.attribution, other, case.inputs)


@dataclass(frozen=True)
class ModelAgreement:
    """Mean similarity with the maps of models trained from other seeds; signs count.

    1 for a map that ignores the model: read it beside the randomisation checks. Models whose map is
    the same everywhere are left out; NaN where none is left, and for a map that is the same
    everywhere. Costs `n_models` trainings per cell, and as many explanations.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Fel+ 2022, arXiv:2009.04521 (the question, not the index)"
    version: ClassVar[int] = 1
    reproducible: ClassVar[bool] = True
    n_models: int = 3

    def score(self, case: Case) -> Tensor:
        models = [lab_of(case).retrained(member) for member in range(1, self.n_models + 1)]
        maps = [case.explain(case.inputs, model=model) for model in models]
        found = [similarity(case.attribution, a, case.inputs, signed=True) for a in maps]
        return torch.stack(found, dim=1).nanmean(1)


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
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Hooker+ 2019, arXiv:1806.10758"
    version: ClassVar[int] = 1
    reproducible: ClassVar[bool] = True
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
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Hooker+ 2019, arXiv:1806.10758"
    version: ClassVar[int] = 1
    reproducible: ClassVar[bool] = True
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        return case.measure(RetrainedLoss(self.baseline, FRACTIONS, keep=True)).mean(1)
