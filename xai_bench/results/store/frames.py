"""The store as data frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from xai_bench.results.values import Cell, ExplainerResult, Outcome, Scores

Listing = Sequence[tuple[Cell, Sequence[ExplainerResult]]]

_CELL = ("data", "model", "seed", "view", "target", "baseline_explain", "baseline_measure")
_IDENTITY = [*_CELL, "explainer", "kind", "category", "metric"]
_SAMPLES = [*_IDENTITY, "higher_is_better", "index", "score", "cell", "explanation", "regime"]
_OUTCOMES = [
    *_IDENTITY,
    "status",
    "reason",
    "n_scored",
    "n_samples",
    "cell",
    "explanation",
    "regime",
]


def samples(listing: Listing) -> pd.DataFrame:
    """Long format, one row per scored sample; `category` is the metric's."""
    parts = [
        pd.DataFrame(
            {
                **_identity(cell, result, scores),
                "higher_is_better": scores.higher_is_better,
                "index": result.index.numpy(),
                "score": scores.values.numpy(),
            }
        )
        for cell, results in listing
        for result in results
        for scores in result.scores.values()
        if scores.outcome.status == "ok"
    ]
    return (
        pd.concat(parts, ignore_index=True)[_SAMPLES] if parts else pd.DataFrame(columns=_SAMPLES)
    )


def outcomes(listing: Listing) -> pd.DataFrame:
    """One row per cell x explainer x metric.

    An explainer that was skipped or failed has one more row, without a metric; a cell in which
    nothing could be tried has one row without explainer and metric.
    """
    rows = [row for cell, results in listing for row in _outcome_rows(cell, results)]
    return pd.DataFrame(rows, columns=_OUTCOMES)


def _outcome_rows(cell: Cell, results: Iterable[ExplainerResult]) -> Iterable[dict[str, object]]:
    if cell.outcome.status != "ok":
        yield {**_identity(cell, None, None), **_outcome(cell.outcome, 0, 0)}
    for result in results:
        n_samples = len(result.index)
        if result.outcome.status != "ok":
            yield {**_identity(cell, result, None), **_outcome(result.outcome, 0, n_samples)}
        for scores in result.scores.values():
            n_scored = int(np.isfinite(scores.values.numpy()).sum())
            outcome = _outcome(scores.outcome, n_scored, n_samples)
            yield {**_identity(cell, result, scores), **outcome}


def _identity(
    cell: Cell, result: ExplainerResult | None, scores: Scores | None
) -> Mapping[str, object]:
    return {
        **{name: getattr(cell, name) for name in _CELL},
        "explainer": result.explainer if result else "",
        "kind": result.kind if result else "",
        "category": scores.category if scores else "",
        "metric": scores.metric if scores else "",
        "cell": cell.key,
        "explanation": result.key if result else "",
        "regime": result.regime if result else "",
    }


def _outcome(outcome: Outcome, n_scored: int, n_samples: int) -> Mapping[str, object]:
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "n_scored": n_scored,
        "n_samples": n_samples,
    }
