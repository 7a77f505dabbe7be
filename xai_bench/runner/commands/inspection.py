"""`xai-bench inspect`: what was understood of the data of a configuration, before any work."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from xai_bench.core.system.printable import printable
from xai_bench.data.description import Summary, summary
from xai_bench.runner.cells.plan import Plan
from xai_bench.runner.config import preflight
from xai_bench.runner.config.command import parse
from xai_bench.runner.config.compose import configurations
from xai_bench.runner.config.messages import UsageError

if TYPE_CHECKING:
    from rich.console import Console

_MANY = 200
"""Columns that are shown; a table of more is summarised in its counts."""


def inspect(overrides: Sequence[str], config_dir: str | None = None) -> Summary:
    """Compose the configuration and read its data. Raises `UsageError` for every mistake."""
    flags = ["--config-dir", config_dir] if config_dir else []
    cfg = next(iter(configurations(parse([*flags, *overrides]))))
    problems = preflight.check(cfg, writes=False)
    if problems:
        raise UsageError("\n".join(problems))
    plain = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    # What is worth a note is part of the summary.
    logging.getLogger("xai_bench.data").setLevel(logging.ERROR)
    try:
        return summary(Plan.of(plain, {}).component("data").load())
    except (ValueError, OSError) as error:
        raise UsageError(" ".join(str(error).split())) from error


def as_json(summary: Summary) -> str:
    """The summary for programs."""
    return json.dumps(asdict(summary), ensure_ascii=False, indent=2)


def show(summary: Summary, console: Console) -> None:
    """Print the columns as a table, then everything else, a line each."""
    from rich.table import Table
    from rich.text import Text

    if summary.columns:
        table = Table(box=None, pad_edge=False)
        for head in ("column", "kind", "values in the training rows", "in x", "missing"):
            table.add_column(head, overflow="fold", justify="right" if head in _COUNTS else "left")
        for column in summary.columns[:_MANY]:
            counts = (str(column.n_elements), str(column.n_missing or ""))
            cells = (column.name, column.kind, column.values, *counts)
            table.add_row(*(Text(printable(cell)) for cell in cells))
        console.print(table)
    for name, line in _lines(summary):
        console.print(Text.assemble((f"{name:<10} ", "bold"), printable(line)))


_COUNTS = ("in x", "missing")


def _lines(summary: Summary) -> Sequence[tuple[str, str]]:
    more = len(summary.columns) - _MANY
    train, valid, test = summary.n_rows
    return [
        *([("columns", f"and {more} more")] if more > 0 else []),
        ("task", f"{summary.task} of {summary.modality} data"),
        ("target", summary.target),
        ("rows", f"{train:,} train, {valid:,} validate, {test:,} test"),
        ("units", f"{summary.n_units:,}"),
        ("x", summary.x),
        *(("groups", f"{name}: {', '.join(names)}") for name, names in summary.groups.items()),
        ("fed", summary.fed),
        *(("note", text) for text in summary.notes),
    ]
