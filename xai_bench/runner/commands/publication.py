"""The part of a study that is kept beside the code: `results/published/STUDY`, with its origin.

    python -m xai_bench.runner.commands.publication STUDY

copies the verdict, the main table, all means with their intervals and the figures of a study whose
report was written, and says in `provenance.json` which commands, code, data and kind of machine
gave them. `differences` compares two such folders.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_bench.results import Cell
from xai_bench.results.store.store import Store
from xai_bench.runner.cells import provenance

if TYPE_CHECKING:
    from pandas import DataFrame

KEY = ("data", "model", "view", "target", "baseline_explain", "baseline_measure", "variant",
       "explainer", "regime", "metric")  # fmt: skip
COLUMNS = (*KEY, "seeds", "category", "higher_is_better", "mean", "low", "high", "n_scored")
OF_PLACE = ("results=", "recorder=", "recorder.")
"""Overrides that say where a study lies, not what it is."""
SCORES, N_SCORES = "scores-", 6
FIGURES = ("verdict", SCORES, "ranks-", "baselines-", "fidelity-cost", "predicted", "anytime-")
"""How the names of figures begin that are kept; others take more room than they tell."""

_CLOCKS = ("seconds", "fit_seconds", "peak_memory")
_MOVED = 0.25


def publish(results: Path, study: str, to: Path) -> Path:
    """Write the folder of a study below `to`. Raises ValueError where it has no report."""
    report = results / "reports" / study
    if study not in Store(results).studies() or not (report / "report.csv").is_file():
        raise ValueError(f"study {study} has no report in {results}; run `xai-bench report` first")
    folder = to / study
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "figures").mkdir(parents=True)
    (folder / "verdict.md").write_text(verdict(report / "report.md"), encoding="utf-8")
    means(report / "report.csv").to_csv(folder / "scores.csv", index=False, float_format="%.6g")
    for name in ("main.csv", "main.tex"):
        shutil.copyfile(report / "tables" / name, folder / name)
    for figure in kept_figures(report):
        shutil.copyfile(figure, folder / "figures" / figure.name)
    content = origin(Store(results), study)
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / "provenance.json").write_text(f"{text}\n", encoding="utf-8")
    return folder


def kept_figures(report: Path) -> list[Path]:
    """The pictures that are kept of a report; of scores, one per data set, the first few."""
    drawn = [path for path in report.glob("figures/*.svg") if path.name.startswith(FIGURES)]
    scores = sorted((path for path in drawn if path.name.startswith(SCORES)), key=_number)
    return sorted({*drawn} - {*scores[N_SCORES:]})


def _number(figure: Path) -> int:
    return int(figure.stem.split("-")[1])


def verdict(report: Path) -> str:
    """The first part of a report: a table of winners and a paragraph per question."""
    first, *sections = re.split(r"^(?=## )", report.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return _as_svg(first + (sections[0] if sections else ""), report.parent)


def _as_svg(text: str, folder: Path) -> str:
    """Links to pictures lead to what is kept of them, the SVG; without one there is no link."""
    kept = {path.stem for path in kept_figures(folder)}

    def link(match: re.Match[str]) -> str:
        return f"{match[1]}(figures/{match[2]}.svg)" if match[2] in kept else ""

    return re.sub(r"(!\[[^\]]*\])\(figures/([\w-]+)\.\w+\)", link, text)


def means(report: Path) -> DataFrame:
    """One row per method, metric and place with its mean and interval; nothing that clocks say."""
    import pandas as pd

    frame = pd.read_csv(report)
    kept = frame[(frame["status"] == "ok") & ~frame["metric"].isin(_CLOCKS)]
    return kept[list(COLUMNS)].sort_values(list(KEY)).reset_index(drop=True)


def origin(store: Store, study: str) -> dict[str, Any]:
    """Commands, code, libraries, kind of machine, and per cell the configuration and the data."""
    cells = [cell for cell, _ in store.cells(study, attributions=False)]
    commands = {
        command for cell in cells for command in store.study_manifest(study, cell.key).commands
    }
    return {
        "study": study,
        "commands": sorted(map(_without_place, commands)),
        "code_version": sorted({cell.environment.get("code_version", "") for cell in cells}),
        "versions": _shared(cells, ("python", *provenance.libraries())),
        "machine": _shared(cells, ("cpu_capability", "processor", "threads")),
        "cells": [_of_cell(cell) for cell in cells],
    }


def _of_cell(cell: Cell) -> dict[str, Any]:
    return {
        "data": cell.data,
        "model": cell.model,
        "seed": cell.seed,
        "config": provenance.digest(cell.config),
        "fingerprint": cell.fingerprint,
        "model_scores": {name: round(value, 4) for name, value in cell.model_scores.items()},
    }


def _without_place(command: str) -> str:
    return shlex.join(word for word in shlex.split(command) if not word.startswith(OF_PLACE))


def _shared(cells: Sequence[Cell], names: Sequence[str]) -> Mapping[str, str]:
    """What all cells were computed with, all of it where they differ."""
    return {
        name: ", ".join(sorted({cell.environment.get(name, "") for cell in cells}))
        for name in names
    }


def differences(published: Path, again: Path) -> Iterator[str]:
    """A sentence for each mean that moved by more than a quarter of its interval's width.

    Machines of another kind round otherwise, and trained models amplify it.
    """
    import pandas as pd

    old, new = (pd.read_csv(folder / "scores.csv") for folder in (published, again))
    pairs = old.merge(new, on=list(KEY), how="outer", suffixes=("_a", "_b"), indicator=True)
    for _, row in pairs.iterrows():
        name = ", ".join(str(row[column]) for column in ("data", "model", "explainer", "metric"))
        if row["_merge"] != "both":
            yield f"{name}: in one of the two only"
            continue
        # Means are written with six digits: without an interval, that alone is a difference.
        bound = _MOVED * abs(row["high_a"] - row["low_a"]) + 1e-5 * abs(row["mean_a"])
        if abs(row["mean_a"] - row["mean_b"]) > bound:
            yield f"{name}: {row['mean_a']:.6g} was published, {row['mean_b']:.6g} comes out"


def main(arguments: Sequence[str] | None = None) -> None:
    """Publish the studies that are named."""
    parser = argparse.ArgumentParser(prog="python -m xai_bench.runner.commands.publication")
    parser.add_argument("studies", nargs="+")
    parser.add_argument("--results", default="results", type=Path)
    parser.add_argument("--to", default=Path("results/published"), type=Path)
    options = parser.parse_args(arguments)
    try:
        for study in options.studies:
            sys.stdout.write(f"{publish(options.results.absolute(), study, options.to)}\n")
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
