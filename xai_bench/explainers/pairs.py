"""Coalitions drawn with their complements, and the linear game closest to what they are worth.

Of a few units, pairs are drawn without replacement: a plan that goes on long enough lists all of
them, and the answer becomes exact with no coalition asked for twice. Of many units, where a list
would be too long and the same pair hardly comes twice, they are drawn with replacement.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from xai_bench import games
from xai_bench.explainers.credit import Credits
from xai_bench.explainers.regression import regress
from xai_bench.types import Rng

LISTED = 12
"""Up to so many units, pairs are drawn without replacement."""


def kernel(n_units: int) -> Tensor:
    """`[u + 1]`: how likely each size is by the Shapley kernel, which leaves out both ends."""
    sizes = range(1, n_units)
    chance = [0.0, *(1 / (size * (n_units - size)) for size in sizes), 0.0]
    return torch.tensor(chance, dtype=torch.float64)


def n_coalitions(n_units: int, most: int) -> int:
    """Pairs that fit, and no more than there are."""
    even = most - most % 2
    return min(even, 1 << n_units) if n_units <= LISTED else even


def both(one: Tensor) -> Tensor:
    """`[b, n, u] -> [b, 2 n, u]` bool: each coalition, then its complement."""
    return torch.stack([one, ~one], dim=2).flatten(1, 2)


def draw(by_size: Tensor, n_pairs: int, *, rng: Rng) -> Tensor:
    """`by_size [u + 1] -> [b, n_pairs, u]` bool: one of each pair; all of one size are alike.

    `by_size` says how likely each size is, the same for a size and that of its complement.
    """
    n_units = len(by_size) - 1
    if n_units > LISTED:
        return _of_sizes(by_size, n_pairs, rng)
    one = games.all_coalitions(n_units)[: 1 << (n_units - 1)]  # the last unit is in the other one
    # The smallest of exponential times come first: successive draws without replacement
    # (Efraimidis & Spirakis 2006).
    times = -rng.child("pairs").uniform(len(one)).log() / _chances(by_size)[one.sum(1)]
    return one[times.argsort(dim=1, stable=True)[:, :n_pairs]]


def share_drawn(by_size: Tensor, n_pairs: int) -> Tensor:
    """`[u + 1]`: the chance that a pair with a coalition of this size is among those drawn.

    For exponential times that is the chance to come before the time by which so many are expected
    (Rosen 1997). With replacement no share of the pairs is ever drawn: 0.
    """
    n_units = len(by_size) - 1
    if n_units > LISTED:
        return torch.zeros_like(by_size)
    each = _chances(by_size)
    number = torch.tensor([math.comb(n_units, size) / 2 for size in range(n_units + 1)])
    if n_pairs >= number[each > 0].sum():
        return (each > 0).double()
    low, high = 0.0, 1e9
    for _ in range(100):
        time = (low * high) ** 0.5 if low else high / 2
        expected = (number * -torch.expm1(-each * time)).sum()
        low, high = (time, high) if expected < n_pairs else (low, time)
    return -torch.expm1(-each * high)


def _chances(by_size: Tensor) -> Tensor:
    """`[u + 1]`: of a single coalition of each size, up to a factor."""
    n_units = len(by_size) - 1
    number = [math.comb(n_units, size) for size in range(n_units + 1)]
    each = by_size / torch.tensor(number, dtype=torch.float64)
    return each / each.max().clamp(min=1e-300)


def _of_sizes(by_size: Tensor, n_pairs: int, rng: Rng) -> Tensor:
    """With replacement: a size, then unit after unit with the chance that is left for it."""
    n_units = len(by_size) - 1
    below = (by_size / by_size.sum()).cumsum(0)[:-1].numpy()
    sizes = np.searchsorted(below, rng.child("sizes").uniform(n_pairs).numpy())
    words = rng.child("members").bits(n_pairs, (n_units + 1) // 2).numpy()
    draws = words.view(np.uint32)
    left = sizes.astype(np.float64)
    one = np.empty((n_units, *sizes.shape), dtype=bool)
    for unit in range(n_units):
        np.less(draws[..., unit] * ((n_units - unit) * 2.0**-32), left, out=one[unit])
        left -= one[unit]
    return torch.from_numpy(one).movedim(0, 2)


def linear_game(kept: Tensor, values: Tensor, by_size: Tensor, total: Tensor | None) -> Credits:
    """The credits of the linear game closest to the pairs `kept [b, 2 n, u], values [b, 2 n]`.

    Each pair counts as likely as it is by `by_size`. With a `total [b, 1]` to be shared, credits
    are what they are above equal shares, and add up to 0.
    """
    n_units, n_pairs = len(by_size) - 1, kept.shape[1] // 2
    one = kept[:, ::2]
    side = one.double().mul_(2).sub_(1)
    change = values[:, ::2] - values[:, 1::2]
    penalty = torch.zeros(n_units, n_units, dtype=torch.float64)
    if total is not None:
        level = side.mean(2, keepdim=True)
        side, change = side - level, change - total * level[..., 0]
        penalty += max(n_pairs, 1) / n_units
    drawn, size = share_drawn(by_size, n_pairs), one.sum(2)
    weight = torch.ones_like(change)
    if n_units <= LISTED:
        weight = (_chances(by_size) / drawn.clamp(min=1e-300))[size]
        weight = weight / weight.mean(1, keepdim=True)
    found = regress(side, change, weight, penalty, (1 - drawn)[size])
    if (drawn[by_size > 0] == 1).all():
        return Credits(found.values, torch.zeros_like(found.values))
    return found
