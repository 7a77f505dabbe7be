"""Coalitions drawn with their complements, and the linear game closest to what they are worth.

Of a few units, pairs are drawn without replacement: a plan that goes on long enough lists all of
them, and the result becomes exact with no coalition evaluated twice. Of many units, where a list
would be too long and the same pair hardly comes twice, they are drawn with replacement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_bench.core import cooperative_games
from xai_bench.explainers.removal.engine import CoalitionSampler, UnitAttributions
from xai_bench.explainers.removal.regression import Regression
from xai_bench.types import Rng

MAX_LISTED = 12
"""Up to so many units, pairs are drawn without replacement: 2,048 of them."""


@dataclass(frozen=True)
class PairedSampler(CoalitionSampler):
    """Base of explainers that draw coalitions with their complements, one after the other."""

    def least(self, n_units: int) -> int:
        """As many pairs as there are coefficients to determine."""
        return 2 * n_units

    def n_coalitions(self, n_units: int, most: int) -> int:
        """Pairs that fit, and no more than there are."""
        even = most - most % 2
        return min(even, 1 << n_units) if n_units <= MAX_LISTED else even


def shapley_kernel(n_units: int) -> Tensor:
    """`[u + 1]`: the Shapley kernel, how likely one coalition of each size is; 0 at both ends.

    Not normalised: `1 / ((u choose s) s (u - s))`. Lundberg & Lee 2017 give both ends infinite
    weight; here they are a constraint.
    """
    inner = [1 / (math.comb(n_units, s) * s * (n_units - s)) for s in range(1, n_units)]
    return torch.tensor([0.0, *inner, 0.0], dtype=torch.float64)


def equal_weights(n_units: int) -> Tensor:
    """`[u + 1]`: every coalition is as likely."""
    return torch.ones(n_units + 1, dtype=torch.float64)


def with_complements(halves: Tensor) -> Tensor:
    """`[n, u] -> [2 n, u]` bool: each coalition, then its complement."""
    return torch.stack([halves, ~halves], dim=1).flatten(0, 1)


def draw_by_kernel(n_units: int, n_pairs: int, *, rng: Rng) -> Tensor:
    """`[n_pairs, u]` bool: one coalition of each pair, drawn by the Shapley kernel."""
    if n_units <= MAX_LISTED:
        return _draw_from_list(shapley_kernel(n_units), n_pairs, rng)
    return draw_by_kernel_with_replacement(n_units, n_pairs, rng=rng)


def draw_by_kernel_with_replacement(n_units: int, n_pairs: int, *, rng: Rng) -> Tensor:
    """`[n_pairs, u]` bool: the same with replacement, however few units there are."""
    sizes = torch.arange(1, n_units, dtype=torch.float64)
    # All coalitions of a size together: their number cancels the binomial of the kernel.
    below = (1 / (sizes * (n_units - sizes))).cumsum(0)
    size = 1 + torch.searchsorted(below[:-1] / below[-1], rng.child("sizes").uniform(n_pairs)[0])
    return rng.child("members").uniform(n_pairs, n_units)[0].argsort(1) < size[:, None]


def draw_uniformly(n_units: int, n_pairs: int, *, rng: Rng) -> Tensor:
    """`[n_pairs, u]` bool: one coalition of each pair, all as likely."""
    if n_units <= MAX_LISTED:
        return _draw_from_list(equal_weights(n_units), n_pairs, rng)
    return fair_coins(n_units, n_pairs, rng=rng)


def fair_coins(n_units: int, n_draws: int, *, rng: Rng) -> Tensor:
    """`[n_draws, u]` bool: every unit is kept with chance 1/2."""
    return rng.uniform(n_draws, n_units)[0] < 0.5


def closest_linear_game(
    kept: Tensor, values: Tensor, weights: Tensor, total: Tensor | None
) -> UnitAttributions:
    """The coefficients of the linear game closest to the pairs `kept [2 n, u], values [b, 2 n]`.

    Each pair counts by the `weights [u + 1]` of its size. With a `total [b, 1]` to be shared,
    coefficients are what they are above equal shares, and add up to 0.
    """
    n_units, halves = len(weights) - 1, kept[::2]
    # The difference of a pair has no intercept: a unit is in one of the two, +1 or -1.
    side, change = 2 * halves.double() - 1, values[:, ::2] - values[:, 1::2]
    if total is not None:
        change = change - total * side.mean(1)
        side = side - side.mean(1, keepdim=True)
    share, row_weight = torch.zeros_like(weights), torch.ones_like(weights)
    if n_units <= MAX_LISTED:
        # Drawn without replacement, heavy pairs are nearly sure: their weight makes up for it
        # (Horvitz & Thompson 1952).
        share = share_drawn(weights, len(halves))
        row_weight = weights / share.clamp(min=1e-300)
    size = halves.sum(1)
    n_free = n_units - (total is not None)
    fit = Regression(side, row_weight[size], spare=1 - share[size], n_free=n_free)
    coefficients = fit.attributions(change)
    if (share[weights > 0] == 1).all():  # every pair: nothing is left to chance
        return UnitAttributions(coefficients.values, torch.zeros_like(coefficients.values))
    return coefficients


def share_drawn(weights: Tensor, n_pairs: int) -> Tensor:
    """`[u + 1]`: how likely a pair with a coalition of this size is among those drawn.

    For exponential times that is the chance to come before the time by which so many are expected
    (Rosen 1997), which is found by bisection.
    """
    n_units = len(weights) - 1
    number = torch.tensor([math.comb(n_units, size) / 2 for size in range(n_units + 1)])
    if n_pairs >= number[weights > 0].sum():
        return (weights > 0).double()
    rate = weights / weights.max()
    low, high = 0.0, 1e9
    for _ in range(100):
        time = (low * high) ** 0.5 if low else high / 2
        enough = (number * -torch.expm1(-rate * time)).sum() >= n_pairs
        low, high = (low, time) if enough else (time, high)
    return -torch.expm1(-rate * high)


def _draw_from_list(weights: Tensor, n_pairs: int, rng: Rng) -> Tensor:
    """Without replacement: exponential times, the smallest first (Efraimidis & Spirakis 2006)."""
    n_units = len(weights) - 1
    # One of each pair: that without the last unit, which is in the other one.
    halves = cooperative_games.all_coalitions(n_units)[: 1 << (n_units - 1)]
    times = -rng.child("pairs").uniform(len(halves))[0].log() / weights[halves.sum(1)]
    return halves[times.argsort(stable=True)[:n_pairs]]
