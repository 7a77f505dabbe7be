"""The summary when all jobs are done: the table, the verdict, the paths, the exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_bench.runner.finished.intact import IntactFolders
from xai_bench.runner.finished.printed import PrintedReport

if TYPE_CHECKING:
    from rich.console import Console


def finish(
    results: Path, study: str, statuses: Sequence[str], settings: Mapping[str, Any] | None = None
) -> int:
    """Write the report; print its main table, the verdict and the paths of everything.

    `settings` are those of the report in the configuration. Returns the exit code: 0, or 1 if a
    cell failed, none ran, nothing at all was scored, or no report could be written.
    """
    reported = True
    if IntactFolders(results).cells(study):
        reported = _show(results, study, settings or {})
    failed = sum(status == "failed" for status in statuses)
    scored = any(status == "ok" for status in statuses)
    if failed:
        _warn(f"{failed} of {len(statuses)} runs failed; the reasons are above")
    elif statuses and not scored:
        _warn("nothing could be scored: the reasons are above, those of metrics in the report")
    return 0 if scored and not failed and reported else 1


def _show(results: Path, study: str, settings: Mapping[str, Any]) -> bool:
    """The table, the paths and the verdict; what was printed before, if nothing has changed.

    False where no report can be written.
    """
    printed = PrintedReport.of(results, study, settings)
    text, is_written = printed.read(), True
    if text is None:
        from rich.console import Console

        console = Console()
        # Captured, so that the same command can print it again.
        with console.capture() as capture:
            is_written = _write(console, results, study, settings)
        text = capture.get()
        if is_written:
            printed.keep(text)
    sys.stdout.write(text)
    return is_written


def _write(console: Console, results: Path, study: str, settings: Mapping[str, Any]) -> bool:
    """Write the report and print what is in it; says so where it cannot be written."""
    from xai_bench.results.report.formats.console import terminal, verdict
    from xai_bench.results.report.options import ReportOptions
    from xai_bench.runner.commands import report

    try:
        options = ReportOptions.of(settings)
        written = report.write(results, study, options)
    except ValueError as error:
        console.print(f"no report: {error}", style="red", highlight=False)
        return False
    console.print(terminal(written.study.blocks, metrics=options.metrics))
    report.show_places(console, results, study, written)
    console.print(verdict(written.study.verdicts))
    return True


def _warn(sentence: str) -> None:
    from rich.console import Console

    Console().print(sentence, style="red")
