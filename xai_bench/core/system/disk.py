"""What goes wrong when files are written, as one sentence."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn an error of the operating system into one sentence about `folder`.

    Raises:
        ValueError: nothing can be written there.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = _number(error)
        if number is None and isinstance(error, SafetensorError):
            raise
        reason = str(error) if number is None else os.strerror(number)
        advice = "choose another folder with results=..."
        if number in _NO_ROOM:
            advice = f"make room and run the same command again, or {advice}"
        raise ValueError(f"cannot write results to {folder}: {reason}; {advice}") from error


def _number(error: Exception) -> int | None:
    """The number of an error of the operating system, which safetensors gives in its text."""
    if isinstance(error, OSError):
        return error.errno
    stated = re.search(r"os error (\d+)", str(error))
    return int(stated[1]) if stated else None
