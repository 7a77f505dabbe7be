"""Reading NPZ files, which are ZIP files of arrays; nothing in them is ever unpickled."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xai_bench.data.sizes import require_size, unpacked_zip

_FAULTS = (
    ValueError,
    OSError,
    EOFError,
    AttributeError,
    TypeError,
    KeyError,
    RuntimeError,
    SyntaxError,
    OverflowError,
    MemoryError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy raises for files that are broken somewhere, or hold Python objects."""
_LONGEST = 200
"""Letters of what NumPy says: a broken header would be told as a whole."""


def load_npz(path: Path, wanted: Collection[str]) -> dict[str, npt.NDArray[Any]]:
    """The wanted arrays of an NPZ file by name, those that are there, in the machine's byte order.

    Raises ValueError for a file that is broken, holds Python objects in their place or two arrays
    of one name, or would fill the memory.
    """
    require_size(path, unpacked_zip(path))
    reading = ""
    try:
        with np.load(path, allow_pickle=False) as file:
            names = [name for name in file.files if name in wanted]
            arrays = {}
            for reading in names:
                arrays[reading] = file[reading]
    except _FAULTS as error:
        raise ValueError(_sentence(path, reading, error)) from error
    if len(arrays) < len(names):
        raise ValueError(f"{path} holds two arrays of one name; give each a name of its own")
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufcUSMm":
            raise ValueError(f"{path} is not an NPZ file of plain arrays: {name!r} is none")
    return {name: _native(array) for name, array in arrays.items()}


def names_in(path: Path) -> list[str]:
    """The names of the arrays of an NPZ file, the first ten of them."""
    with zipfile.ZipFile(path) as file:
        return sorted(name.removesuffix(".npy") for name in file.namelist())[:10]


def _sentence(path: Path, name: str, error: Exception) -> str:
    """What is wrong with a file; `name` is the array that was being read, if any."""
    reason = " ".join(str(error).split())[:_LONGEST] or type(error).__name__
    if "pickle" in reason:  # NumPy would go on and say how to run what is in it
        reason = "there are Python objects, or nothing that NumPy wrote"
    place = f"in {name!r}, " if name else ""
    return f"{path} is not an NPZ file of plain arrays: {place}{reason}"


def _native(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Other orders of bytes, as of other machines, are none that torch can read."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
