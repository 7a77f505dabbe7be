"""The files of one tracked run, in a folder ready to be sent."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import yaml

from xai_bench.results.drawing import token_html
from xai_bench.results.drawing.style import png
from xai_bench.results.store import digests, files, text_samples
from xai_bench.results.store.store import Store
from xai_bench.results.tracking.counterfactual_table import counterfactual_table
from xai_bench.results.tracking.heat_maps import heat_map, layer_report
from xai_bench.results.tracking.token_sheet import token_sheet
from xai_bench.results.values import Cell, ExplainerResult

TABLE = "tables/per_sample.json"
"""The same path in every run, so that the evaluation view shows runs side by side."""

_COPIED = ("attribution.safetensors", "scores.parquet", "costs.parquet", "explanation.json")


class Artifacts(Protocol):
    """Files that are written if they have to be."""

    def write(self, folder: Path) -> None:
        """Write them, and their index, into an empty folder."""
        ...


@dataclass(frozen=True)
class ReportArtifacts:
    """The report of a study as it lies in its folder: page, tables, figures and sheets."""

    report: Path

    def write(self, folder: Path) -> None:
        """Copy the report, and write the index of all of it."""
        hidden = shutil.ignore_patterns(".*")  # the lock of whoever writes
        shutil.copytree(self.report, folder, ignore=hidden, dirs_exist_ok=True)
        _write_index(folder)


@dataclass(frozen=True)
class RunArtifacts:
    """What a run's artifacts are written from, if they have to be written."""

    store: Store
    cell: Cell
    explanation: ExplainerResult | None
    commands: Sequence[str]
    pictures: bool

    def write(self, folder: Path) -> None:
        """Write the artifacts into an empty folder."""
        if self.explanation is not None:
            explanation_files(
                folder, self.store, self.cell, self.explanation, pictures=self.pictures
            )
        cell_files(folder, self.cell, self.commands)
        _write_index(folder)


def _write_index(folder: Path) -> None:
    (folder / digests.NAME).write_bytes(digests.dumps(digests.of_tree(folder)))


def explanation_files(
    folder: Path, store: Store, cell: Cell, result: ExplainerResult, *, pictures: bool
) -> None:
    """Write the stored files of an explanation, its table of scores, counterfactuals and pictures.

    `folder` must exist and be empty.
    """
    source = store.folder(cell.key, result.key)
    for name in _COPIED:
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
    config = {"cell": cell.config, "explainer": {result.explainer: result.config}}
    (folder / "config.yaml").write_text(_yaml(config))
    (folder / TABLE).parent.mkdir()
    (folder / TABLE).write_text(_table(result))
    if result.outcome.trace:
        (folder / "traceback.txt").write_text(result.outcome.trace)
    inputs, names = store.read_inputs(cell.key), store.unit_names(cell.key)
    tokens = text_samples.tokens(store, cell.key)
    changes = counterfactual_table(result, inputs, names, store.elements(cell.key), tokens)
    if changes is not None:
        (folder / "counterfactuals.md").write_text(changes, encoding="utf-8")
    texts = token_sheet(result, inputs, text_samples.texts(store, cell.key))
    if texts is not None:
        (folder / "tokens.html").write_text(token_html.document([texts]), encoding="utf-8")
    if pictures:
        drawn = {
            "attribution.png": png(texts.draw()) if texts else heat_map(result, inputs, names),
            "layers.png": layer_report(result),
        }
        for name, picture in drawn.items():
            if picture is not None:
                (folder / name).write_bytes(picture)


def cell_files(folder: Path, cell: Cell, commands: Sequence[str]) -> None:
    """Write what reproduces the numbers: configuration, commands and environment."""
    (folder / "command.txt").write_text("\n".join(commands) + "\n")
    (folder / "environment.json").write_bytes(files.dumps(dict(cell.environment)))
    if not (folder / "config.yaml").exists():
        (folder / "config.yaml").write_text(_yaml({"cell": cell.config}))
    if cell.outcome.trace:
        (folder / "traceback.txt").write_text(cell.outcome.trace)


def _table(result: ExplainerResult) -> str:
    """One row per sample, in the layout of `mlflow.log_table`; unscored is null."""
    ok = {s.metric: s.values.numpy() for s in result.scores.values() if s.outcome.status == "ok"}
    table = pd.DataFrame({"sample": result.index.numpy(), **ok})
    # As many digits as float64 has for certain; pandas would write ten.
    return str(table.to_json(orient="split", index=False, double_precision=15))


def _yaml(config: Any) -> str:
    return str(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
