"""The report of a study: Markdown, LaTeX, CSV and figures, from the store alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xai_bench.results.report.formats import figures, latex, markdown
from xai_bench.results.report.sections import agreement, baselines, budgets, fairness, ranks, tuning
from xai_bench.results.report.summary import Block, blocks, frame
from xai_bench.results.report.table import Section, Table, table
from xai_bench.results.store import files
from xai_bench.results.store.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class Report:
    """The files written, Markdown first, and every number with its keys."""

    paths: tuple[Path, ...]
    frame: DataFrame

    @property
    def markdown(self) -> Path:
        """The report as Markdown."""
        return self.paths[0]


def write(store: Store, study: str, folder: Path | None = None) -> Report:
    """Write the report of a study to `folder`, by default `<results>/reports/<study>`.

    The same store gives the same bytes. Raises ValueError where there is no such study, or where
    the folder cannot be written.
    """
    tabled = blocks(store, study)
    folder = store.root / "reports" / study if folder is None else folder
    numbers = frame(study, tabled)
    sections = [
        _scores(tabled, numbers),
        ranks.section(study, tabled),
        tuning.section(study, tabled),
        budgets.section(study, tabled),
        fairness.section(study, tabled),
        baselines.section(study, tabled),
        agreement.section(store, tabled),
    ]
    commands = _commands(store, study, tabled)
    contents = {
        "report.md": markdown.document(
            study, _tables(sections, markdown.N_COLUMNS), commands
        ).encode(),
        "report.tex": latex.document(study, _tables(sections, latex.N_COLUMNS)).encode(),
        **{
            name: _csv(rows) for part in sections for name, rows in part.frames.items() if len(rows)
        },
        **{name: png for part in sections for name, png in part.figures.items()},
    }
    with files.writable(folder):
        for name, content in contents.items():
            files.write(folder / name, content)
    return Report(tuple(folder / name for name in contents), numbers)


def _scores(blocks: Sequence[Block], numbers: DataFrame) -> Section:
    """Every metric of every explainer."""
    names = [
        f"figures/{_slug(i, block)}.png" if block.scored else "" for i, block in enumerate(blocks)
    ]

    def tables(n_columns: int) -> list[Table]:
        return [replace(table(b, n_columns), figure=f) for b, f in zip(blocks, names, strict=True)]

    pictures = {name: figures.dots(b) for b, name in zip(blocks, names, strict=True) if name}
    return Section(tables, {"report.csv": numbers}, pictures)


def _tables(sections: Sequence[Section], n_columns: int) -> list[Table]:
    return [table for section in sections for table in section.tables(n_columns)]


def _csv(numbers: DataFrame) -> bytes:
    return numbers.to_csv(index=False, lineterminator="\n").encode()


def _slug(place: int, block: Block) -> str:
    return f"{place}-{block.names['data']}-{block.names['model']}"


def _commands(store: Store, study: str, blocks: Sequence[Block]) -> list[str]:
    keys = [cell.key for block in blocks for cell in block.cells]
    return list(dict.fromkeys(c for key in keys for c in store.study_manifest(study, key).commands))
