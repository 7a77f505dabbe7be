"""Ranks of values that may be tied: expectations over all orders of ties, so nothing is drawn.

`values [B, N]` everywhere, `real [B, N]` bool: places that are not padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xai_bench.metrics.common import total


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """The block of tied values that each place lies in, from the largest value down.

    All are `[B, N]` float64.

    Attributes:
        start: how many places lie above the block.
        size: how many places are in it.
        hits_before: how many marked places lie above the block.
        hits: how many marked places are in it; 0 in padding.
    """

    start: Tensor
    size: Tensor
    hits_before: Tensor
    hits: Tensor

    @classmethod
    def of(cls, values: Tensor, marked: Tensor, real: Tensor) -> Blocks:
        """The blocks of `values`, counting the places of `marked [B, N]` bool in each."""
        # Of the negative, so that one ascending sort has the largest value first and padding last.
        falling, order = _last(-values, real).sort(dim=1)
        start, end = (torch.searchsorted(falling, falling, right=right) for right in (False, True))
        hits = (marked & real).gather(1, order).cumsum(1)
        up_to = torch.cat([hits.new_zeros(len(hits), 1), hits], dim=1).double()
        before = up_to.gather(1, start)
        return cls(start.double(), (end - start).double(), before, up_to.gather(1, end) - before)

    def average_precision(self, n_marked: Tensor) -> Tensor:
        """`[B] -> [B]`: the mean, over the marked places, of the precision down to each of them."""
        # A place of a block is marked with probability hits / size; each place of the block above
        # it then is with probability (hits - 1) / (size - 1).
        others = (self.hits - 1) / (self.size - 1).clamp(min=1)
        place = torch.arange(self.size.shape[1])
        hits = self.hits_before + 1 + (place - self.start) * others
        return total(self.hits / self.size * hits / (place + 1)) / n_marked


def average_rank(values: Tensor, real: Tensor) -> Tensor:
    """`[B, N]` float64: 0 for the smallest; tied values share the mean of their ranks."""
    values = _last(values, real)
    rising = values.sort(dim=1).values
    # Tied values take the places `first` to `end - 1`; their mean is what all of them get.
    # Dense ranks, which number the distinct values, would make Pearson's r of them something else
    # than Spearman's correlation.
    first, end = (torch.searchsorted(rising, values, right=right) for right in (False, True))
    return (first + end - 1).double() / 2


def at_top(values: Tensor, real: Tensor, k: Tensor) -> Tensor:
    """`[B, N]`: the chance of each place to be among the `k [B, 1]` largest, ties in any order."""
    falling = _last(-values, real)
    rising = falling.sort(dim=1).values
    first, end = (torch.searchsorted(rising, falling, right=right) for right in (False, True))
    # Of a block of ties, `k - first` places are among the top: all, none, or a share of it.
    return ((k - first).double() / (end - first)).clamp(0, 1) * real


def _last(values: Tensor, real: Tensor) -> Tensor:
    """Padding comes after everything else, in ascending order."""
    return torch.where(real, values.double(), torch.inf).contiguous()
