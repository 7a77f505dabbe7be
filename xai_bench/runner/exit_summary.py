"""The summary when all jobs are done: the table, the verdict, the paths, the exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xai_bench.results.report.options import ReportOptions
from xai_bench.results.store.store import Store
from xai_bench.runner import report


def finish(
    results: Path, study: str, statuses: Sequence[str], settings: Mapping[str, Any] | None = None
) -> int:
    """Write the report; print its main table, the verdict and the paths of everything.

    `settings` are those of the report in the configuration. Returns the exit code: 0, or 1 if a
    cell failed, none ran, or nothing at all was scored.
    """
    from rich.console import Console

    from xai_bench.results.report.formats.console import terminal, verdict

    console = Console()
    if study in Store(results).studies():
        options = ReportOptions.of(settings or {})
        written = report.write(results, study, options)
        console.print(terminal(written.study.blocks, metrics=options.metrics))
        report.show_places(console, results, study, written)
        console.print(verdict(written.study.verdicts))
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
