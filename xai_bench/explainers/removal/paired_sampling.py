"""Coalitions drawn with their complements, and the linear game closest to what they are worth.

Of a few units, pairs are drawn without replacement: a plan that goes on long enough lists all of
them, and the answer becomes exact with no coalition asked for twice. Of many units, where a list
would be too long and the same pair hardly comes twice, they are drawn with replacement.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xai_bench.core import cooperative_games
from xai_bench.explainers.removal.engine import UnitAttributions
from xai_bench.explainers.removal.regression import Regression
from xai_bench.types import Rng

LISTED = 12
"""Up to so many units, pairs are drawn without replacement."""


def kernel(n_units: int) -> Tensor:
    """`[u + 1]`: the Shapley kernel, how likely one coalition of each size is; 0 at both ends."""
    inner = [1 / (math.comb(n_units, s) * s * (n_units - s)) for s in range(1, n_units)]
    return torch.tensor([0.0, *inner, 0.0], dtype=torch.float64)


def fair(n_units: int) -> Tensor:
    """`[u + 1]`: every coalition is as likely."""
    return torch.ones(n_units + 1, dtype=torch.float64)


def n_coalitions(n_units: int, most: int) -> int:
    """Pairs that fit, and no more than there are."""
    even = most - most % 2
    return min(even, 1 << n_units) if n_units <= LISTED else even


def both(one: Tensor) -> Tensor:
    """`[n, u] -> [2 n, u]` bool: each coalition, then its complement."""
    return torch.stack([one, ~one], dim=1).flatten(0, 1)


def by_kernel(n_units: int, n_pairs: int, *, rng: Rng) -> Tensor:
    """`[n_pairs, u]` bool: one of each pair, drawn by the Shapley kernel."""
    if n_units <= LISTED:
        return _listed(kernel(n_units), n_pairs, rng)
    return again_by_kernel(n_units, n_pairs, rng=rng)


def again_by_kernel(n_units: int, n_pairs: int, *, rng: Rng) -> Tensor:
    """`[n_pairs, u]` bool: the same with replacement, however few units there are."""
    sizes = torch.arange(1, n_units, dtype=torch.float64)
    below = (1 / (sizes * (n_units - sizes))).cumsum(0)
    size = 1 + torch.searchsorted(below[:-1] / below[-1], rng.child("sizes").uniform(n_pairs)[0])
    return rng.child("members").uniform(n_pairs, n_units)[0].argsort(1) < size[:, None]


def by_coins(n_units: int, n_pairs: int, *, rng: Rng) -> Tensor:
    """`[n_pairs, u]` bool: one of each pair, all as likely."""
    if n_units <= LISTED:
        return _listed(fair(n_units), n_pairs, rng)
    return coins(n_units, n_pairs, rng=rng)


def coins(n_units: int, n_draws: int, *, rng: Rng) -> Tensor:
    """`[n_draws, u]` bool: every unit is kept with chance 1/2."""
    return rng.uniform(n_draws, n_units)[0] < 0.5


def linear_game(
    kept: Tensor, values: Tensor, chances: Tensor, total: Tensor | None
) -> UnitAttributions:
    """The credits of the linear game closest to the pairs `kept [2 n, u], values [b, 2 n]`.

    Each pair counts by its `chances [u + 1]`. With a `total [b, 1]` to be shared, credits are what
    they are above equal shares, and add up to 0.
    """
    n_units, one = len(chances) - 1, kept[::2]
    side, change = 2 * one.double() - 1, values[:, ::2] - values[:, 1::2]
    if total is not None:
        change = change - total * side.mean(1)
        side = side - side.mean(1, keepdim=True)
    drawn, weight = torch.zeros_like(chances), torch.ones_like(chances)
    if n_units <= LISTED:
        drawn = share_drawn(chances, len(one))
        weight = chances / drawn.clamp(min=1e-300)
    size = one.sum(1)
    found = Regression(
        side, weight[size], spare=1 - drawn[size], n_free=n_units - (total is not None)
    ).credits(change)
    if (drawn[chances > 0] == 1).all():
        return UnitAttributions(found.values, torch.zeros_like(found.values))
    return found


def share_drawn(chances: Tensor, n_pairs: int) -> Tensor:
    """`[u + 1]`: how likely a pair with a coalition of this size is among those drawn.

    For exponential times that is the chance to come before the time by which so many are expected
    (Rosen 1997).
    """
    n_units = len(chances) - 1
    number = torch.tensor([math.comb(n_units, size) / 2 for size in range(n_units + 1)])
    if n_pairs >= number[chances > 0].sum():
        return (chances > 0).double()
    rate = chances / chances.max()
    low, high = 0.0, 1e9
    for _ in range(100):
        time = (low * high) ** 0.5 if low else high / 2
        enough = (number * -torch.expm1(-rate * time)).sum() >= n_pairs
        low, high = (low, time) if enough else (time, high)
    return -torch.expm1(-rate * high)


def _listed(chances: Tensor, n_pairs: int, rng: Rng) -> Tensor:
    """Without replacement: exponential times, the smallest first (Efraimidis & Spirakis 2006)."""
    n_units = len(chances) - 1
    one = cooperative_games.all_coalitions(n_units)[
        : 1 << (n_units - 1)
    ]  # the last unit is in the other one
    times = -rng.child("pairs").uniform(len(one))[0].log() / chances[one.sum(1)]
    return one[times.argsort(stable=True)[:n_pairs]]
