"""A disk that is full, or read-only, from its n-th write on."""

from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_ALWAYS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link")
_watching: list[Disk] = []
_hooked: list[bool] = []


@dataclass(eq=False)
class Disk:
    """What Python writes below a folder: counted, and refused from a write on.

    Attributes:
        left: how many writes succeed.
        error: what the others fail with; ENOSPC lets names be changed and files be removed.
        written: how many were tried.
        names: the folders of the writes that failed.
    """

    root: Path
    left: float = float("inf")
    error: int = errno.ENOSPC
    written: int = 0
    names: set[str] = field(default_factory=set)

    def saw(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Raises OSError where an event is a write too much."""
        if not self._is_write(event, arguments):
            return
        self.written += 1
        if self.written > self.left:
            self.names.add(Path(os.fsdecode(arguments[0])).parent.name)
            raise OSError(self.error, os.strerror(self.error), str(arguments[0]))

    def _is_write(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            changes = bool(flags & _CHANGING)
        elif event in (_ALWAYS if self.error == errno.EROFS else ("os.mkdir",)):
            path, changes = arguments[0], True
        else:
            return False
        if not changes or not isinstance(path, str | os.PathLike):
            return False
        return Path(path).absolute().is_relative_to(self.root)


@contextmanager
def watched(disk: Disk) -> Iterator[Disk]:
    """The writes of this process go to this disk. Libraries that open files in C are not seen."""
    if not _hooked:  # a hook cannot be removed
        sys.addaudithook(_saw)
        _hooked.append(True)
    _watching.append(disk)
    try:
        yield disk
    finally:
        _watching.remove(disk)


@contextmanager
def files_up_to(n_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond so many bytes, whichever library writes it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _saw(event: str, arguments: tuple[Any, ...]) -> None:
    for disk in _watching:
        disk.saw(event, arguments)
