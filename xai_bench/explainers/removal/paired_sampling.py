"""Coalitions drawn with their complements, and the linear game closest to what they are worth.

By the Shapley kernel, the pairs of one unit against all others come first, one for each unit: they
alone tell the units apart, so that no budget meets a regression that is nearly singular.

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
        # The regression is on differences of pairs: half a pair would be paid for and not used.
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


def single_pairs(n_units: int) -> Tensor:
    """`[n, u]` bool: each unit alone; of two units one, for the other is its complement."""
    return torch.eye(n_units, dtype=torch.bool)[: n_units if n_units > 2 else n_units - 1]


def draw_by_kernel(n_units: int, n_pairs: int, *, rng: Rng) -> Tensor:
    """`[n_pairs, u]` bool: each unit alone, then one coalition of each pair that is drawn from the
    others by the Shapley kernel.
    """
    singles = single_pairs(n_units)[:n_pairs]
    n_drawn = n_pairs - len(singles)
    if n_units <= MAX_LISTED:
        drawn = _draw_from_list(_inner(shapley_kernel(n_units)), n_drawn, rng)
    else:
        drawn = draw_by_kernel_with_replacement(n_units, n_drawn, smallest=2, rng=rng)
    return torch.cat([singles, drawn])


def draw_by_kernel_with_replacement(
    n_units: int, n_pairs: int, *, smallest: int = 1, rng: Rng
) -> Tensor:
    """`[n_pairs, u]` bool: drawn by the Shapley kernel with replacement, however few units there
    are; both coalitions of a pair have `smallest` units at least.
    """
    sizes = torch.arange(smallest, n_units - smallest + 1, dtype=torch.float64)
    # All coalitions of a size together: their number cancels the binomial of the kernel.
    below = (1 / (sizes * (n_units - sizes))).cumsum(0)
    # Without the last edge, which is 1: every draw finds a size.
    place = torch.searchsorted(below[:-1] / below[-1], rng.child("sizes").uniform(n_pairs)[0])
    members = rng.child("members").uniform(n_pairs, n_units)[0]
    # Of a uniform permutation, the first places: every coalition of that size is as likely.
    return members.argsort(1) < (smallest + place)[:, None]


def draw_uniformly(n_units: int, n_pairs: int, *, rng: Rng) -> Tensor:
    """`[n_pairs, u]` bool: one coalition of each pair, all as likely."""
    if n_units <= MAX_LISTED:
        return _draw_from_list(equal_weights(n_units), n_pairs, rng)
    return fair_coins(n_units, n_pairs, rng=rng)


def fair_coins(n_units: int, n_draws: int, *, rng: Rng) -> Tensor:
    """`[n_draws, u]` bool: every unit is kept with chance 1/2."""
    return rng.uniform(n_draws, n_units)[0] < 0.5


@dataclass(frozen=True, slots=True, eq=False)
class PairWeights:
    """How much each of some pairs counts, so that together they stand for all there are.

    Attributes:
        weight: `[n]`.
        spare: `[n]`, the share of a pair's variance that counts: 0 for pairs that every draw of so
            many holds, 1 where pairs are drawn with replacement.
        complete: whether these are all pairs, and nothing is left to chance.
    """

    weight: Tensor
    spare: Tensor
    complete: bool


def kernel_weights(halves: Tensor) -> PairWeights:
    """Of the pairs `halves [n, u]` of `draw_by_kernel`."""
    n_units, size = halves.shape[1], halves.sum(1)
    kernel, is_single = shapley_kernel(n_units), torch.arange(len(halves)) < n_units
    if n_units <= MAX_LISTED:
        return _listed_weights(kernel, _inner(kernel), halves, is_single)
    inner = torch.arange(2, n_units - 1, dtype=torch.float64)
    # All pairs of a size together weigh 1 / (2 s (u - s)).
    total = (1 / (2 * inner * (n_units - inner))).sum()
    # Drawn pairs weigh alike: how often a size is drawn already follows the kernel.
    weight = torch.where(is_single, kernel[size], total / max(len(halves) - n_units, 1))
    return PairWeights(weight, (~is_single).double(), complete=False)


def uniform_weights(halves: Tensor) -> PairWeights:
    """Of the pairs `halves [n, u]` of `draw_uniformly`."""
    every, none = equal_weights(halves.shape[1]), torch.zeros(len(halves), dtype=torch.bool)
    if halves.shape[1] <= MAX_LISTED:
        return _listed_weights(every, every, halves, none)
    return PairWeights(every.new_ones(len(halves)), every.new_ones(len(halves)), complete=False)


def closest_linear_game(
    halves: Tensor, values: Tensor, weights: PairWeights, total: Tensor | None
) -> UnitAttributions:
    """The coefficients of the linear game closest to pairs of coalitions.

    `halves [n, u]` bool is the first coalition of each pair; `values [b, 2 n]` are those of each
    followed by its complement's. With a `total [b, 1]` to be shared, coefficients are what they
    are above equal shares, and add up to 0.
    """
    # The difference of a pair has no intercept: a unit is in one of the two, +1 or -1.
    side, change = 2 * halves.double() - 1, values[:, ::2] - values[:, 1::2]
    if total is not None:
        change = change - total * side.mean(1)
        side = side - side.mean(1, keepdim=True)
    # Centred rows add up to 0, so no design covers the direction of equal shares.
    n_free = side.shape[1] - (total is not None)
    fit = Regression(side, weights.weight, spare=weights.spare, n_free=n_free)
    coefficients = fit.attributions(change)
    # With all pairs the regression is the definition itself: nothing is left to estimate.
    if weights.complete:
        exact = torch.zeros_like(coefficients.values)
        return UnitAttributions(coefficients.values, exact, degrees_of_freedom=math.inf)
    return coefficients


def _inner(weights: Tensor) -> Tensor:
    """`[u + 1]`: the weights without those of one unit, and of all but one."""
    size = torch.arange(len(weights))
    return torch.where((size > 1) & (size < len(weights) - 2), weights, 0)


def _listed_weights(weights: Tensor, drawn: Tensor, halves: Tensor, certain: Tensor) -> PairWeights:
    """Of pairs that are `certain [n]`, or drawn without replacement by the weights `drawn`.

    Heavy pairs are nearly sure to be drawn: their weight makes up for it (Horvitz & Thompson 1952).
    """
    n_drawn, size = int((~certain).sum()), halves.sum(1)
    share = share_drawn(drawn, n_drawn)[size]
    # What every design holds has no part in chance.
    share = torch.where(certain, 1, share)
    n_all = (1 << (halves.shape[1] - 1)) - int(weights[0] == 0)
    weight = weights[size] / share.clamp(min=1e-300)
    return PairWeights(weight, 1 - share, complete=len(halves) >= n_all)


def share_drawn(weights: Tensor, n_pairs: int) -> Tensor:
    """`[u + 1]`: how likely a pair with a coalition of this size is among those drawn.

    For exponential times that is the chance to come before the time by which so many are expected
    (Rosen 1997), which is found by bisection.
    """
    n_units = len(weights) - 1
    # A pair has a coalition of s units and one of u - s: half as many pairs as coalitions.
    number = weights.new_tensor([math.comb(n_units, size) / 2 for size in range(n_units + 1)])
    # All are drawn only by an infinite time, which bisection would not reach.
    if n_pairs >= number[weights > 0].sum():
        return (weights > 0).double()
    rate = weights / weights.max()
    low, high = 0.0, 1e9
    for _ in range(100):
        # By geometric means: the time may lie anywhere in many orders of magnitude.
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
