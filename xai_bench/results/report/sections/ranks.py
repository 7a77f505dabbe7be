"""Who wins over metrics and data sets, and how little it takes that somebody else does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_bench.results.report.summary import Block
from xai_bench.results.report.table import Entry, Head, Panel, Section, Table, measured
from xai_bench.results.statistics import ranks
from xai_bench.results.statistics.intervals import Floats
from xai_bench.results.statistics.ranks import Robustness

if TYPE_CHECKING:
    from pandas import DataFrame

_LEGEND = (
    "Mean rank over metrics, 1 is best; a method without a score shares the last ranks. Interval: "
    "best and worst rank over all aggregators (mean rank, Borda, Kemeny, wins), over every single "
    "metric, data set, baseline and target, and without each. Wins: the share of these won."
)
_UNRANKED = ("cost",)


@dataclass(frozen=True, eq=False)
class Standing:
    """The methods that all blocks have, over one category of metrics or all.

    Attributes:
        category: empty for all.
        methods: names.
        scores: `[F, M]`, higher is better, NaN where unscored.
        axes: what each field is: metric, data, ...
    """

    category: str
    methods: tuple[str, ...]
    scores: Floats
    axes: dict[str, list[str]]

    def robustness(self) -> Robustness:
        """How much the winner depends on metrics, data sets and seeds."""
        return ranks.robustness(self.scores, self.axes)


def standings(blocks: Sequence[Block]) -> list[Standing]:
    """All metrics but costs, then one category after the other; empty for a single method."""
    shared = [set(block.methods) for block in blocks]
    methods = tuple(m for b in blocks[:1] for m in b.methods if all(m in s for s in shared))
    if len(methods) < 2:
        return []
    columns = [c for b in blocks for c in b.scored if c.category not in _UNRANKED]
    categories = list(dict.fromkeys(c.category for c in columns))
    wanted = ["", *categories] if len(categories) > 1 else [""]
    ranked = [_standing(blocks, methods, category) for category in wanted]
    return [standing for standing in ranked if len(standing.scores)]


def section(study: str, blocks: Sequence[Block]) -> Section:
    """One table and its CSV."""
    import pandas as pd

    standings_ = [(standing, standing.robustness()) for standing in standings(blocks)]
    if not standings_:
        return Section(lambda n_columns: [])
    rows = [row for standing, robust in standings_ for row in _rows(study, standing, robust)]
    frames: dict[str, DataFrame] = {"ranks.csv": pd.DataFrame(rows)}
    shown = [_table(standings_)]
    return Section(lambda n_columns: shown, frames)


def change(standing: Standing, robust: Robustness) -> str:
    """The smallest change that dethrones the winner, as a sentence."""
    names = " and ".join(standing.methods[m] for m in robust.winners)
    what = standing.category or "all metrics"
    if len(robust.winners) > 1:
        return f"{what}: {names} share the first place"
    if robust.unbeatable:
        return f"{what}: {names} is first whichever metrics and data sets are left out"
    fields = [
        f"{standing.axes['metric'][f]} on {standing.axes['data'][f]}" for f in robust.dethroned_by
    ]
    shown = ", ".join(fields[:3]) + (f" and {len(fields) - 3} more" if len(fields) > 3 else "")
    return (
        f"{what}: {names} is first; "
        f"without {len(fields)} of {len(standing.scores)} it is not: {shown}"
    )


def _standing(blocks: Sequence[Block], methods: tuple[str, ...], category: str) -> Standing:
    scores, axes = [], []
    for block in blocks:
        for column in block.scored:
            if column.category not in _UNRANKED and category in ("", column.category):
                sign = 1 if column.higher_is_better else -1
                scores.append([sign * block.numbers[m, column].mean for m in methods])
                axes.append({"metric": column.label, **block.names})
    names = list(axes[0]) if axes else []
    return Standing(category, methods, np.array(scores), {n: [a[n] for a in axes] for n in names})


def _table(standings_: Sequence[tuple[Standing, Robustness]]) -> Table:
    first, robust = standings_[0]
    means = [ranks.mean_rank(standing.scores) for standing, _ in standings_]
    order = np.argsort(means[0], kind="stable")
    rows = []
    for m in order:
        # Equal means of ranks may differ by rounding.
        entries = [Entry(measured(float(v[m])), bool(v[m] <= v.min() + 1e-9)) for v in means]
        span = f"{robust.best_rank[m]} to {robust.worst_rank[m]}"
        wins = f"{100 * robust.share[m]:.0f} %"
        rows.append((first.methods[m], (*entries, Entry(span), Entry(wins))))
    heads = [Head("mean rank", standing.category or "all") for standing, _ in standings_]
    heads += [Head("robustness", "interval"), Head("robustness", "wins")]
    return Table(
        title="Ranks over metrics and data sets",
        caption=f"{len(first.scores)} comparisons of {len(first.methods)} methods.",
        panels=(Panel(tuple(heads), tuple(rows)),),
        notes=tuple(change(*standing) for standing in standings_),
        legend=_LEGEND,
        folded=True,
    )


def _rows(study: str, standing: Standing, robust: Robustness) -> Iterator[dict[str, Any]]:
    few = len(standing.methods) <= ranks.MOST
    kemeny = ranks.kemeny(standing.scores) if few else ()
    front = ranks.pareto_front(standing.scores)
    mean, points = ranks.mean_rank(standing.scores), ranks.borda(standing.scores)
    for m, name in enumerate(standing.methods):
        yield {
            "study": study,
            "category": standing.category or "all",
            "explainer": name,
            "mean_rank": mean[m],
            "borda": points[m],
            "kemeny_place": kemeny.index(m) + 1 if few else "",
            "on_pareto_front": m in front,
            "best_rank": robust.best_rank[m],
            "worst_rank": robust.worst_rank[m],
            "share_of_wins": robust.share[m],
            "n_comparisons": len(standing.scores),
            "fewest_to_dethrone": len(robust.dethroned_by) if m in robust.winners else "",
        }
