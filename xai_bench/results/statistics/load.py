"""All results of a folder as two tidy data frames: `xai_bench.load`. The schema is stable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_bench.core import units
from xai_bench.results.store.store import Store
from xai_bench.results.values import Cell, ExplainerResult, Scores

if TYPE_CHECKING:
    from pandas import DataFrame

_SHARED = {
    "study": "name of the study",
    "data": "data set, as in conf/",
    "model": "model, as in conf/",
    "seed": "of training and of every random draw",
    "view": "what was explained: the input, gates, a layer",
    "target": "the scalar explained",
    "baseline_explain": "what absent units are to explainers",
    "baseline_measure": "what absent units are to metrics",
    "explainer": "name of the explainer",
    "family": "its category; `controls` are not ranked",
    "kind": "sensitivity, contribution, relevance or ranking",
    "regime": "paper defaults, an equal budget, or tuned",
}
SCORES: Mapping[str, str] = {
    **_SHARED,
    "metric": "name of the metric",
    "category": "of the metric: fidelity, stability, ...",
    "higher_is_better": "direction of the metric",
    "reproducible": "False for what a clock or the operating system says",
    "sample": "row of the evaluated test samples: the key by which scores are paired",
    "score": "NaN: not scored",
    "status": "ok, skipped or failed; with skipped and failed every score is NaN",
    "reason": "why it was skipped or failed",
    "cell": "content address of data, model, seed, view, target and baselines",
    "explanation": "content address of the explainer's settings",
    "metric_key": "content address of the metric's settings",
}
"""Column -> what it holds; one row per study, cell, explainer, metric and sample."""
ATTRIBUTIONS: Mapping[str, str] = {
    **_SHARED,
    "sample": "as in the scores",
    "unit": "number of the unit: a column, a patch, a token",
    "unit_name": "its name; empty where units have none",
    "attribution": "signed, summed over the elements of the unit",
    "cell": "as in the scores",
    "explanation": "as in the scores",
}
"""Column -> what it holds; one row per study, cell, explainer, sample and unit."""

_CELL = ("data", "model", "seed", "view", "target", "baseline_explain", "baseline_measure")


@dataclass(frozen=True)
class Results:
    """The results of some studies; each frame is read when it is first asked for."""

    store: Store
    studies: tuple[str, ...]

    @cached_property
    def scores(self) -> DataFrame:
        """The columns of `SCORES`, a row per sample."""
        return _frame(SCORES, self._parts(_scores, attributions=False))

    @cached_property
    def attributions(self) -> DataFrame:
        """The columns of `ATTRIBUTIONS`, a row per sample and unit; images make many."""
        return _frame(ATTRIBUTIONS, self._parts(self._attributions, attributions=True))

    def _parts(self, part: Any, *, attributions: bool) -> Iterator[dict[str, Any]]:
        for study in self.studies:
            for cell, explanations in self.store.cells(study, attributions=attributions):
                for result in explanations:
                    yield from part(_shared(study, cell, result), cell, result)

    def _attributions(
        self, shared: dict[str, Any], cell: Cell, result: ExplainerResult
    ) -> Iterator[dict[str, Any]]:
        inputs = self.store.read_inputs(cell.key)
        if inputs is None or result.explanation is None:
            return
        pooled = units.pool(result.explanation.attribution.double(), inputs["units"]).numpy()
        sample, unit = np.nonzero(units.present(inputs["units"]).numpy())
        names = self.store.unit_names(cell.key)
        named = np.array(names, dtype=object) if len(names) == pooled.shape[1] else None
        yield {
            **shared,
            "sample": result.index.numpy()[sample],
            "unit": unit,
            "unit_name": "" if named is None else named[unit],
            "attribution": pooled[sample, unit],
        }


def load(results: str | Path = "results", study: str | None = None) -> Results:
    """The results under a folder, of one study or of all.

    `load("results").scores` has a row per sample and metric, `.attributions` one per sample and
    unit. Raises ValueError where there is no such folder or study.
    """
    root = Path(results)
    if not root.is_dir():
        raise ValueError(f"there is no folder of results at {results}")
    store = Store(root.absolute())
    if study is None:
        return Results(store, tuple(store.studies()))
    store.cells(study, attributions=False)
    return Results(store, (study,))


def _scores(
    shared: dict[str, Any], cell: Cell, result: ExplainerResult
) -> Iterator[dict[str, Any]]:
    for scores in result.scores.values():
        yield {**shared, **_metric(scores, result.index.numpy())}


def _metric(scores: Scores, index: Any) -> dict[str, Any]:
    ok = scores.outcome.status == "ok"
    return {
        "metric": scores.metric,
        "category": scores.category,
        "higher_is_better": scores.higher_is_better,
        "reproducible": scores.reproducible,
        "sample": index,
        "score": scores.values.numpy() if ok else np.full(len(index), np.nan),
        "status": scores.outcome.status,
        "reason": scores.outcome.reason,
        "metric_key": scores.key,
    }


def _shared(study: str, cell: Cell, result: ExplainerResult) -> dict[str, Any]:
    return {
        "study": study,
        **{name: getattr(cell, name) for name in _CELL},
        "explainer": result.explainer,
        "family": result.category,
        "kind": result.kind,
        "regime": result.regime,
        "cell": cell.key,
        "explanation": result.key,
    }


def _frame(columns: Mapping[str, str], parts: Iterator[dict[str, Any]]) -> DataFrame:
    import pandas as pd

    frames = [pd.DataFrame(part) for part in parts]
    if not frames:
        return pd.DataFrame(columns=list(columns))
    return pd.concat(frames, ignore_index=True)[list(columns)]
