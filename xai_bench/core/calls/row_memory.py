"""How many rows to send through a model at once, from the bytes that a row takes on its way."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

MOST_MEMORY = 2 << 30
"""Bytes that are taken without being asked, of a quarter of what is free."""
_FORWARD, _GRADIENT = 64 << 20, 384 << 20
"""Bytes that a call works on at once: more rows are slower again, once their values no longer stay
near the processor. A way back returns to what was computed first, so that more of it pays off."""
_COPIES = 6
"""Copies of a row of x while a batch is made: points, masks, and what is handed to the model."""
BEST_ROWS, MOST_ROWS = 2048, 8192
"""More rows than the first gain nothing: of small networks, whose rows take few bytes, 8,192 at
once take twice as long each. The second is for calls that cannot be split."""


@dataclass(frozen=True, slots=True)
class RowBounds:
    """The most rows of one call: forward alone, with a way back, and where it cannot be split."""

    forward: int
    gradient: int
    room: int


def row_bounds(
    model: Callable[[Tensor], Tensor], row: Tensor, memory: int, *, gradient: bool, block: int = 1
) -> RowBounds:
    """How many rows like `row [1, *S]` to send through a model at once, in multiples of `block`.

    From the bytes that one row more takes, in a call without gradients and in one with them: as
    many rows as work best, and never so many that a call takes more than `memory` bytes. It follows
    from shapes alone, so that the same model has the same bounds on every machine with as much
    memory. Asks the model three rows, and three more that keep what a way back needs.
    """
    # x itself is copied before the model sees it, which no watch over the model counts.
    own = _COPIES * row.numel() * row.element_size()
    there = own + _bytes_of_a_row(model, row, gradient=False)
    back = own + _bytes_of_a_row(model, row, gradient=True) if gradient else there
    return RowBounds(
        _rows(min(memory // 2 // there, _FORWARD // there, BEST_ROWS), block),
        _rows(min(memory // 2 // back, _GRADIENT // back, BEST_ROWS), block),
        _rows(min(memory // back, MOST_ROWS), block),
    )


def _rows(most: int, block: int) -> int:
    # Two at least: some methods compare a row with its reference.
    return max(most // block * block, block, 2)


def default_memory() -> int:
    """A quarter of the bytes that are free, at most `MOST_MEMORY`."""
    return min(_free() // 4, MOST_MEMORY)


def _free() -> int:
    if sys.platform == "linux":
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        # Of all memory there is, for what is free nobody says.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    # Nothing is known: a quarter of it is `MOST_MEMORY`.
    return 4 * MOST_MEMORY


def _bytes_of_a_row(model: Callable[[Tensor], Tensor], row: Tensor, *, gradient: bool) -> int:
    """What a second row adds to the highest number of bytes in use; 0 where nobody can tell."""
    # What does not depend on the rows, such as weights that are transposed, cancels.
    single, double = (_Watch.over(model, row.expand(n, *row.shape[1:]), gradient) for n in (1, 2))
    # A model that takes other steps for two rows than for one gives no pairs, and all bytes count.
    sizes = single.sizes if len(single.sizes) == len(double.sizes) else [0] * len(double.sizes)
    return double.peak(sizes)


class _Watch(TorchFunctionMode):
    """Writes down which storages PyTorch's functions make, how large they are, and when they go.

    What a function needs for itself only is not seen, and on the way back nothing but what the way
    there had kept for it.

    Attributes:
        sizes: of each storage, in the order in which they are made.
        events: the number of a storage when it is made, and its complement when it goes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.events: list[int] = []
        self._held: set[int] = set()

    @classmethod
    def over(cls, model: Callable[[Tensor], Tensor], rows: Tensor, gradient: bool) -> _Watch:
        """One call of the model, and the way back where one is asked for."""
        watch = cls()
        with torch.set_grad_enabled(gradient):
            x = rows.detach().clone().requires_grad_(gradient)
            given = x.clone()  # which the model may overwrite
            with watch:
                out = model(given)
            del out
        return watch

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        # A view has the storage of an argument; a weight that is transposed takes no memory.
        given = {_key(each) for each in args if isinstance(each, Tensor)}
        for made in out if isinstance(out, tuple | list) else (out,):
            if isinstance(made, Tensor) and _key(made) not in given | self._held:
                self._made(made)
        return out

    def _made(self, tensor: Tensor) -> None:
        storage, number, key = tensor.untyped_storage(), len(self.sizes), _key(tensor)
        self._held.add(key)
        self.sizes.append(storage.nbytes())
        self.events.append(number)

        def gone() -> None:
            self._held.discard(key)
            self.events.append(~number)

        # When the process ends, nobody reads it any more.
        weakref.finalize(storage, gone).atexit = False

    def peak(self, less: list[int]) -> int:
        """The highest number of bytes at once, of each storage what it has beyond `less`."""
        now, most = 0, 0
        for event in self.events:
            number = event if event >= 0 else ~event
            size = max(self.sizes[number] - less[number], 0)
            now += size if event >= 0 else -size
            most = max(most, now)
        return most


def _key(tensor: Tensor) -> int:
    """The storage of a tensor."""
    key: int = tensor.untyped_storage()._cdata
    return key
