"""The C library's memory: kept between calls, and given back where it is measured.

Arrays of a megabyte are handed to the system when they are freed and asked for again by the next
call of the model, which then waits for fresh pages: much of the time of a small network. Elsewhere
than on glibc nothing is changed.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`, as its `malloc.h` numbers them."""
_MOST = 1 << 30
"""A gigabyte: more than any array of one call, so that none goes back to the system."""


def keep() -> None:
    """From now on, this process keeps freed memory of up to a gigabyte for itself."""
    library = _glibc()
    if library is not None:
        # Larger arrays than this threshold are mapped anew at every call, and unmapped when freed.
        library.mallopt(_MMAP_THRESHOLD, _MOST)
        library.mallopt(_TRIM_THRESHOLD, _MOST)


def give_back() -> None:
    """What is kept but not in use goes back to the system: what is resident is then in use."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> Any:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
