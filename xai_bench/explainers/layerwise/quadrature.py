"""Straight lines from references to where a sample is, at x or at a layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from xai_bench.types import Unsupported


def steps(budget: int, n_lines: int) -> int:
    """The rows of a budget that each line gets. Raises `Unsupported` where that is none."""
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
    all lines: weights `[k]`, points and differences of the ends `[B, k, *L]`.
    """
    places, shares = np.polynomial.legendre.leggauss(n_steps)  # on [-1, 1]
    n_lines = starts.shape[1]
    lines_and_steps = [(line, step) for line in range(n_lines) for step in range(n_steps)]
    for first in range(0, len(lines_and_steps), width):
        block = lines_and_steps[first : first + width]
        # Halved, from [-1, 1] to a line of length 1.
        weights = [float(shares[step]) / 2 / n_lines for _, step in block]
        differences = [ends - starts[:, line] for line, _ in block]
        points = [
            starts[:, line] + float(1 + places[step]) / 2 * difference
            for (line, step), difference in zip(block, differences, strict=True)
        ]
        yield weights, torch.stack(points, dim=1), torch.stack(differences, dim=1)


def added(total: Tensor, weights: Sequence[float], values: Tensor) -> Tensor:
    """`[B, *L]` plus the weighted sum of `values [B * k, *L]`, one after the other, so that the
    bits do not depend on how many nodes a block has.
    """
    for weight, column in zip(
        weights, values.unflatten(0, (len(total), -1)).unbind(1), strict=True
    ):
        total = total + weight * column
    return total
