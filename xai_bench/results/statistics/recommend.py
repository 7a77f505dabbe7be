"""Which method to use, and how sure that is: `xai-bench recommend`.

Methods are ranked in every field, one metric on one data set and model, and compared over data
sets: ranks of several fields of one data set are one observation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xai_bench.results.questions import QUESTIONS
from xai_bench.results.statistics.intervals import Floats, mean_intervals
from xai_bench.results.statistics.ranks import field_ranks

if TYPE_CHECKING:
    from pandas import DataFrame

ROWS = ("forward_rows", "gradient_rows")
FIELD = ["data", "model", "view", "target", "baseline_explain", "baseline_measure", "metric"]


@dataclass(frozen=True, eq=False)
class Recommendation:
    """Attributes:
    method: the best mean rank over data sets; empty where nothing is comparable.
    rival: the next best; empty where there is one method only.
    gap, low, high: how many ranks the method is ahead of the rival, and the interval over data
        sets.
    sure: the interval leaves out 0. Else nothing is recommended.
    held_out: data sets that were left out once each, and in how many the choice made without them
        was best there or as good.
    ranks: method -> mean rank.
    too_dear: methods that need more rows than the budget.
    """

    method: str
    rival: str
    gap: float
    low: float
    high: float
    sure: bool
    held_out: tuple[int, int]
    ranks: Mapping[str, float]
    too_dear: tuple[str, ...]

    def sentence(self) -> str:
        """What a person reads."""
        if not self.method:
            return "no recommendation: no method has been scored on this question"
        right, tried = self.held_out
        if not self.rival:
            return f"no recommendation: {self.method} is the only method scored on this question"
        if not self.sure:
            margin = f"{self.gap:.2g} ranks ahead, {self.low:.2g} to {self.high:.2g}"
            why = margin if tried > 1 else "one data set says nothing of others"
            return f"no recommendation: {self.method} and {self.rival} are not told apart ({why})"
        return (
            f"{self.method}: {self.gap:.2g} ranks ahead of {self.rival} "
            f"({self.low:.2g} to {self.high:.2g} over {tried} data sets); chosen without a data "
            f"set, it was the best there in {right} of {tried}"
        )


def recommend(
    scores: DataFrame, question: str, *, data: str | None = None, budget: float | None = None
) -> Recommendation:
    """`scores` as `xai_bench.load` gives them; controls are never recommended.

    `data` is the data set that the advice is for: where it has been run, it is held out. `budget`
    is model rows per sample, forward and gradient. Raises ValueError for an unknown question.
    """
    categories = {each.name: each.categories for each in QUESTIONS}
    if question not in categories:
        raise ValueError(f"there is no question '{question}'; there are {', '.join(categories)}")
    methods = scores[scores["family"] != "controls"]
    dear = _too_dear(methods, budget)
    wanted = methods[methods["category"].isin(categories[question])]
    wanted = wanted[~wanted["explainer"].isin(dear)]
    if data is not None and (wanted["data"] != data).any():
        wanted = wanted[wanted["data"] != data]
    names, ranks = data_set_ranks(wanted)
    return _chosen(names, ranks, dear)


def data_set_ranks(scores: DataFrame) -> tuple[list[str], Floats]:
    """The methods, and `[D, M]` the mean rank of each within every data set, 1 is best.

    A method that a field does not score shares its last ranks. Fields in which no method is scored
    count nowhere.
    """
    sign = np.where(scores["higher_is_better"].astype(bool), 1.0, -1.0)
    signed = scores.assign(score=scores["score"].astype(float) * sign)
    table = signed.pivot_table("score", FIELD, "explainer", "mean", dropna=True)
    if table.empty:
        return [], np.empty((0, 0))
    per_field = field_ranks(table.to_numpy())
    data = table.index.get_level_values("data").to_numpy()
    ranks = [per_field[data == name].mean(0) for name in dict.fromkeys(data)]
    return list(table.columns), np.array(ranks)


def _chosen(names: list[str], ranks: Floats, dear: tuple[str, ...]) -> Recommendation:
    nothing = Recommendation("", "", np.nan, np.nan, np.nan, False, (0, 0), {}, dear)
    if not names:
        return nothing
    mean = ranks.mean(0)
    order = np.argsort(mean, kind="stable")
    first, mean_ranks = int(order[0]), dict(zip(names, mean.tolist(), strict=True))
    if len(names) == 1:
        return Recommendation(names[0], "", np.nan, np.nan, np.nan, False, (0, 0), mean_ranks, dear)
    # Data sets are the sample: more metrics on one of them are no more evidence.
    gaps = (ranks[:, int(order[1])] - ranks[:, first])[None]
    places = np.arange(gaps.shape[1])
    center, low, high = (float(v[0]) for v in mean_intervals(gaps, np.zeros_like(places), places))
    return Recommendation(
        method=names[first],
        rival=names[int(order[1])],
        gap=center,
        low=low,
        high=high,
        sure=len(ranks) > 1 and low > 0,
        held_out=_held_out(ranks),
        ranks=mean_ranks,
        too_dear=dear,
    )


def _held_out(ranks: Floats) -> tuple[int, int]:
    """How often the best of all other data sets is best in the one left out, and how many are."""
    n = len(ranks)
    if n < 2:
        return 0, n
    # Advice for a data set may not have seen it (leave-one-out over data sets).
    chosen = [int(np.delete(ranks, d, 0).mean(0).argmin()) for d in range(n)]
    right = sum(bool(ranks[d, c] <= ranks[d].min() + 1e-9) for d, c in enumerate(chosen))
    return right, n


def _too_dear(scores: DataFrame, budget: float | None) -> tuple[str, ...]:
    """Explainers whose rows per sample are above the budget, or were never counted."""
    if budget is None:
        return ()
    rows = scores[scores["metric"].isin(ROWS)]
    # Forward and gradient rows are two metrics: summed within a cell, and the dearest cell counts.
    cell = rows.groupby(["explainer", "cell", "explanation", "metric"])["score"].mean()
    spent = cell.groupby(["explainer", "cell", "explanation"]).sum(min_count=1)
    dearest = spent.groupby("explainer").max()
    names = sorted(set(scores["explainer"]))
    return tuple(name for name in names if not dearest.get(name, np.inf) <= budget)
