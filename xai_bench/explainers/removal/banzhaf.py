"""Banzhaf values of the game in which a coalition of units is worth the model's output on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai_bench.explainers.removal import paired_sampling
from xai_bench.explainers.removal.engine import CoalitionSampler, UnitAttributions
from xai_bench.types import Kind, Rng


@dataclass(frozen=True)
class Banzhaf(CoalitionSampler):
    """A unit's mean gain over all coalitions of the others, each as likely; gains need not add up.

    They are the coefficients of the linear function closest to the game (Hammer & Holzman 1992),
    here of a regression on coalitions drawn with their complements, by fair coins. `budget` bounds
    the model rows per sample, of which a coalition costs one per reference. Up to 12 units, no pair
    is drawn twice: a budget that covers all `2^U` coalitions gives exact values and errors of 0.
    Liu+ 2024 (Kernel Banzhaf).
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Banzhaf 1965; Liu+ 2024, arXiv:2410.08336"
    version: ClassVar[int] = 2

    def least(self, n_units: int) -> int:
        return 2 * n_units

    def n_coalitions(self, n_units: int, most: int) -> int:
        return paired_sampling.n_coalitions(n_units, most)

    def design(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        return paired_sampling.both(paired_sampling.by_coins(n_units, n_coalitions // 2, rng=rng))

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        return paired_sampling.linear_game(kept, values, paired_sampling.fair(kept.shape[1]), None)
