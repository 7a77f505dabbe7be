"""How much a packed file holds, looked up before it is unpacked."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import Path

MAX_UNPACKED = 2**30
"""Bytes; a packed file of more is refused where it is packed `MAX_RATIO` times or more."""
MAX_RATIO = 100
"""Data that are worth a look cannot be packed that well; a thousand times means repeated bytes."""
_CHUNK = 2**20


def require_size(path: Path, unpacked: int) -> None:
    """Raise ValueError for a file that would fill the memory with much more than it holds.

    `unpacked` counts bytes.
    """
    packed = max(path.stat().st_size, 1)
    if unpacked > MAX_UNPACKED and unpacked > MAX_RATIO * packed:
        raise ValueError(
            f"{path} has {packed:,} bytes and unpacks to {unpacked:,} or more, {MAX_RATIO} times "
            f"as much or more; it is refused above {MAX_UNPACKED:,} bytes: unpack it yourself if "
            "that is right"
        )


def unpacked_zip(path: Path) -> int:
    """The bytes of all members of a ZIP file, such as NPZ or Excel, as its directory states them.

    Raises ValueError for a file that is none.
    """
    try:
        with zipfile.ZipFile(path) as file:
            return sum(member.file_size for member in file.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ValueError(f"{path} is not a whole ZIP file: {error}") from error


def unpacked_gzip(path: Path) -> int:
    """The bytes in a gzip file, counted up to where `require_size` refuses it.

    Its end states a size, but of its last part only and modulo 4 GiB. Raises ValueError for a file
    that is broken.
    """
    limit = max(MAX_UNPACKED, MAX_RATIO * path.stat().st_size)
    n_bytes = 0
    try:
        with gzip.open(path) as file:
            while n_bytes <= limit and (chunk := file.read(_CHUNK)):
                n_bytes += len(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file ({error}); get it again") from error
    return n_bytes
