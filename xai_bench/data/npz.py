"""Reading NPZ files, which are ZIP files of arrays; nothing in them is ever unpickled."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
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


def load_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an NPZ file by name, in the machine's order of bytes.

    Raises ValueError for a file that is broken, holds Python objects, or would fill the memory.
    """
    require_size(path, unpacked_zip(path))
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except _FAULTS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not an NPZ file of plain arrays: {reason}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufcUSMm":
            raise ValueError(f"{path} is not an NPZ file of plain arrays: {name!r} is none")
    return {name: _native(array) for name, array in arrays.items()}


def _native(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Other orders of bytes, as of other machines, are none that torch can read."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
