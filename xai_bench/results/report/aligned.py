"""The scores of a cell's explainers side by side, aligned by the rows of the test part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xai_bench.results.statistics.intervals import Floats, Ints
from xai_bench.results.values import Cell, ExplainerResult, Outcome, Scores


@dataclass(frozen=True, eq=False)
class CellScores:
    """One cell's scores by a metric, with an outcome and a key per explainer.

    `scores [E, N]` with NaN where unscored, `seeds [N]` and `rows [N]` as ids.
    """

    scores: Floats
    seeds: Ints
    rows: Ints
    outcomes: list[Outcome | None]
    keys: list[str]


@dataclass(frozen=True, eq=False)
class AlignedCell:
    """A cell, its results by explainer, and where the samples of each are among all of them.

    Attributes:
        rows: `[N]` the rows of the test part that any result has.
        places: explainer -> the places of its samples in `rows`.
    """

    cell: Cell
    results: Mapping[str, ExplainerResult]
    rows: Ints
    places: Mapping[str, Ints]

    @classmethod
    def of(cls, cell: Cell, results: Sequence[ExplainerResult]) -> AlignedCell:
        """Of all results that a table shows of the cell."""
        indices = {result.explainer: result.index.numpy() for result in results}
        rows = np.unique(np.concatenate([[], *indices.values()])).astype(int)
        places = {name: np.searchsorted(rows, index) for name, index in indices.items()}
        return cls(cell, {result.explainer: result for result in results}, rows, places)

    def scores(self, explainers: Sequence[str], metric: str, key: str) -> CellScores:
        """Those of some explainers by one metric, of one setting."""
        values = np.full((len(explainers), len(self.rows)), np.nan)
        outcomes: list[Outcome | None] = []
        for row, name in zip(values, explainers, strict=True):
            result = self.results.get(name)
            scored = None if result is None else result.scores.get(metric)
            # Another setting of the metric is another column.
            scored = scored if scored is not None and scored.key == key else None
            outcomes.append(_outcome(result, scored))
            if scored is not None and scored.outcome.status == "ok":
                row[self.places[name]] = scored.values.numpy()
        keys = [self.results[name].key if name in self.results else "" for name in explainers]
        seeds = np.full(len(self.rows), self.cell.seed)
        return CellScores(values, seeds, self.rows, outcomes, keys)


def joined(parts: Sequence[CellScores]) -> tuple[Floats, Ints, Ints]:
    """`[E, N]` scores, `[N]` seeds and `[N]` rows over all cells."""
    return (
        np.concatenate([part.scores for part in parts], axis=1),
        np.concatenate([part.seeds for part in parts]),
        np.concatenate([part.rows for part in parts]),
    )


def _outcome(result: ExplainerResult | None, scores: Scores | None) -> Outcome | None:
    """The metric's outcome, else the explainer's where it has none; None where it did not run."""
    if scores is not None:
        return scores.outcome
    return result.outcome if result is not None and result.outcome.status != "ok" else None
