"""Files that appear whole or not at all, each with its digest in the index of its folder."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from xai_bench.results.store import digests

DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError)
"""What decoding a damaged file may raise; Arrow's errors are ValueErrors or OSErrors."""

_PATIENCE = 5.0
"""Seconds for which another process may hold a lock before it is said that we wait."""

log = logging.getLogger(__name__)


def write(folder: Path, contents: Mapping[str, bytes], removed: Collection[str] = ()) -> None:
    """Replace some files of a folder and remove others, with their digests in its index.

    Whoever is killed on the way leaves every file either as it was or as it should be: until the
    last one is in place, the index lists both digests. Only for the holder of the folder's lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = _listed(folder)
    new = {name: frozenset({digests.of(content)}) for name, content in contents.items()}
    both = {name: listed.get(name, frozenset()) | new[name] for name in new}
    drafts: dict[Path, Path] = {}
    try:
        for name, content in contents.items():
            drafts[folder / name] = _draft(folder / name, content)
        _replace(folder / digests.NAME, digests.dumps({**listed, **both}))
        for path, draft in drafts.items():
            draft.replace(path)
        kept = {name: of_name for name, of_name in listed.items() if name not in removed}
        for name in removed:
            (folder / name).unlink(missing_ok=True)
        _replace(folder / digests.NAME, digests.dumps({**kept, **new}))
    finally:
        # Of what was not put in its place, as on a full disk.
        for path in (*map(folder.joinpath, contents), folder / digests.NAME):
            _draft_of(path).unlink(missing_ok=True)
    _sync(folder)
    _sync(folder.parent)


def list_all(folder: Path) -> None:
    """Give a folder without an index, such as version 0.1.0 wrote, an index of what is there.

    Only for the holder of the folder's lock.
    """
    if folder.is_dir() and digests.read(folder) is None:
        _replace(folder / digests.NAME, digests.dumps(_listed(folder)))


def sweep(folder: Path) -> None:
    """Remove the drafts of killed writers. Only for the holder of the folder's lock."""
    for path in drafts(folder):
        path.unlink(missing_ok=True)


def drafts(folder: Path) -> list[Path]:
    """What is being written in a folder and below, or was when the writer was killed."""
    # The name of a draft ends in the number of its process.
    return [path for path in sorted(folder.glob("**/.*.*")) if path.suffix[1:].isdigit()]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; says so where another process makes us wait for it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        log.warning("waiting for another process that holds %s", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, and remove what a killed writer left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        sweep(folder)
        yield


def dumps(value: Any) -> bytes:
    """A value as JSON, always in the same bytes: sorted keys, no NaN."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def _listed(folder: Path) -> digests.Digests:
    """The index of a folder; what lies there where it has none."""
    listed = digests.read(folder)
    if listed is not None:
        return listed
    in_folder = digests.of_folder(folder)
    if in_folder:
        log.warning("%s has no %s; its files count as they are", folder, digests.NAME)
    return in_folder


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _draft(path: Path, content: bytes) -> Path:
    """The content beside `path`, on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft_of(path)
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _replace(path: Path, content: bytes) -> None:
    _draft(path, content).replace(path)


def _sync(folder: Path) -> None:
    """Make a rename survive a power failure; only POSIX can open a folder for that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
