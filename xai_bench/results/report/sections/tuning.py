"""The settings of tuned explainers, and their validation scores beside the shipped ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xai_bench.results.report.regimes import base
from xai_bench.results.report.summary import Block
from xai_bench.results.report.table import Entry, Head, Panel, Section, Table, measured, title
from xai_bench.results.values import Cell, ExplainerResult

LEGEND = (
    "Settings that were chosen on validation samples, which are no part of the scores above; the "
    "shipped settings are the first trial. Mean scores of the validation samples."
)


def section(study: str, blocks: Sequence[Block]) -> Section:
    """A table per block with tuned explainers; every trial as CSV."""
    import pandas as pd

    by_block = [(block, list(_tuned(block))) for block in blocks]
    rows = [
        {"study": study, **block.names, "variant": block.variant, **row}
        for block, tuned in by_block
        for cell, result, tuning in tuned
        for row in _trials(cell, result, tuning)
    ]

    def tables(n_columns: int) -> list[Table]:
        return [_table(block, tuned) for block, tuned in by_block if tuned]

    return Section(tables, {"tuning.csv": pd.DataFrame(rows)})


def _tuned(block: Block) -> Iterator[tuple[Cell, ExplainerResult, Mapping[str, Any]]]:
    """Once per cell and tuning job: the results of all budgets share one."""
    for cell, results in block.listing:
        # A list, since dictionaries cannot be members of a set.
        listed: list[Any] = []
        for result in results:
            if result.tuning is not None and (base(result.explainer), result.tuning) not in listed:
                listed.append((base(result.explainer), result.tuning))
                yield cell, result, result.tuning


def _table(block: Block, tuned: Sequence[tuple[Cell, ExplainerResult, Mapping[str, Any]]]) -> Table:
    heads = ("settings chosen", "metric", "shipped score", "best score", "trials")
    rows = tuple(
        (_name(cell, result, tuning), tuple(Entry(text) for text in _texts(tuning)))
        for cell, result, tuning in tuned
    )
    return Table(
        title=f"{title(block)}: tuned settings",
        caption="",
        panels=(Panel(tuple(Head("", text) for text in heads), rows),),
        legend=LEGEND,
        folded=True,
    )


def _name(cell: Cell, result: ExplainerResult, tuning: Mapping[str, Any]) -> str:
    budget = f", budget {tuning['budget']}" if "budget" in tuning else ""
    return f"{base(result.explainer)}, seed {cell.seed}{budget}"


def _texts(tuning: Mapping[str, Any]) -> tuple[str, ...]:
    arrow = "↑" if tuning["higher_is_better"] else "↓"
    settings = ", ".join(f"{name}={value}" for name, value in tuning["best"].items())
    scores = (measured(tuning["shipped_score"]), measured(tuning["score"]))
    return settings, f"{tuning['metric']} {arrow}", *scores, str(tuning["n_trials"])


def _trials(
    cell: Cell, result: ExplainerResult, tuning: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for place, trial in enumerate(tuning["trials"]):
        yield {
            "seed": cell.seed,
            "explainer": base(result.explainer),
            "budget": tuning.get("budget", ""),
            "trial": place,
            "settings": json.dumps(trial["settings"], sort_keys=True),
            "metric": tuning["metric"],
            "score": trial["score"],
            "n_scored": trial["n_scored"],
            "n_samples": tuning["n_samples"],
            "is_best": trial["settings"] == tuning["best"],
            "reason": trial["reason"],
        }
