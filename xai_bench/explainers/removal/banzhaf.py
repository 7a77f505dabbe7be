"""Banzhaf values of the game in which a coalition of units is worth the model's output on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai_bench.explainers.removal import paired_sampling
from xai_bench.explainers.removal.engine import UnitAttributions
from xai_bench.explainers.removal.paired_sampling import PairedSampler
from xai_bench.types import Kind, Rng


@dataclass(frozen=True)
class Banzhaf(PairedSampler):
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
    version: ClassVar[int] = 4

    def least(self, n_units: int) -> int:
        """Two pairs for each coefficient, or all there are: with fewer the regression is nearly
        singular, and its errors exceed the values.
        """
        return min(4 * n_units, 1 << n_units)

    def design(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        """`kept [K, u]`: pairs of complements."""
        halves = paired_sampling.draw_uniformly(n_units, n_coalitions // 2, rng=rng)
        return paired_sampling.with_complements(halves)

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """The regression of the values, in which every coalition weighs the same."""
        halves = kept[::2]
        # No total is shared: Banzhaf values do not add up, and to force them would be another
        # index.
        weights = paired_sampling.uniform_weights(halves)
        return paired_sampling.closest_linear_game(halves, values, weights, None)
