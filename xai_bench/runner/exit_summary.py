"""The summary when all jobs are done: the table, the paths of everything, the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xai_bench.results.store.store import Store


def finish(results: Path, study: str, statuses: Sequence[str]) -> int:
    """Write the report, print its table and the paths of everything.

    Returns the exit code: 0, or 1 if a cell failed, none ran, or nothing at all was scored.
    """
    from rich.console import Console

    from xai_bench.results.report.formats.console import terminal
    from xai_bench.results.report.writer import write

    console = Console()
    store = Store(results)
    if study in store.studies():
        console.print(terminal(store, study))
        report = write(store, study, results / "reports" / study)
        places: dict[str, Path | str] = {
            "results": results / "store",
            "report": report.markdown,
        }
        if (results / "mlflow.db").exists():
            places["MLflow"] = results / "mlflow.db"
            places["look at it"] = f"xai-bench ui --study {study} --results {_short(results)}"
        for name, place in places.items():
            console.print(f"[bold]{name:>10}[/]  {_short(place)}", highlight=False, soft_wrap=True)
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


def _short(place: Path | str) -> str:
    """The path relative to the current folder, where it lies below."""
    if isinstance(place, Path) and place.is_relative_to(Path.cwd()):
        return str(place.relative_to(Path.cwd()))
    return str(place)
