"""Products of matrices that give a sample the same bits in every batch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

_CELLS = 1 << 19
"""How many numbers are held at a time, so that what is computed from them stays in the cache."""


def in_chunks(n_samples: int, cells: int) -> list[slice]:
    """Slices of the samples, where each sample takes `cells` numbers."""
    height = max(_CELLS // max(cells, 1), 1)
    return [slice(start, start + height) for start in range(0, n_samples, height)]


def row_matmul(values: Tensor, weights: Tensor) -> Tensor:
    """`values [b, K] @ weights [K, u] -> [b, u]`, with the same bits in every batch.

    That takes one product per sample, whose result starts on a cache line: hence a width that is a
    multiple of 8.
    """
    n_units = weights.shape[1]
    wide = functional.pad(weights.to(values), (0, -n_units % 8))
    return (values[:, None] @ wide.expand(len(values), -1, -1))[:, 0, :n_units]
