"""Straight lines from references to where a sample is, at x or at a layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from xai_bench.types import Unsupported


def steps(budget: int, n_lines: int) -> int:
    """How many rows of a budget each line gets. Raises `Unsupported` where that is none."""
    if budget < n_lines:
        raise Unsupported(
            f"{budget} rows of the budget are left for {n_lines} lines, one per reference and part "
            "of the work; give a larger budget, or a baseline with fewer references"
        )
    return budget // n_lines


def nodes(
    ends: Tensor, starts: Tensor, n_steps: int, width: int
) -> Iterator[tuple[Sequence[float], Tensor, Tensor]]:
    """`ends [B, *L], starts [B, R, *L]`: blocks of `k <= width` nodes of a Gauss-Legendre sum over
    all lines: weights `[k]`, points and ways `[B, k, *L]`.
    """
    places, shares = np.polynomial.legendre.leggauss(n_steps)
    n_lines = starts.shape[1]
    which = [(line, step) for line in range(n_lines) for step in range(n_steps)]
    for first in range(0, len(which), width):
        block = which[first : first + width]
        weights = [float(shares[step]) / 2 / n_lines for _, step in block]
        ways = [ends - starts[:, line] for line, _ in block]
        points = [
            starts[:, line] + float(1 + places[step]) / 2 * way
            for (line, step), way in zip(block, ways, strict=True)
        ]
        yield weights, torch.stack(points, dim=1), torch.stack(ways, dim=1)


def added(total: Tensor, weights: Sequence[float], values: Tensor) -> Tensor:
    """`[B, *L]` plus the weighted sum of `values [B * k, *L]`, one after the other, so that the
    bits do not depend on how many nodes a block has.
    """
    for weight, column in zip(
        weights, values.unflatten(0, (len(total), -1)).unbind(1), strict=True
    ):
        total = total + weight * column
    return total
