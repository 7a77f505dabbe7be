"""The store as data frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from xai_bench.results.values import Cell, ExplainerResult, Outcome, Scores

Listing = Sequence[tuple[Cell, Sequence[ExplainerResult]]]

_CELL = ("data", "model", "seed", "view", "target", "baseline_explain", "baseline_measure")
_WHO = [*_CELL, "explainer", "kind", "category", "metric"]
_SAMPLES = [*_WHO, "higher_is_better", "index", "score", "cell", "explanation", "regime"]
_OUTCOMES = [*_WHO, "status", "reason", "n_scored", "n_samples", "cell", "explanation", "regime"]


def samples(listing: Listing) -> pd.DataFrame:
    """Long, one row per scored sample; `category` is the metric's."""
    parts = [
        pd.DataFrame(
            {
                **_who(cell, explanation, scores),
                "higher_is_better": scores.higher_is_better,
                "index": explanation.index.numpy(),
                "score": scores.values.numpy(),
            }
        )
        for cell, explanations in listing
        for explanation in explanations
        for scores in explanation.scores.values()
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
    rows = [row for cell, explanations in listing for row in _outcome_rows(cell, explanations)]
    return pd.DataFrame(rows, columns=_OUTCOMES)


def _outcome_rows(
    cell: Cell, explanations: Iterable[ExplainerResult]
) -> Iterable[dict[str, object]]:
    if cell.outcome.status != "ok":
        yield {**_who(cell, None, None), **_told(cell.outcome, 0, 0)}
    for one in explanations:
        n_samples = len(one.index)
        if one.outcome.status != "ok":
            yield {**_who(cell, one, None), **_told(one.outcome, 0, n_samples)}
        for scores in one.scores.values():
            n_scored = int(np.isfinite(scores.values.numpy()).sum())
            yield {**_who(cell, one, scores), **_told(scores.outcome, n_scored, n_samples)}


def _who(
    cell: Cell, explanation: ExplainerResult | None, scores: Scores | None
) -> Mapping[str, object]:
    return {
        **{name: getattr(cell, name) for name in _CELL},
        "explainer": explanation.explainer if explanation else "",
        "kind": explanation.kind if explanation else "",
        "category": scores.category if scores else "",
        "metric": scores.metric if scores else "",
        "cell": cell.key,
        "explanation": explanation.key if explanation else "",
        "regime": explanation.regime if explanation else "",
    }


def _told(outcome: Outcome, n_scored: int, n_samples: int) -> Mapping[str, object]:
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "n_scored": n_scored,
        "n_samples": n_samples,
    }
