"""The summary when all jobs are done: the table, the verdict, the paths, the exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_bench.results.report.options import ReportOptions
from xai_bench.results.store.store import Store
from xai_bench.runner import report

if TYPE_CHECKING:
    from rich.console import Console


def finish(
    results: Path, study: str, statuses: Sequence[str], settings: Mapping[str, Any] | None = None
) -> int:
    """Write the report; print its main table, the verdict and the paths of everything.

    `settings` are those of the report in the configuration. Returns the exit code: 0, or 1 if a
    cell failed, none ran, or nothing at all was scored.
    """
    from rich.console import Console

    console = Console()
    if study in Store(results).studies():
        try:
            _show(console, results, study, settings or {})
        except ValueError as error:
            console.print(f"no report: {error}", style="red", highlight=False)
    failed = sum(status == "failed" for status in statuses)
    if failed:
        console.print(
            f"{failed} of {len(statuses)} runs failed; the reasons are above", style="red"
        )
    scored = any(status == "ok" for status in statuses)
    if statuses and not failed and not scored:
        console.print(
            "nothing could be scored: the reasons are above, those of metrics in the report",
            style="red",
        )
    return 0 if scored and not failed else 1


def _show(console: Console, results: Path, study: str, settings: Mapping[str, Any]) -> None:
    """The table, the paths and the verdict. Raises ValueError where no report can be written."""
    from xai_bench.results.report.formats.console import terminal, verdict

    options = ReportOptions.of(settings)
    written = report.write(results, study, options)
    console.print(terminal(written.study.blocks, metrics=options.metrics))
    report.show_places(console, results, study, written)
    console.print(verdict(written.study.verdicts))
