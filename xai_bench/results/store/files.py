"""Files that appear whole or not at all; a damaged one is treated as absent, with a warning."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

DAMAGED = (OSError, ValueError, KeyError, TypeError, SafetensorError)
"""What reading a damaged file may raise; Arrow's errors are ValueErrors or OSErrors."""

log = logging.getLogger(__name__)


def write(path: Path, content: bytes) -> None:
    """Replace `path` in one step: temporary file beside it, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)
    _sync(path.parent.parent)


def sweep(folder: Path) -> None:
    """Remove the temporary files of killed writers. Only for the holder of the folder's lock."""
    for path in folder.glob("**/.*.*"):
        if path.suffix[1:].isdigit():
            path.unlink(missing_ok=True)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn an error of the operating system into one sentence about `folder`.

    Raises:
        ValueError: nothing can be written there.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(
            f"cannot write results to {folder}: {reason}; choose another folder with results=..."
        ) from error


def dumps(value: Any) -> bytes:
    """A value as JSON, always in the same bytes: sorted keys, no NaN."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def loads(path: Path) -> Any:
    """The content of a JSON file; None where it is absent or damaged."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warn_damaged(path, error)
        return None


def tensors(path: Path, wanted: Collection[str] | None = None) -> dict[str, Tensor] | None:
    """The tensors of a safetensors file, all or the `wanted` ones; None where absent or damaged."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            stored = [name for name in file.keys() if wanted is None or name in wanted]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in stored}
    except DAMAGED as error:
        warn_damaged(path, error)
        return None


def names(path: Path) -> list[str]:
    """The names in the header of a safetensors file; none where it is absent or damaged."""
    if not path.exists():
        return []
    try:
        with safe_open(path, "pt") as file:
            return [str(name) for name in json.loads(file.metadata()["names"])]
    except DAMAGED as error:
        warn_damaged(path, error)
        return []


def warn_damaged(path: Path, error: Exception) -> None:
    """Log that a file is treated as absent, so that it is computed again."""
    log.warning("%s cannot be read (%s) and is treated as absent", path, error)


def _sync(folder: Path) -> None:
    """Make a rename survive a power failure; only POSIX can open a folder for that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
