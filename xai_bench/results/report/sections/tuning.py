"""Which settings were found for the explainers that were tuned, and what they gained."""

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

    found = [(block, list(_tuned(block))) for block in blocks]
    rows = [
        {"study": study, **block.names, "variant": block.variant, **row}
        for block, known in found
        for cell, one, tuning in known
        for row in _trials(cell, one, tuning)
    ]

    def tables(n_columns: int) -> list[Table]:
        return [_table(block, known) for block, known in found if known]

    return Section(tables, {"tuning.csv": pd.DataFrame(rows)})


def _tuned(block: Block) -> Iterator[tuple[Cell, ExplainerResult, Mapping[str, Any]]]:
    """Once per cell and search, however many budgets share what it found."""
    for cell, explanations in block.listing:
        met: list[Any] = []
        for one in explanations:
            if one.tuning is not None and (base(one.explainer), one.tuning) not in met:
                met.append((base(one.explainer), one.tuning))
                yield cell, one, one.tuning


def _table(block: Block, known: Sequence[tuple[Cell, ExplainerResult, Mapping[str, Any]]]) -> Table:
    heads = ("settings found", "by", "as shipped", "as found", "trials")
    rows = tuple(
        (_name(cell, one, tuning), tuple(Entry(text) for text in _told(tuning)))
        for cell, one, tuning in known
    )
    return Table(
        title=f"{title(block)}: settings that were tuned",
        caption="",
        panels=(Panel(tuple(Head("", text) for text in heads), rows),),
        legend=LEGEND,
    )


def _name(cell: Cell, one: ExplainerResult, tuning: Mapping[str, Any]) -> str:
    budget = f", budget {tuning['budget']}" if "budget" in tuning else ""
    return f"{base(one.explainer)}, seed {cell.seed}{budget}"


def _told(tuning: Mapping[str, Any]) -> tuple[str, ...]:
    arrow = "↑" if tuning["higher_is_better"] else "↓"
    settings = ", ".join(f"{name}={value}" for name, value in tuning["best"].items())
    scores = (measured(tuning["shipped_score"]), measured(tuning["score"]))
    return settings, f"{tuning['metric']} {arrow}", *scores, str(tuning["n_trials"])


def _trials(
    cell: Cell, one: ExplainerResult, tuning: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for place, trial in enumerate(tuning["trials"]):
        yield {
            "seed": cell.seed,
            "explainer": base(one.explainer),
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
