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
from xai_bench.explainers.regression import Normal, least_squares, regress
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
    """`[b, n, u] -> [b, 2 n, u]` bool: each coalition, then its complement."""
    n_samples, n_pairs, n_units = one.shape
    out = one.new_empty(n_samples, n_pairs, 2, n_units)
    out[:, :, 0] = one
    torch.logical_not(out[:, :, 0], out=out[:, :, 1])
    return out.flatten(1, 2)


def by_kernel(n_units: int, n_pairs: int, *, rng: Rng) -> Tensor:
    """`[b, n_pairs, u]` bool: one of each pair, drawn by the Shapley kernel."""
    if n_units <= LISTED:
        return _listed(kernel(n_units), n_pairs, rng)
    return again_by_kernel(n_units, n_pairs, rng=rng)


def again_by_kernel(n_units: int, n_pairs: int, *, rng: Rng) -> Tensor:
    """`[b, n_pairs, u]` bool: the same with replacement, however few units there are."""
    sizes = torch.arange(1, n_units, dtype=torch.float64)
    below = (1 / (sizes * (n_units - sizes))).cumsum(0)
    size = 1 + torch.searchsorted(below[:-1] / below[-1], rng.child("sizes").uniform(n_pairs))
    return _of_size(size, n_units, rng)


def by_coins(n_units: int, n_pairs: int, *, rng: Rng) -> Tensor:
    """`[b, n_pairs, u]` bool: one of each pair, all as likely."""
    if n_units <= LISTED:
        return _listed(fair(n_units), n_pairs, rng)
    return coins(n_units, n_pairs, rng=rng)


def coins(n_units: int, n_draws: int, *, rng: Rng) -> Tensor:
    """`[b, n_draws, u]` bool: every unit is kept with chance 1/2."""
    octets = rng.bits(n_draws, -(-n_units // 64)).numpy().view(np.uint8)
    drawn = np.unpackbits(octets, axis=2, count=n_units, bitorder="little")
    return torch.from_numpy(drawn.view(np.bool_))


def linear_game(kept: Tensor, values: Tensor, chances: Tensor, total: Tensor | None) -> Credits:
    """The credits of the linear game closest to the pairs `kept [b, 2 n, u], values [b, 2 n]`.

    Each pair counts by its `chances [u + 1]`. With a `total [b, 1]` to be shared, credits are what
    they are above equal shares, and add up to 0.
    """
    n_units, n_pairs = len(chances) - 1, kept.shape[1] // 2
    one, change = kept[:, ::2], values[:, ::2] - values[:, 1::2]
    if total is not None:
        change = change - total * (2 / n_units * one.float().sum(2).double() - 1)
    drawn = torch.zeros_like(chances)
    weight = torch.ones(n_units + 1, dtype=torch.float64)
    if n_units <= LISTED:
        drawn = share_drawn(chances, n_pairs)
        weight = chances / drawn.clamp(min=1e-300)
    found = _regressed(one, change, total is not None, weight, 1 - drawn)
    if (drawn[chances > 0] == 1).all():
        return Credits(found.values, torch.zeros_like(found.values))
    return found


def _regressed(one: Tensor, change: Tensor, shared: bool, weight: Tensor, spare: Tensor) -> Credits:
    """The regression of `change` on sides, 1 in `one [b, n, u]` and -1 in the other coalition.

    `weight, spare [u + 1]` by size, as in `regress`; where `shared`, credits add up to 0.
    """
    n_units, n_pairs = one.shape[2], one.shape[1]
    if n_units > LISTED:
        return _regressed_alike(one, change, shared)
    side = one.double().mul_(2).sub_(1)
    if shared:
        side = side - side.mean(2, keepdim=True)
    size = one.sum(2)
    weighs = weight[size]
    weighs = weighs / weighs.mean(1, keepdim=True)
    return regress(side, change, weighs, _penalty(n_units, n_pairs, shared), spare[size])


def _regressed_alike(one: Tensor, change: Tensor, shared: bool) -> Credits:
    """The same where all pairs weigh alike: sums of sides are sums of memberships, few and exact.

    Counts of members are whole numbers, which single precision holds and adds without rounding.
    """
    n_units, n_pairs = one.shape[2], one.shape[1]
    member = one.float()
    gram = _sides(member.mT @ member, float(n_pairs), shared)
    exact = one.double()
    right = 2 * (exact.mT @ change[..., None])[..., 0] - change.sum(1, keepdim=True)
    right = right - right.mean(1, keepdim=True) if shared else right
    normal = Normal(gram, right, _penalty(n_units, n_pairs, shared))
    values = normal.solution()
    poor = (~normal.regular).nonzero()[:, 0]
    if len(poor):
        side = 2 * exact[poor] - 1
        side = side - side.mean(2, keepdim=True) if shared else side
        values[poor] = least_squares(side, change[poor], torch.ones_like(change[poor]))
    fitted = 2 * (exact @ values[..., None])[..., 0] - values.sum(1, keepdim=True)
    residual = change - fitted
    missed = member.mul_(residual.float()[..., None])
    scatter = residual.square().sum(1)[:, None, None]
    return Credits(values, normal.errors(_sides(missed.mT @ missed, scatter, shared), n_pairs))


def _sides(members: Tensor, total: Tensor | float, shared: bool) -> Tensor:
    """`[b, u, u]`: sums of products of sides from sums of products of members and of ones."""
    members = members.double()
    own = members.diagonal(dim1=1, dim2=2)
    out = 4 * members - 2 * (own[:, :, None] + own[:, None]) + total
    if not shared:
        return out
    out = out - out.mean(1, keepdim=True)
    return out - out.mean(2, keepdim=True)


def _penalty(n_units: int, n_pairs: int, shared: bool) -> Tensor:
    """`[u, u]`: nothing, or what keeps the sum of the credits at 0."""
    size = max(n_pairs, 1) / n_units if shared else 0.0
    return torch.full((n_units, n_units), size, dtype=torch.float64)


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
    one = games.all_coalitions(n_units)[: 1 << (n_units - 1)]  # the last unit is in the other one
    times = -rng.child("pairs").uniform(len(one)).log() / chances[one.sum(1)]
    return one[times.argsort(dim=1, stable=True)[:, :n_pairs]]


def _of_size(size: Tensor, n_units: int, rng: Rng) -> Tensor:
    """`size [b, n] -> [b, n, u]` bool: unit after unit with the chance that is left for it."""
    left = size.numpy().astype(np.float64)
    one = np.empty((n_units, *left.shape), dtype=np.bool_)
    for unit in range(n_units):
        if unit % 2 == 0:  # a word has two draws of 32 bits
            words = rng.child("members", unit).bits(left.shape[1]).numpy().view(np.uint32)
        draw = words[:, unit % 2 :: 2]
        np.less(draw * ((n_units - unit) * 2.0**-32), left, out=one[unit])
        np.subtract(left, one[unit], out=left)
    return torch.from_numpy(one).movedim(0, 2)
