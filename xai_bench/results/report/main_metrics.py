"""Which metrics a short table shows, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from xai_bench.core.spelling import suggest
from xai_bench.results.report.summary import Block, Column

KEY_METRICS = (
    "cosine_to_shapley", "abpc", "faithfulness_correlation", "max_sensitivity", "repeatability",
    "entropy", "counterfactual_validity", "counterfactual_proximity", "counterfactual_sparsity",
    "forward_rows", "seconds",
)  # fmt: skip
N_COLUMNS = 8


def main_columns(block: Block, metrics: Sequence[str] = ()) -> list[Column]:
    """The scored ones of `metrics`, in their order.

    Without `metrics`: the key metrics, then the first metric of categories without one, at most
    `N_COLUMNS`, in the order of categories.
    """
    if metrics:
        return [c for name in metrics for c in block.scored if c.metric == name]
    key = [column for column in block.scored if column.metric in KEY_METRICS]
    while len(key) > N_COLUMNS:
        key.remove(_spare(key))
    covered = {column.category for column in key}
    for category, run in groupby(block.scored, key=lambda column: column.category):
        if category not in covered and len(key) < N_COLUMNS:
            key.append(next(run))
    return [column for column in block.scored if column in key]


def check_metrics(blocks: Sequence[Block], metrics: Sequence[str]) -> None:
    """Raises ValueError for a metric that the study has not measured."""
    metrics_there = {column.metric for block in blocks for column in block.columns}
    for name in metrics:
        if name not in metrics_there:
            raise ValueError(
                f"report.metrics: the study has no '{name}'; {suggest(name, metrics_there)}"
            )


def _spare(columns: Sequence[Column]) -> Column:
    """The last column of the category that has most of them; of equals, the last category."""
    names = [column.category for column in columns]
    # From the end, as `max` takes the first of equals and the last category is meant.
    fullest = max(reversed(names), key=names.count)
    return [column for column in columns if column.category == fullest][-1]
