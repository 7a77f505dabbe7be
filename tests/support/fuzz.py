"""Whether a command answered random input clearly: a run, or sentences, and in time."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tests.support.command_line import Finished

SECONDS = 60
"""A command that takes longer hangs."""


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raises TimeoutError for what takes longer."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def unclear(command: Callable[[], Finished]) -> str:
    """What is wrong with the answer of a command; empty where it is a sentence or a run."""
    try:
        with within(SECONDS):
            finished = command()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    lines = finished.text.strip().splitlines()
    if finished.code == 0:
        return "" if all(line.startswith("note: ") for line in lines) else finished.text
    clear = finished.code == 2 and lines and all(line.startswith("xai-bench: ") for line in lines)
    return "" if clear else f"{finished.code} {finished.text}"
