"""The report of a study as files: page, Markdown, LaTeX, CSV and pictures, from the store alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xai_bench.core.system.disk import writable
from xai_bench.results.drawing.tokens import TokenSheet
from xai_bench.results.report.cards import Card
from xai_bench.results.report.figures import export
from xai_bench.results.report.figures.export import Picture
from xai_bench.results.report.formats import html, markdown
from xai_bench.results.report.formats.latex import bibliography
from xai_bench.results.report.formats.latex import document as latex
from xai_bench.results.report.options import ReportOptions
from xai_bench.results.report.page import page
from xai_bench.results.report.regimes import base
from xai_bench.results.report.sections import overview
from xai_bench.results.report.sheets.gallery import sheets
from xai_bench.results.report.study import StudyReport, study_report
from xai_bench.results.report.summary import frame
from xai_bench.results.report.table import Entry, Head, Table
from xai_bench.results.store import files
from xai_bench.results.store.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame

FIRST = (overview.NAME, "scores-0", "fidelity-cost", "removal", "scores")
"""How the names of figures start that are looked at first, in this order."""

ALL_COLUMNS = 10_000
"""As many columns side by side as there are."""


@dataclass(frozen=True, eq=False)
class Report:
    """What was written, the page first, and every number with its keys.

    `n_left_out` pictures were not drawn, as the options ask for.
    """

    paths: tuple[Path, ...]
    frame: DataFrame
    study: StudyReport
    n_left_out: int = 0

    @property
    def folder(self) -> Path:
        """Where all of it lies."""
        return self.paths[0].parent

    @property
    def page(self) -> Path:
        """The report as one HTML page."""
        return self.folder / "report.html"

    @property
    def markdown(self) -> Path:
        """The report as Markdown."""
        return self.folder / "report.md"


def write(
    store: Store,
    study: str,
    folder: Path | None = None,
    options: ReportOptions | None = None,
    cards: Mapping[str, Card] | None = None,
) -> Report:
    """Write the report of a study to `folder`, by default `<results>/reports/<study>`.

    The same store gives the same bytes; pictures that would not change are not drawn again.
    `cards` are what else is known of explainers and metrics. Raises ValueError where there is no
    such study, or where the folder cannot be written.
    """
    options = options or ReportOptions()
    report = study_report(store, study, options, cards or {})
    folder = store.root / "reports" / study if folder is None else folder
    numbers = frame(study, report.blocks)
    with writable(folder), files.writing(folder):
        examples = sheets(store, report, options.samples)
        # Pictures before texts: the page holds their bytes, Markdown links those that are there.
        figures, drawn, n_left_out = _pictures(report, folder, options, examples)
        texts = [sheet for sheet in examples.values() if isinstance(sheet, TokenSheet)]
        shown = {path.stem: path.read_bytes() for path in drawn if path.suffix == ".png"}
        contents = {
            "report.html": page.document(report, shown, texts).encode(),
            "report.md": markdown.document(report, figures).encode(),
            "report.csv": _csv(numbers),
            **{name: text.encode() for name, text in _tables(report, options)},
            **{
                n: _csv(table)
                for s in report.details
                for n, table in s.frames.items()
                if len(table)
            },
        }
        files.write(folder, contents)
    paths = (*(folder / name for name in contents), *drawn)
    return Report(paths, numbers, report, n_left_out)


def _pictures(
    report: StudyReport, folder: Path, options: ReportOptions, examples: Mapping[str, Picture]
) -> tuple[dict[str, str], list[Path], int]:
    """Name -> path for Markdown, all files, and how many are left out.

    None at all where no kind of file is asked for.
    """
    kinds = options.figures
    if not kinds:
        return {}, [], 0
    pictures = {
        name: figure for section in report.sections for name, figure in section.figures.items()
    }
    first = _first(list(pictures), list(examples), options.pictures)
    paths = export.write(folder / "figures", pictures, kinds, first)
    there = {path.stem for path in paths}
    paths += export.write(folder / "sheets", examples, kinds, first)
    # Markdown shows no PDF.
    shown = "png" if "png" in kinds else "svg" if "svg" in kinds else ""
    shown_figures = {n: f"figures/{n}.{shown}" for n in pictures if shown and n in there}
    n_drawn = len({path.stem for path in paths})
    return shown_figures, paths, len(pictures) + len(examples) - n_drawn


def _first(figures: list[str], examples: list[str], n: int | None) -> list[str] | None:
    """The `n` pictures that are looked at first: scores, fidelity against cost, an example."""
    if n is None:
        return None
    ordered = [name for start in FIRST for name in figures if name.startswith(start)]
    # After the first picture, so that a small `n` still has an example.
    ordered[1:1] = examples[:1]
    return list(dict.fromkeys([*ordered, *figures, *examples]))[:n]


def _tables(report: StudyReport, options: ReportOptions) -> Iterator[tuple[str, str]]:
    """LaTeX, HTML and CSV of the tables asked for, and what cites them."""
    chosen = {"main": report.main, "full": report.full}
    made = {name: chosen[name].tables(ALL_COLUMNS) for name in options.tables}
    for name, tables in made.items():
        yield f"tables/{name}.tex", latex.tables(f"{report.study}-{name}", tables)
        yield f"tables/{name}.html", html.document(report.study, tables)
        yield f"tables/{name}.csv", _wide(tables)
    details = [t for s in report.details for t in s.tables(ALL_COLUMNS)]
    yield "tables/details.tex", latex.tables(f"{report.study}-details", details)
    papers = _papers(report)
    yield (
        "references.bib",
        bibliography.bibliography({k: v for g in papers.values() for k, v in g.items()}),
    )
    inputs = [f"tables/{name}" for name in [*made, "details"]]
    yield "report.tex", latex.document(report.study, inputs, bibliography.sources(papers))


def _papers(report: StudyReport) -> dict[str, dict[str, str]]:
    """Group -> name -> paper, of the explainers and metrics in the tables."""
    names = {
        "Explainers": [base(name) for block in report.blocks for name in block.explainers],
        "Metrics": [column.metric for block in report.blocks for column in block.scored],
    }
    return {
        group: {
            name: report.cards[name].paper for name in dict.fromkeys(listed) if name in report.cards
        }
        for group, listed in names.items()
    }


def _wide(tables: list[Table]) -> str:
    """One row per explainer of every table, as printed."""
    import pandas as pd

    rows = [
        {"table": table.title, "explainer": name, **_fields(panel.heads, entries)}
        for table in tables
        for panel in table.panels
        for name, entries in panel.rows
    ]
    # The same bytes on every system: unless told, pandas ends lines as the system does.
    return str(pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))


def _fields(heads: Sequence[Head], entries: Sequence[Entry]) -> dict[str, str]:
    return {head.text: entry.text for head, entry in zip(heads, entries, strict=True)}


def _csv(numbers: DataFrame) -> bytes:
    return numbers.to_csv(index=False, lineterminator="\n").encode()
