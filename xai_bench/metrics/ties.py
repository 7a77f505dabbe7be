"""Ranks of values that may be tied, without drawing an order.

`values [B, N]` everywhere, `real [B, N]` bool: places that are not padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """For every place from the largest value down, `[B, N]` float64: the block of ties it lies in.

    Attributes:
        start, size: places above the block, and in it.
        hits_before, hits: marked places above the block, and in it; 0 in padding.
    """

    start: Tensor
    size: Tensor
    hits_before: Tensor
    hits: Tensor

    @classmethod
    def of(cls, values: Tensor, marked: Tensor, real: Tensor) -> Blocks:
        falling, order = _last(-values, real).sort(dim=1)
        start, end = (torch.searchsorted(falling, falling, right=right) for right in (False, True))
        hits = (marked & real).gather(1, order).cumsum(1)
        up_to = torch.cat([hits.new_zeros(len(hits), 1), hits], dim=1).double()
        before = up_to.gather(1, start)
        return cls(start.double(), (end - start).double(), before, up_to.gather(1, end) - before)


def average_rank(values: Tensor, real: Tensor) -> Tensor:
    """`[B, N]` float64: 0 for the smallest; tied values share the mean of their ranks."""
    values = _last(values, real)
    rising = values.sort(dim=1).values
    first, end = (torch.searchsorted(rising, values, right=right) for right in (False, True))
    return (first + end - 1).double() / 2


def at_top(values: Tensor, real: Tensor, k: Tensor) -> Tensor:
    """`[B, N]`: the chance of each place to be among the `k [B, 1]` largest, ties in any order."""
    falling = _last(-values, real)
    rising = falling.sort(dim=1).values
    first, end = (torch.searchsorted(rising, falling, right=right) for right in (False, True))
    return ((k - first).double() / (end - first)).clamp(0, 1) * real


def _last(values: Tensor, real: Tensor) -> Tensor:
    """Padding comes after everything else, in ascending order."""
    return torch.where(real, values.double(), torch.inf).contiguous()
