"""Whether an explanation of a text stays when a few words become others that mean the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.metrics.common import pooled
from xai_bench.metrics.correlation import spearman
from xai_bench.metrics.probes.removal.curves import counts
from xai_bench.metrics.probes.word_neighbours import Kind, NearbyAttributions, WordNeighbours
from xai_bench.types import Case


@dataclass(frozen=True)
class WordStability:
    """Mean rank correlation of the words' attributions with those in nearby texts.

    Nearby texts differ in a share of the words, by synonyms, typos or case (`kind`), and count only
    where the prediction stays. All explainers face the same texts. NaN where none is accepted, and
    for a map without differences. Chance is 0; a map that ignores the text scores 1. Costs
    `1 + n_draws` rows, shared, and `n_draws` explanations.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("vocabulary",)
    paper: ClassVar[str] = "Sinha+ 2021, arXiv:2108.04990"
    kind: Kind = "synonym"
    share: float = 0.2
    n_draws: int = 4
    n_nearest: int = 4
    table: str = ""

    def score(self, case: Case) -> Tensor:
        """`[B]`, from -1 to 1."""
        own, nearby, accepted = _maps(case, self._neighbours())
        real = units.present(case.inputs.units)
        # Signed ranks: a word that turns from speaking for the class to against it is a change.
        alike = torch.stack([spearman(own, near, real) for near in nearby.unbind(1)], dim=1)
        return _mean(alike, accepted)

    def _neighbours(self) -> WordNeighbours:
        return WordNeighbours(self.kind, self.share, self.n_draws, self.n_nearest, self.table)


@dataclass(frozen=True)
class WordOverlap(WordStability):
    """Mean share of the top quarter of words that stays at the top in nearby texts.

    The texts are those of `word_stability`. Tied words are shuffled, alike in both. NaN where none
    is accepted, and for a map without differences. Chance is the share of the top among all words.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("vocabulary",)
    paper: ClassVar[str] = "Ghorbani+ 2019, arXiv:1710.10547 (top-k intersection, of words)"
    fraction: float = 0.25

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        own, nearby, accepted = _maps(case, self._neighbours())
        k = counts(units.count(case.inputs.units), (self.fraction,))
        rng = case.rng.child("word_overlap")
        first, *others = (
            units.ranking(values, case.inputs.units, rng=rng) < k
            for values in (own, *nearby.unbind(1))
        )
        shared = torch.stack([(top & first).sum(1) / k[:, 0] for top in others], dim=1).double()
        real = units.present(case.inputs.units)
        varies = torch.where(real, own, -torch.inf).amax(1) > torch.where(
            real, own, torch.inf
        ).amin(1)
        return torch.where(varies, _mean(shared, accepted), torch.nan)


def _maps(case: Case, neighbours: WordNeighbours) -> tuple[Tensor, Tensor, Tensor]:
    """By unit: the map `[B, U]`, those nearby `[B, K, U]`, and which are accepted, `[B, K]`."""
    accepted = case.measure(neighbours).accepted
    nearby = case.measure(NearbyAttributions(neighbours)).double()
    by_unit = [units.pool(near, case.inputs.units) for near in nearby.unbind(1)]
    return pooled(case), torch.stack(by_unit, dim=1), accepted


def _mean(values: Tensor, accepted: Tensor) -> Tensor:
    """`[B, K] -> [B]`: of those that are accepted and have a value."""
    scored = accepted & values.isfinite()
    n_scored = scored.sum(1)
    mean = torch.where(scored, values, 0).sum(1) / n_scored.clamp(min=1)
    return torch.where(n_scored > 0, mean, torch.nan)
