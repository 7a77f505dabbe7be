"""Jobs of one cell at the same time: each explanation is computed by one of them.

A sweep over budgets gives the explainers without a budget to several jobs. Whoever comes second
goes on with what is left, and takes from the store what was computed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def reserved(folder: Path, name: str, *, wait: bool) -> Iterator[bool]:
    """Whether `name` is ours now; False where another process has it and we do not `wait`.

    Nothing is left in `folder`. Who ends without giving it back has given it back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.lock"
    lock = FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        # Those who wait hold this file still; those who come later find the result in the store.
        path.unlink(missing_ok=True)
        lock.release()
