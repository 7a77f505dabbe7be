"""Coalitions that lack what lies under a sliding window, built only where they are evaluated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

DENSE = 1 << 26
"""Up to so many cells all coalitions are built at once."""


@dataclass(frozen=True, eq=False)
class Axis:
    """The windows along one axis: `length` places, windows of `size` from each of `starts [n]`."""

    length: int
    size: int
    starts: Tensor

    @classmethod
    def of(cls, length: int, size: int, stride: int) -> Axis:
        """A window every `stride` places; the last one ends at the last place."""
        n = 1 + math.ceil(max(length - size, 0) / stride)
        return cls(length, size, (stride * torch.arange(n)).clamp(max=max(length - size, 0)))

    def under(self, windows: Tensor) -> Tensor:
        """`[k] -> [k, length]` bool: the places under these windows."""
        first, place = self.starts[windows][:, None], torch.arange(self.length)
        return (place >= first) & (place < first + self.size)

    def covering(self) -> tuple[Tensor, Tensor]:
        """`[length]` each: the first window over a place, and the first one that begins after it.

        Windows in order have ascending starts, so that those between cover the place.
        """
        place = torch.arange(self.length)
        # A window covers a place if it begins at most `size - 1` before it.
        first = torch.searchsorted(self.starts, place - self.size, right=True)
        return first, torch.searchsorted(self.starts, place, right=True)

    def mean_over(self, values: Tensor, axis: int) -> Tensor:
        """`[..., n, ...] -> [..., length, ...]`: of the windows over each place."""
        first, after = self.covering()
        # By differences of running sums, whose cost does not grow with the size of a window.
        sums = torch.nn.functional.pad(values.movedim(axis, -1).cumsum(-1), (1, 0))
        mean = (sums[..., after] - sums[..., first]) / (after - first)
        return mean.movedim(-1, axis)


@dataclass(frozen=True, eq=False)
class WindowDesign:
    """The full coalition, then those that lack each window: `kept [1 + n, u]` for every sample.

    The axes lie as in a tensor; their places together are the units. Stands for `[B, 1 + n, u]`,
    of which a block is built when it is indexed.

    Args:
        rows: the numbers of the coalitions that are meant.
        n_samples: `B`.
    """

    axes: Sequence[Axis]
    rows: Tensor
    n_samples: int = 1

    @classmethod
    def over(cls, *axes: Axis) -> WindowDesign:
        """All windows: each of the first axis with each of the next."""
        return cls(axes, torch.arange(1 + math.prod(len(axis.starts) for axis in axes)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        """`[B, K, u]`."""
        n_units = math.prod(axis.length for axis in self.axes)
        return torch.Size([self.n_samples, len(self.rows), n_units])

    def part(self, start: int, stop: int | None, n_samples: int = 1) -> WindowDesign:
        """Some of the coalitions, of so many samples."""
        return WindowDesign(self.axes, self.rows[start:stop], n_samples)

    def __getitem__(self, block: tuple[slice, slice]) -> Tensor:
        """`[b, k, u]` bool."""
        samples, rows = block
        n_samples = len(range(*samples.indices(self.n_samples)))
        return self.built(self.rows[rows]).expand(n_samples, -1, -1)

    def built(self, rows: Tensor) -> Tensor:
        """`[k, u]` bool: these coalitions."""
        place, under = (rows - 1).clamp(min=0), list[Tensor]()
        for axis in reversed(self.axes):
            under.insert(0, axis.under(place % len(axis.starts)))
            place = place // len(axis.starts)
        dropped: Tensor = reduce(_outer, under).flatten(1)
        kept: Tensor = dropped.logical_and_((rows > 0)[:, None]).logical_not_()
        return kept

    def mean_drops(self, values: Tensor) -> Tensor:
        """`values [b, 1 + n] -> [b, u]`: a window's drop is shared evenly by its units, and a unit
        gets the mean over the windows that cover it.
        """
        sizes = [len(axis.starts) for axis in self.axes]
        drops = (values[:, :1] - values[:, 1:]).unflatten(1, sizes)
        for number, axis in enumerate(self.axes):
            drops = axis.mean_over(drops / min(axis.size, axis.length), 1 + number)
        by_unit: Tensor = drops.flatten(1)
        return by_unit


def _outer(first: Tensor, second: Tensor) -> Tensor:
    """`[k, *s], [k, t] -> [k, *s, t]`."""
    return first[..., None] & second.view(len(second), *[1] * (first.dim() - 1), -1)
