"""Whether models that were trained from other seeds get the same explanation.

Needs the data and the recipe of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.metrics.common import variants_of
from xai_bench.metrics.randomisation.parameters import similarity
from xai_bench.types import Case, KnownScores


@dataclass(frozen=True)
class ModelAgreement:
    """Mean rank correlation with the maps of models trained from other seeds; signs count.

    1 for a map that ignores the model: read it beside the randomisation checks. Models whose map is
    the same everywhere are left out; NaN where none is left, and for a map that is the same
    everywhere. Costs `n_models` trainings per cell, and as many explanations.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Fel+ 2022, arXiv:2009.04521 (the question, not the index)"
    # All models are the same function.
    known_scores_retrained: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1, random=0)
    n_models: int = 3

    def score(self, case: Case) -> Tensor:
        """`[B]`, from -1 to 1."""
        variants = variants_of(case)
        models = [variants.retrained(member) for member in range(1, self.n_models + 1)]
        # For the same target, even where another model predicts another class: one question to all.
        maps = [case.explain(case.inputs, model=model) for model in models]
        similarities = [similarity(case.attribution, a, case.inputs, signed=True) for a in maps]
        return torch.stack(similarities, dim=1).nanmean(1)
