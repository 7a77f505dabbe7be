"""Progress of a cell on the terminal: a bar with the time left, a line per finished explainer."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from xai_bench.results import Cell, ExplainerResult, Outcome
from xai_bench.results.regimes import PAPER

_MARK = {"ok": "[green]✓[/]", "skipped": "[yellow]–[/]", "failed": "[red]✗[/]"}


class Progress:
    """A context manager around a terminal bar; without a terminal, plain lines only."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        self.title = title
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
            transient=True,
        )
        self._task = self._bars.add_task(title, total=None)

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def epoch(self, numbers: Mapping[str, float]) -> None:
        """One training epoch has ended."""
        shown = "  ".join(f"{name} {value:.3g}" for name, value in numbers.items())
        self._bars.update(self._task, description=f"{self.title}: training  {shown}")

    def expect(self, total: int) -> None:
        """So many steps of explaining and scoring lie ahead."""
        self._bars.reset(self._task, total=total, description=self.title)

    def trial(self, name: str, number: int, best: float | None) -> None:
        """One setting more was tried."""
        score = "" if best is None else f", best {best:.4g}"
        self._bars.update(self._task, description=f"{self.title}: tuning {name}, {number}{score}")
        self._bars.advance(self._task)

    def tuned(self, name: str, tuning: Mapping[str, Any]) -> None:
        """The trials of one explainer are over; `tuning` is their summary."""
        settings = ", ".join(f"{key}={value}" for key, value in tuning["best"].items())
        scores = (
            f"{tuning['metric']} {tuning['score']:.4g}, as shipped {tuning['shipped_score']:.4g}"
        )
        self._print(f"  [green]✓[/] {name}  [dim]tuned: {escape(settings)} ({scores})[/]")

    def untuned(self, name: str, reason: str) -> None:
        """An explainer keeps its configured settings."""
        self._print(f"  [yellow]–[/] {name}  [dim]not tuned: {escape(reason)}[/]")

    def working_on(self, name: str) -> None:
        """An explainer is explained or scored from now on."""
        self._bars.update(self._task, description=f"{self.title}: {name}")

    def step(self, steps: int) -> None:
        """So many batches more were explained or scored."""
        self._bars.advance(self._task, steps)

    def model_ready(self, cell: Cell) -> None:
        """The model is trained or read; one line with its scores on the test part."""
        scores = "  ".join(f"{name} {value:.3f}" for name, value in cell.model_scores.items())
        self._print(f"[bold]{self.title}[/]  {scores}")

    def finished(self, result: ExplainerResult, *, reused: bool = False) -> None:
        """One line for one explainer, and one for each of its metrics that failed."""
        failures = {
            f"{scores.metric}: {scores.outcome.reason}"
            for scores in result.scores.values()
            if scores.outcome.status == "failed" and result.outcome.status == "ok"
        }
        regime = "" if result.regime == PAPER else result.regime
        notes = [regime, "already in the store" if reused else result.outcome.reason]
        shown = escape(", ".join(filter(None, notes)))
        self._print(f"  {_MARK[result.outcome.status]} {result.explainer}  [dim]{shown}[/]")
        for failure in sorted(failures):
            self._print(f"      {_MARK['failed']} {escape(failure)}")

    def cell_ended(self, outcome: Outcome) -> None:
        """The whole cell was skipped or failed."""
        self._print(f"{_MARK[outcome.status]} [bold]{self.title}[/]  {escape(outcome.reason)}")

    def _print(self, text: str) -> None:
        self._bars.console.print(text, highlight=False, soft_wrap=True)
