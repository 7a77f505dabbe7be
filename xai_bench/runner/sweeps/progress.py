"""What is told of a cell while it is worked on: a line per explainer, and the state of a bar."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

from rich.markup import escape

from xai_bench.results import Cell, ExplainerResult, Outcome
from xai_bench.results.regimes import PAPER

MARKS = {"ok": "[green]✓[/]", "skipped": "[yellow]–[/]", "failed": "[red]✗[/]"}
REUSED = "already in the store"


class Display(Protocol):
    """Where progress is shown: the terminal, or the process that shows that of all jobs."""

    def start(self, title: str) -> None:
        """A cell begins."""
        ...

    def stop(self) -> None:
        """The cell has ended."""
        ...

    def line(self, text: str) -> None:
        """A line that stays, in rich's markup."""
        ...

    def state(self, text: str, *, total: int | None = None, steps: int = 0) -> None:
        """What is done now; so many steps lie ahead from here, or were made since."""
        ...


class Progress:
    """A context manager that tells a display how far a cell is.

    `note` stands at the end of the cell's first line.
    """

    def __init__(self, title: str, display: Display, note: str = "") -> None:
        self.title, self.note = title, note
        self._display = display

    def __enter__(self) -> Progress:
        self._display.start(self.title)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._display.stop()

    def epoch(self, numbers: Mapping[str, float]) -> None:
        """One training epoch has ended."""
        shown = "  ".join(f"{name} {value:.3g}" for name, value in numbers.items())
        self._display.state(f"{self.title}: training  {shown}")

    def expect(self, total: int) -> None:
        """So many steps of explaining and scoring lie ahead."""
        self._display.state(self.title, total=total)

    def trial(self, name: str, number: int, best: float | None) -> None:
        """One setting more was tried."""
        score = "" if best is None else f", best {best:.4g}"
        self._display.state(f"{self.title}: tuning {name}, {number}{score}", steps=1)

    def tuned(self, name: str, tuning: Mapping[str, Any]) -> None:
        """The trials of one explainer are over; `tuning` is their summary."""
        settings = ", ".join(f"{key}={value}" for key, value in tuning["best"].items())
        scores = (
            f"{tuning['metric']} {tuning['score']:.4g}, as shipped {tuning['shipped_score']:.4g}"
        )
        self._line("ok", name, f"tuned: {settings} ({scores})")

    def untuned(self, name: str, reason: str) -> None:
        """An explainer keeps its configured settings."""
        self._line("skipped", name, f"not tuned: {reason}")

    def working_on(self, name: str) -> None:
        """An explainer is explained or scored from now on."""
        self._display.state(f"{self.title}: {name}")

    def step(self, steps: int) -> None:
        """So many batches more were explained or scored."""
        self._display.state("", steps=steps)

    def model_ready(self, cell: Cell) -> None:
        """The model is trained or read; one line with its scores on the test part."""
        self._display.line(headline(self.title, model_scores(cell), self.note))

    def will_be_skipped(self, name: str, reason: str) -> None:
        """An explainer refuses the data, whatever the model will be."""
        self._line("skipped", name, f"will be skipped: {reason}")

    def finished(self, result: ExplainerResult, *, reused: bool = False) -> None:
        """One line for one explainer, and one for each of its metrics that failed."""
        failures = {
            f"{scores.metric}: {scores.outcome.reason}"
            for scores in result.scores.values()
            if scores.outcome.status == "failed" and result.outcome.status == "ok"
        }
        note = REUSED if reused else result.outcome.reason
        self._line(result.outcome.status, result.explainer, note_of(result, note))
        for failure in sorted(failures):
            self._display.line(f"      {MARKS['failed']} {escape(failure)}")

    def cell_ended(self, outcome: Outcome) -> None:
        """The whole cell was skipped or failed."""
        mark = MARKS[outcome.status]
        self._display.line(f"{mark} [bold]{escape(self.title)}[/]  {escape(outcome.reason)}")

    def _line(self, status: str, name: str, note: str) -> None:
        self._display.line(explainer_line(status, name, note))


def headline(title: str, scores: str, note: str = "") -> str:
    """The first line of a cell."""
    end = f"  [dim]{escape(note)}[/]" if note else ""
    return f"[bold]{escape(title)}[/]  {scores}{end}"


def model_scores(cell: Cell) -> str:
    """The scores of the model on its test part."""
    return "  ".join(f"{name} {value:.3f}" for name, value in cell.model_scores.items())


def explainer_line(status: str, name: str, note: str) -> str:
    """The line of one explainer."""
    return f"  {MARKS[status]} {escape(name)}  [dim]{escape(note)}[/]"


def note_of(result: ExplainerResult, note: str) -> str:
    """What stands beside an explainer: its regime, where it is not its own, and a note."""
    regime = "" if result.regime == PAPER else result.regime
    return ", ".join(filter(None, [regime, note]))
