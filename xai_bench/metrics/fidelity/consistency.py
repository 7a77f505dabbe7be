"""Whether samples with the same explanation get the same prediction.

Each sample is compared with a fixed part of the data, never with its batch: its companions. They
are explained for the sample's own target, since explanations of other outputs say other things.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.metrics.common import norm, pooled, total
from xai_bench.metrics.probes.same_class import CompanionMaps
from xai_bench.types import Case, KnownScores


@dataclass(frozen=True)
class Consistency:
    """Share of the companions with the same discrete explanation that get the same prediction.

    The discrete explanation is the set of the `n_top` largest units by magnitude, with their signs.
    The companions are the first `n_companions` rows of the validation part. NaN where none has the
    sample's explanation, and for a map of zeros. A map that is the same for all inputs scores the
    share of the sample's class. Costs `n_companions` explanations per class and explainer.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Dasgupta+ 2022, arXiv:2202.00734"
    sign_invariant: ClassVar[bool] = True
    # The largest columns determine the class, the smallest ones are independent of it.
    known_scores_retrained: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1 / 2)
    n_top: int = 2
    n_companions: int = 100

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        companions = case.measure(CompanionMaps(self.n_companions))
        own = self._discrete(pooled(case), case)
        same = [(own == self._discrete(maps, case)).all(1) for maps in companions.each()]
        same_map = torch.stack(same, dim=1) & (own != 0).any(1, keepdim=True)
        return _share(same_map, companions.same_class)

    def _discrete(self, maps: Tensor, case: Case) -> Tensor:
        """`[B, U]`: the signs of the largest units, 0 elsewhere.

        One stream breaks the ties of all maps, so that equal maps are equal here, too.
        """
        rank = units.ranking(maps.abs(), case.inputs.units, rng=case.rng.child("consistency"))
        # The largest units, whichever columns they are: the first ones would be the same in all
        # maps.
        return torch.where(rank < self.n_top, maps.sign(), 0)


@dataclass(frozen=True)
class SufficiencyDasgupta:
    """Share of the companions with a similar explanation that get the same prediction.

    Explanations are similar where the cosine between them is at least `similarity`. The companions
    are the first `n_companions` rows of the validation part. NaN where none is similar, and for a
    map of zeros. A map that is the same for all inputs scores the share of the sample's class. This
    is not ERASER's sufficiency. Costs `n_companions` explanations per class and explainer.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Dasgupta+ 2022, arXiv:2202.00734"
    sign_invariant: ClassVar[bool] = True
    known_scores_retrained: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1 / 2)
    similarity: float = 0.6
    n_companions: int = 100

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        companions, own = case.measure(CompanionMaps(self.n_companions)), pooled(case)
        similar = [self._similar(own, maps) for maps in companions.each()]
        return _share(torch.stack(similar, dim=1), companions.same_class)

    def _similar(self, own: Tensor, other: Tensor) -> Tensor:
        """`[B, U], [B, U] -> [B]` bool; a map of zeros is similar to none."""
        # The cosine multiplied out, so that a map of zeros divides by nothing.
        sizes = norm(own, 1) * norm(other, 1)
        return (sizes > 0) & (total(own * other) >= self.similarity * sizes)


def _share(same_map: Tensor, same_class: Tensor) -> Tensor:
    """`[B, M] bool, [B, M] bool -> [B]`: share of `same_class` among `same_map`; NaN of none."""
    # A sample with no companion is unscored: 0 would punish maps that tell all samples apart.
    n_same = torch.where(same_map.any(1), same_map.sum(1), torch.nan)
    return (same_map & same_class).sum(1).double() / n_same
