"""Correlations of two rows of numbers, sample by sample, over the columns that are no padding."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_bench.metrics.common import pooled, total
from xai_bench.metrics.probes.removal.random_subsets import Drops
from xai_bench.metrics.ties import average_rank
from xai_bench.types import Case

_PAIRS = 1 << 24
"""Pairs of units in memory at once: three int8 tables of 16 MB."""


def rounding(case: Case) -> float:
    """How far two outputs may differ, relative to their size, and still be the same.

    A few units in the last place of the data type of x, since one network adds up many roundings.
    """
    return 16 * torch.finfo(case.inputs.x.dtype).eps


def pearson(x: Tensor, y: Tensor, real: Tensor, x_floor: Tensor, y_floor: Tensor) -> Tensor:
    """`[B, K], [B, K], [B, K] bool, [B], [B] -> [B]`: Pearson's r over the real columns.

    NaN where the values of a side are no further apart than its floor: the correlation of rounding
    errors means nothing.
    """
    # By the range, not the variance: a mean that is off in its last bit makes constants vary.
    varies = (_spread(x, real) > x_floor) & (_spread(y, real) > y_floor)
    x, y = _centred(x, real), _centred(y, real)
    correlation = total(x * y) / (total(x.square()) * total(y.square())).sqrt()
    return torch.where(varies, correlation, torch.nan)


def set_correlation(case: Case, drops: Drops) -> Tensor:
    """`[B]`: Pearson's r of the attribution that each set removes with the output drop it causes.

    NaN where either varies by no more than rounding.
    """
    # Over the sets of one sample. Across samples, a map would be rewarded for being large where the
    # output is.
    removed = drops.total_removed(pooled(case))
    # The outputs that were subtracted may be far larger than the drops: their rounding counts.
    size = torch.maximum(drops.intact.abs(), drops.drop.abs().amax(1))
    floors = rounding(case) * removed.abs().amax(1), rounding(case) * size
    return pearson(removed, drops.drop, torch.ones_like(removed, dtype=torch.bool), *floors)


def spearman(x: Tensor, y: Tensor, real: Tensor) -> Tensor:
    """`[B, K], [B, K], [B, K] bool -> [B]`: Pearson's r of the ranks; ties share their mean rank.

    NaN where a side has one value only.
    """
    # Ranks are whole or half numbers, exact in floats, so that any spread is a real one.
    none = torch.zeros(len(x), dtype=torch.float64)
    return pearson(average_rank(x, real), average_rank(y, real), real, none, none)


def kendall(x: Tensor, y: Tensor, real: Tensor, y_floor: Tensor) -> Tensor:
    """`[B, U], [B, U], [B, U] bool, [B] -> [B]`: tau-b, corrected for ties on both sides.

    Values of y no further apart than `y_floor` are tied. NaN where a side has ties only. Pairs are
    compared a bounded number at a time. Kendall 1945.
    """
    n_samples, n_units = x.shape
    agree, x_untied, y_untied = torch.zeros(3, n_samples, dtype=torch.long)
    for left in torch.arange(n_units).split(max(1, _PAIRS // (n_samples * n_units))):
        pair = real[:, left, None] & real[:, None]
        x_order = _order(x[:, left], x, torch.zeros_like(y_floor)) * pair
        y_order = _order(y[:, left], y, y_floor) * pair
        # Every pair is met twice, in both orders, which cancels in the ratio.
        agree += (x_order * y_order).sum((1, 2))
        x_untied += x_order.abs().sum((1, 2))
        y_untied += y_order.abs().sum((1, 2))
    tau: Tensor = agree / (x_untied.double() * y_untied.double()).sqrt()
    return tau


def _order(left: Tensor, right: Tensor, floor: Tensor) -> Tensor:
    """`[B, M], [B, U], [B] -> [B, M, U]` int8: 1 where left is larger, -1 where it is smaller."""
    above = left[:, :, None] > (right + floor[:, None])[:, None]
    below = left[:, :, None] < (right - floor[:, None])[:, None]
    return above.to(torch.int8) - below.to(torch.int8)


def _spread(values: Tensor, real: Tensor) -> Tensor:
    """`[B]`: the largest less the smallest value of the real columns."""
    top = torch.where(real, values, -torch.inf).amax(1)
    return top - torch.where(real, values, torch.inf).amin(1)


def _centred(values: Tensor, real: Tensor) -> Tensor:
    """Less the mean of the real columns; 0 elsewhere."""
    mean = total(torch.where(real, values, 0)) / real.sum(1)
    return torch.where(real, values - mean[:, None], 0)
