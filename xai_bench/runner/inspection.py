"""`xai-bench inspect`: what was understood of the data of a configuration, before any work."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from xai_bench.data.description import Summary, summary
from xai_bench.runner.config import preflight
from xai_bench.runner.config.compose import configurations, parse
from xai_bench.runner.config.messages import UsageError
from xai_bench.runner.plan import Plan

if TYPE_CHECKING:
    from rich.console import Console

_MANY = 200
"""Columns that are shown; a table of more is summarised in its counts."""


def inspect(overrides: Sequence[str], config_dir: str | None = None) -> Summary:
    """Compose the configuration and read its data. Raises `UsageError` for every mistake."""
    flags = ["--config-dir", config_dir] if config_dir else []
    cfg = next(iter(configurations(parse([*flags, *overrides]))))
    problems = preflight.check(cfg)
    if problems:
        raise UsageError("\n".join(problems))
    plain = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    # What is worth a note is part of the summary.
    logging.getLogger("xai_bench.data").setLevel(logging.ERROR)
    try:
        return summary(Plan.of(plain, {}).component("data").load())
    except (ValueError, OSError) as error:
        raise UsageError(" ".join(str(error).split())) from error


def as_json(found: Summary) -> str:
    """The summary for programs."""
    return json.dumps(asdict(found), ensure_ascii=False, indent=2)


def show(found: Summary, console: Console) -> None:
    """Print the columns as a table, then everything else, a line each."""
    from rich.table import Table
    from rich.text import Text

    if found.columns:
        table = Table(box=None, pad_edge=False)
        for head in ("column", "kind", "values in the training rows", "in x", "missing"):
            table.add_column(head, overflow="fold", justify="right" if head in _COUNTS else "left")
        for column in found.columns[:_MANY]:
            counts = (str(column.n_elements), str(column.n_missing or ""))
            cells = (column.name, column.kind, column.values, *counts)
            table.add_row(*(Text(cell) for cell in cells))
        console.print(table)
    for name, line in _lines(found):
        console.print(Text.assemble((f"{name:<10} ", "bold"), line))


_COUNTS = ("in x", "missing")


def _lines(found: Summary) -> Sequence[tuple[str, str]]:
    more = len(found.columns) - _MANY
    train, valid, test = found.n_rows
    return [
        *([("columns", f"and {more} more")] if more > 0 else []),
        ("task", f"{found.task} of {found.modality} data"),
        ("target", found.target),
        ("rows", f"{train:,} train, {valid:,} validate, {test:,} test"),
        ("units", f"{found.n_units:,}"),
        ("x", found.x),
        *(("groups", f"{name}: {', '.join(names)}") for name, names in found.groups.items()),
        ("fed", found.fed),
        *(("note", text) for text in found.notes),
    ]
