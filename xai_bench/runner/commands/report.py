"""The report of a study with what the catalogue knows of its components, and where it lies."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.markup import escape
from yaml import YAMLError

from xai_bench.results.report.cards import Card
from xai_bench.results.report.options import ReportOptions
from xai_bench.results.tracking import database
from xai_bench.runner.config.catalogue import SETS, Entry, components, conf_dir, entry, options
from xai_bench.runner.config.messages import UsageError
from xai_bench.runner.finished.printed import PrintedReport

if TYPE_CHECKING:
    from rich.console import Console

    from xai_bench.results.report.writer import Report

_PREFIX = "report."
_DEFAULTS = {"samples": 3}
"""Of a report that is asked for; that at the end of a run draws less, so that nobody waits."""


def options_of(overrides: Sequence[str]) -> ReportOptions:
    """From `report.metrics=[abpc,seconds]` and the like. Raises `UsageError`."""
    for override in overrides:
        if "=" not in override:
            raise UsageError(
                f"report {override}: write --study {override} for one study, or a setting, such as "
                "report.tables=[main]"
            )
        if not override.startswith(_PREFIX):
            raise UsageError(f"report {override}: write a setting, such as report.tables=[main]")
    typed = " ".join(overrides)
    try:
        written = OmegaConf.from_dotlist([text.removeprefix(_PREFIX) for text in overrides])
        settings: Any = OmegaConf.to_container(written)
        return ReportOptions.of({**_DEFAULTS, **settings})
    except (YAMLError, OmegaConfBaseException) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{typed}: this cannot be read as a setting ({reason})") from None
    except ValueError as error:
        raise UsageError(str(error)) from None


def write(results: Path, study: str, options: ReportOptions) -> Report:
    """Write the report of a study to its folder in `results`."""
    from xai_bench.results.report.writer import write as write_files
    from xai_bench.results.store.store import Store

    report = write_files(Store(results), study, results / "reports" / study, options, Cards())
    if database.path(results).exists():
        _show_in_mlflow(results, study, report.folder)
    return report


def _show_in_mlflow(results: Path, study: str, folder: Path) -> None:
    """Where that fails, the report is written all the same."""
    from xai_bench.results.tracking.mlflow import MlflowRecorder

    try:
        MlflowRecorder().show_report(results, study, folder)
    except ValueError as error:
        logging.getLogger(__name__).warning("%s", error)


def show(results: Path, study: str, options: ReportOptions) -> None:
    """Write the report of a stored study; print the verdict and where it lies.

    Where neither results nor report have changed since, only the text is printed. Raises
    `UsageError` for a metric in `options` that the study has not measured.
    """
    printed = PrintedReport.of(results, study, {"of": "report", **asdict(options)})
    text = printed.read()
    if text is None:
        from rich.console import Console

        console = Console()
        with console.capture() as capture:
            _show(console, results, study, options)
        text = capture.get()
        printed.keep(text)
    sys.stdout.write(text)


def _show(console: Console, results: Path, study: str, options: ReportOptions) -> None:
    from xai_bench.results.report.formats.console import verdict
    from xai_bench.results.report.main_metrics import check_metrics

    report = write(results, study, options)
    try:
        check_metrics(report.study.blocks, options.metrics)
    except ValueError as error:
        raise UsageError(str(error)) from None
    title = escape(f"{study}: {results / 'reports' / study}")
    console.print(title, highlight=False, soft_wrap=True)
    console.print(verdict(report.study.verdicts))
    show_places(console, results, study, report)


def show_places(console: Console, results: Path, study: str, report: Report) -> None:
    """A line for each thing to look at: its path or command."""
    for name, place in _places(results, study, report).items():
        console.print(f"[bold]{name:>10}[/]  {escape(place)}", highlight=False, soft_wrap=True)


def _places(results: Path, study: str, report: Report) -> dict[str, str]:
    places = {
        "results": _short(results / "store"),
        "report": _short(report.markdown),
        "page": _short(report.page),
    }
    if report.n_left_out:
        command = ["xai-bench", "report", "--study", study, "--results", _short(results)]
        places["pictures"] = f"{shlex.join(command)} draws {report.n_left_out} more"
    if (results / "mlflow.db").exists():
        places["MLflow"] = _short(results / "mlflow.db")
        show_runs = ["xai-bench", "ui", "--study", study, "--results", _short(results)]
        places["look at it"] = shlex.join(show_runs)
    return places


class Cards(Mapping[str, Card]):
    """Name -> what the catalogue says of an explainer or metric that comes with the package.

    Made when it is asked for: a study has a few of hundreds.
    """

    def __init__(self) -> None:
        folders = [conf_dir()]
        self._places: dict[str, tuple[str, Path]] = {}
        for group in SETS:
            paths = options(group, folders)
            self._places |= {n: (group, paths[n]) for n in components(group, folders)}

    def __getitem__(self, name: str) -> Card:
        group, path = self._places[name]
        return _card(entry(group, name, path))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places


def _card(entry: Entry) -> Card:
    return Card(
        name=entry.name,
        group=entry.group,
        summary=entry.summary,
        paper=str(entry.traits.get("paper", "")),
        facts=dict(_facts(entry)),
        command=f"xai-bench check {entry.group}={entry.name}",
    )


def _facts(entry: Entry) -> Iterator[tuple[str, str]]:
    for trait in ("category", "kind"):
        if entry.traits.get(trait):
            yield trait, str(entry.traits[trait])
    if entry.traits.get("needs"):
        yield "needs", ", ".join(entry.traits["needs"])
    if entry.grade:
        yield "grade", f"{entry.grade}, by experiment=metric_report_card"
    if entry.arrow:
        yield "better", "higher" if entry.arrow == "↑" else "lower"


def _short(place: Path) -> str:
    """The path relative to the current folder, where it lies below."""
    return str(place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place)
