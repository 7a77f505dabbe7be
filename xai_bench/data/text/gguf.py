"""GGUF files: what they say of themselves, and their tensors, exactly as they are quantised.

The layout is that of the public specification, version 3.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# By the numbers that the specification gives them.
_KINDS = ["B", "b", "H", "h", "I", "i", "f", "?", "string", "array", "Q", "q", "d"]
_BLOCK = 32
"""Numbers that share a scale in a quantised tensor."""


@dataclass(frozen=True, slots=True)
class GGUF:
    """A file's header.

    Attributes:
        values: name -> value of everything it says of itself.
        tensors: name -> shape, number of its type, and offset from `start`.
    """

    path: Path
    values: Mapping[str, Any]
    tensors: Mapping[str, tuple[tuple[int, ...], int, int]]
    start: int

    @classmethod
    def read(cls, path: Path) -> GGUF:
        """Raises ValueError for other files."""
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ValueError(f"{path} is no GGUF file")
            _, n_tensors, n_values = struct.unpack("<IQQ", file.read(20))
            values = {_string(file): _value(file, _number(file, "I")) for _ in range(n_values)}
            tensors = {_string(file): _tensor(file) for _ in range(n_tensors)}
            # The tensors begin at the next multiple of this.
            step = values.get("general.alignment", 32)
            return cls(path, values, tensors, -(-file.tell() // step) * step)

    def tensor(self, name: str) -> Floats:
        """A tensor as float32. Raises ValueError for a quantisation that is not known here."""
        shape, kind, offset = self.tensors[name]
        if kind not in _READERS:
            raise ValueError(f"{self.path.name}: tensor {name} is quantised in a way unknown here")
        bytes_per, per, read = _READERS[kind]
        n_numbers = math.prod(shape)
        raw = np.fromfile(
            self.path, np.uint8, count=n_numbers // per * bytes_per, offset=self.start + offset
        )
        return read(raw.reshape(-1, bytes_per)).reshape(shape)


def _number(file: BinaryIO, kind: str) -> Any:
    return struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0]


def _string(file: BinaryIO) -> str:
    length: int = _number(file, "Q")
    return file.read(length).decode("utf-8", errors="replace")


def _value(file: BinaryIO, number: int) -> Any:
    kind = _KINDS[number]
    if kind == "string":
        return _string(file)
    if kind != "array":
        return _number(file, kind)
    inner, length = struct.unpack("<IQ", file.read(12))
    if _KINDS[inner] in ("string", "array"):
        return [_value(file, inner) for _ in range(length)]
    shape = f"<{length}{_KINDS[inner]}"
    return list(struct.unpack(shape, file.read(struct.calcsize(shape))))


def _tensor(file: BinaryIO) -> tuple[tuple[int, ...], int, int]:
    """Its shape, which is written the other way round, its type and its offset."""
    sizes = [_number(file, "Q") for _ in range(_number(file, "I"))]
    kind, offset = struct.unpack("<IQ", file.read(12))
    return tuple(reversed(sizes)), kind, offset


def _halves(raw: npt.NDArray[np.uint8]) -> Floats:
    """Two bytes each, as float32."""
    return np.ascontiguousarray(raw).view(np.float16).astype(np.float32)


def _nibbles(raw: npt.NDArray[np.uint8]) -> Floats:
    """`[N, 16] -> [N, 32]`: the lower halves of the bytes, then the upper ones."""
    return np.concatenate([raw & 15, raw >> 4], axis=1).astype(np.float32)


def _single(raw: npt.NDArray[np.uint8]) -> Floats:
    return np.ascontiguousarray(raw).view(np.float32)


def _q4_0(raw: npt.NDArray[np.uint8]) -> Floats:
    # A scale, and numbers from 0 to 15 around 8.
    return _halves(raw[:, :2]) * (_nibbles(raw[:, 2:]) - 8)


def _q4_1(raw: npt.NDArray[np.uint8]) -> Floats:
    # A scale and the smallest value.
    return _halves(raw[:, :2]) * _nibbles(raw[:, 4:]) + _halves(raw[:, 2:4])


def _q8_0(raw: npt.NDArray[np.uint8]) -> Floats:
    numbers: Floats = np.ascontiguousarray(raw[:, 2:]).view(np.int8).astype(np.float32)
    return _halves(raw[:, :2]) * numbers


_READERS: Mapping[int, tuple[int, int, Callable[[npt.NDArray[np.uint8]], Floats]]] = {
    0: (4, 1, _single),
    1: (2, 1, _halves),
    2: (18, _BLOCK, _q4_0),
    3: (20, _BLOCK, _q4_1),
    8: (34, _BLOCK, _q8_0),
}
"""Number of a type -> bytes of a block, numbers in it, and how it is read."""
