"""Do samples with one explanation get one prediction?

Each sample is held against a fixed part of the data, never against its batch. The others are
explained for the sample's own target: an explanation of another output would be another statement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.metrics.common import norm, pooled, total
from xai_bench.metrics.probes.same_class import ClassCompanions
from xai_bench.types import Case, KnownScores


@dataclass(frozen=True)
class Consistency:
    """Share of the companions with the same discrete explanation that get the same prediction.

    The discrete explanation says which units are the `n_top` largest by magnitude, and their signs.
    The companions are the first `n_companions` rows of the validation part. NaN where none has the
    sample's explanation, and for a map of zeros. A map that is the same for all inputs scores the
    share of the sample's class. Costs `n_companions` explanations per class and explainer.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Dasgupta+ 2022, arXiv:2202.00734"
    sign_invariant: ClassVar[bool] = True
    # The largest columns tell the class, the smallest ones nothing of it.
    known_scores_retrained: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1 / 2)
    n_top: int = 2
    n_companions: int = 100

    def score(self, case: Case) -> Tensor:
        found = case.measure(ClassCompanions(self.n_companions))
        own = self._discrete(pooled(case), case)
        alike = [(own == self._discrete(maps, case)).all(1) for maps in found.each()]
        return _share(torch.stack(alike, dim=1) & (own != 0).any(1, keepdim=True), found.same)

    def _discrete(self, maps: Tensor, case: Case) -> Tensor:
        """`[B, U]`: the signs of the largest units, 0 elsewhere; ties fall alike in all maps."""
        rank = units.ranking(maps.abs(), case.inputs.units, rng=case.rng.child("consistency"))
        return torch.where(rank < self.n_top, maps.sign(), 0)


@dataclass(frozen=True)
class SufficiencyDasgupta:
    """Share of the companions with a similar explanation that get the same prediction.

    Explanations are similar where the cosine between them is at least `similarity`. The companions
    are the first `n_companions` rows of the validation part. NaN where none is similar, and for a
    map of zeros. A map that is the same for all inputs scores the share of the sample's class. Not
    ERASER's sufficiency. Costs `n_companions` explanations per class and explainer.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Dasgupta+ 2022, arXiv:2202.00734"
    sign_invariant: ClassVar[bool] = True
    known_scores_retrained: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1 / 2)
    similarity: float = 0.6
    n_companions: int = 100

    def score(self, case: Case) -> Tensor:
        found, own = case.measure(ClassCompanions(self.n_companions)), pooled(case)
        alike = [self._alike(own, other) for other in found.each()]
        return _share(torch.stack(alike, dim=1), found.same)

    def _alike(self, own: Tensor, other: Tensor) -> Tensor:
        """`[B, U], [B, U] -> [B]` bool; a map of zeros is like nothing."""
        sizes = norm(own, 1) * norm(other, 1)
        return (sizes > 0) & (total(own * other) >= self.similarity * sizes)


def _share(alike: Tensor, same: Tensor) -> Tensor:
    """`[B, M], [B, M] -> [B]`: how many of those that are alike are the same; NaN where none is."""
    return (alike & same).sum(1).double() / torch.where(alike.any(1), alike.sum(1), torch.nan)
