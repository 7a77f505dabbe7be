"""Agreement with the words that people marked, over all samples together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from xai_bench.results.report.sheets.samples import samples
from xai_bench.results.report.summary import Block
from xai_bench.results.report.table import Entry, Head, Panel, Section, Table, measured, title
from xai_bench.results.statistics.rationales import CorpusScores, corpus_scores
from xai_bench.results.store import text_samples
from xai_bench.results.store.store import Store

FRAME = "plausibility.csv"
NOT_FAITHFUL = (
    "What is plausible is not therefore faithful: a model may be right for reasons that nobody "
    "marked, and an explanation that shows them scores low here. Read this beside the first "
    "question, never in place of it."
)
LEGEND = (
    f"{NOT_FAITHFUL} Counted as ERASER does, over the samples in which people marked something, "
    "under the first seed: the top units of each, as many as people mark on average. Macro: F1 of "
    "the means of precision and recall over samples; micro: over all units of all samples."
)
_HEADS = {
    "token_f1": "token F1, macro",
    "token_f1_micro": "token F1, micro",
    "iou_f1": "IOU F1, macro",
    "iou_f1_micro": "IOU F1, micro",
    "auprc": "AUPRC",
}


def section(store: Store, study: str, blocks: Sequence[Block]) -> Section:
    """A table for each data set with marked words; long as CSV."""
    import pandas as pd

    scored = [(block, scores) for block in blocks if (scores := scores_of(store, block))]
    rows = [row for block, scores in scored for row in _rows(study, block, scores)]

    def tables(n_columns: int) -> list[Table]:
        return [_table(block, scores) for block, scores in scored]

    return Section(tables, {FRAME: pd.DataFrame(rows)})


def scores_of(store: Store, block: Block) -> dict[str, CorpusScores]:
    """By explainer; empty where the samples are no texts, or nobody marked anything in them."""
    texts = text_samples.texts(store, block.listing[0][0].key)
    if texts is None or texts.marked is None:
        return {}
    rows = [row for row, flags in enumerate(texts.marked) if any(flags)]
    explained = samples(store, block, "") if rows else None
    if explained is None:
        return {}
    marked = [np.array(texts.marked[row]) for row in rows]
    return {
        method.name: corpus_scores(
            [
                method.values[row, : len(flags)].numpy()
                for row, flags in zip(rows, marked, strict=True)
            ],
            marked,
        )
        for method in explained.methods
    }


def _table(block: Block, scores: dict[str, CorpusScores]) -> Table:
    methods = [name for name in block.methods if name in scores]
    names = [field.name for field in fields(CorpusScores)]
    best = {n: max((getattr(scores[m], n) for m in methods), default=0.0) for n in names}
    shown = [*methods, *(name for name in scores if name not in methods)]
    rows = tuple(
        (
            name,
            tuple(
                Entry(
                    measured(value := getattr(scores[name], n)),
                    name in methods and value == best[n],
                )
                for n in names
            ),
        )
        for name in shown
    )
    heads = tuple(Head("plausibility", f"{_HEADS[n]} ↑") for n in names)
    return Table(
        title=f"{title(block)}: would a person agree?",
        caption="",
        panels=(Panel(heads, rows, len(shown) - len(methods)),),
        legend=LEGEND,
    )


def _rows(study: str, block: Block, by_method: dict[str, CorpusScores]) -> Iterator[dict[str, Any]]:
    for name, scores in by_method.items():
        yield {"study": study, **block.names, "explainer": name, **asdict(scores)}
