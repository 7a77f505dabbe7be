"""Progress on the terminal: a bar for each cell that is worked on, and one for all runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Message = tuple[str, tuple[Any, ...], dict[str, Any]]
"""The name of a method of `Display`, and its arguments."""


class Sender:
    """A display whose messages another process shows."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send

    def start(self, title: str) -> None:
        """A cell begins."""
        self._send(("start", (title,), {}))

    def stop(self) -> None:
        """The cell has ended."""
        self._send(("stop", (), {}))

    def line(self, text: str) -> None:
        """A line that stays."""
        self._send(("line", (text,), {}))

    def state(self, text: str, *, total: int | None = None, steps: int = 0) -> None:
        """What is done now."""
        self._send(("state", (text,), {"total": total, "steps": steps}))


class Lane:
    """The cell that one process works on, among those of the others."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.title = ""
        self._bar: TaskID | None = None

    def start(self, title: str) -> None:
        """A cell begins: it gets a bar."""
        self.title = title
        self._bar = self.screen.bars.add_task(title, total=None)

    def stop(self) -> None:
        """The cell has ended: its bar goes."""
        if self._bar is not None:
            self.screen.bars.remove_task(self._bar)
            self._bar = None

    def line(self, text: str) -> None:
        """A line that stays, below the title of its cell."""
        self.screen.line(self, text)

    def state(self, text: str, *, total: int | None = None, steps: int = 0) -> None:
        """Change the bar."""
        if self._bar is None:
            return
        bars = self.screen.bars
        if total is not None:
            bars.reset(self._bar, total=total, description=text)
        elif text:
            bars.update(self._bar, description=text, advance=steps)
        else:
            bars.advance(self._bar, steps)


class Screen:
    """The terminal, as a context manager; without one, lines alone are written.

    `n_runs` are all runs of a command, of which `n_finished` are finished already.
    """

    def __init__(self, n_runs: int = 1, n_finished: int = 0, n_workers: int = 1) -> None:
        self.console = Console(stderr=True)
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self.n_runs, self.n_started, self.n_workers = n_runs, n_finished, n_workers
        self._seconds: list[float] = []
        self._to_do = n_runs - n_finished
        self._total = self.bars.add_task("runs", total=n_runs) if n_runs > 1 else None
        self._advance(n_finished)

    def __enter__(self) -> Screen:
        if self.console.is_terminal:
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.bars.stop()

    def note(self) -> str:
        """Which run the next one is, and how long all that are left will take."""
        self.n_started += 1
        if self.n_runs == 1:
            return ""
        left = f", {left} left" if (left := self.time_left()) else ""
        return f"run {self.n_started} of {self.n_runs}{left}"

    def time_left(self) -> str:
        """By the mean of the runs that have ended; empty before the first one has."""
        if not self._seconds:
            return ""
        n_left = self._to_do - len(self._seconds)
        mean = sum(self._seconds) / len(self._seconds)
        # At the end, there are fewer runs than workers.
        return duration(mean * n_left / min(self.n_workers, max(n_left, 1)))

    def ended(self, started: float) -> None:
        """A run that began at this time, by `time.monotonic`, has ended."""
        self._seconds.append(time.monotonic() - started)
        self._advance(1)

    def line(self, lane: Lane, text: str) -> None:
        """Write a line; where several cells are worked on, with the title of its own."""
        is_below = text.startswith(" ") and self.n_workers > 1
        self.write(f"[dim]{escape(lane.title)}[/]{text}" if is_below else text)

    def write(self, text: str) -> None:
        """Write a line above the bars."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def _advance(self, n_runs: int) -> None:
        if self._total is not None:
            self.bars.advance(self._total, n_runs)


def duration(seconds: float) -> str:
    """Such as `about 40 s` or `about 3 min`."""
    if seconds < 90:
        return f"about {max(round(seconds), 1)} s"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min"
    return f"about {round(seconds / 3600)} h"
