"""Whether the map changes when the model is trained on shuffled labels.

Needs the data and the recipe of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai_bench.metrics.common import variants_of
from xai_bench.metrics.randomisation.parameters import similarity
from xai_bench.types import Case, KnownScores


@dataclass(frozen=True)
class LabelRandomisation:
    """Similarity of magnitudes with the map of a model trained on shuffled labels.

    1 for a map that ignores the model. NaN where either map is the same everywhere. Costs one
    training per cell, and one explanation.
    """

    category: ClassVar[str] = "randomisation"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Adebayo+ 2018, arXiv:1810.03292"
    known_scores: ClassVar[KnownScores] = KnownScores(random=0)

    def score(self, case: Case) -> Tensor:
        """`[B]`, from -1 to 1."""
        other = case.explain(case.inputs, model=variants_of(case).mislabelled())
        return similarity(case.attribution, other, case.inputs)
