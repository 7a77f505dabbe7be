"""What moved between two studies beyond noise: `xai-bench compare A B`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_bench.results.statistics import effects
from xai_bench.results.statistics.effects import Verdict
from xai_bench.results.statistics.intervals import LEVEL, mean_intervals

if TYPE_CHECKING:
    from pandas import DataFrame

FIELD = (
    "data", "model", "view", "target", "baseline_explain", "baseline_measure", "explainer",
    "regime", "metric",
)  # fmt: skip
"""What both studies must share; seeds and samples are paired within."""
PAIR = ("seed", "sample")


@dataclass(frozen=True)
class Change:
    """One metric of one explainer in both studies; positive differences are improvements.

    Attributes:
        field: the values of `FIELD`.
        before, after: means over the pairs.
        n_pairs: samples that both have a score for.
        n_before, n_after: samples that each has a score for.
        verdict: of `after - before`; `worse` too where scores were lost altogether.
    """

    field: tuple[str, ...]
    before: float
    after: float
    difference: float
    low: float
    high: float
    rope: float
    n_pairs: int
    n_before: int
    n_after: int
    verdict: Verdict


@dataclass(frozen=True)
class Changes:
    """All that both studies have, and how many fields only one of them has."""

    changes: tuple[Change, ...]
    only_before: int
    only_after: int

    def of(self, verdict: Verdict) -> list[Change]:
        """The changes with this verdict, in the order of their fields."""
        return [change for change in self.changes if change.verdict == verdict]

    @property
    def regressed(self) -> bool:
        """Whether anything became worse."""
        return bool(self.of("worse"))


def compare(before: DataFrame, after: DataFrame) -> Changes:
    """Two frames of scores, as `xai_bench.load` gives them.

    The level is divided by the number of fields (Bonferroni), so that among all of them a change
    by chance is rare. What a clock says is left out: it changes with the machine.
    """
    groups = [_fields(frame) for frame in (before, after)]
    shared = [field for field in groups[0] if field in groups[1]]
    # A hundred scores would else show five changes of nothing.
    level = 1 - (1 - LEVEL) / max(len(shared), 1)
    fields = tuple(_change(f, groups[0][f], groups[1][f], level) for f in shared)
    return Changes(fields, len(groups[0]) - len(shared), len(groups[1]) - len(shared))


def lines(changes: Changes) -> list[str]:
    """What a person reads: each move, and what did not move as a number."""
    moved = [*changes.of("worse"), *changes.of("better")]
    sentences = [_line(change) for change in moved]
    counts = ", ".join(
        f"{len(changes.of(verdict))} {verdict}"
        for verdict in ("worse", "better", "equivalent", "undecided", "unknown")
    )
    lone = f"; only before {changes.only_before}, only after {changes.only_after}"
    total = f"{len(changes.changes)} scores in both: {counts}"
    return [*sentences, total + (lone if changes.only_before or changes.only_after else "")]


def _line(change: Change) -> str:
    data, model, *_, explainer, regime, metric = change.field
    name = f"{data}, {model}: {explainer}{f' ({regime})' if regime else ''}, {metric}"
    if change.n_after == 0:
        return f"{change.verdict:<7} {name}: no sample is scored any more ({change.n_before} were)"
    return (
        f"{change.verdict:<7} {name}: {change.before:.4g} -> {change.after:.4g} "
        f"({change.difference:+.3g}, {change.low:+.3g} to {change.high:+.3g}, "
        f"{change.n_pairs} pairs)"
    )


def _fields(frame: DataFrame) -> dict[tuple[str, ...], DataFrame]:
    kept = frame[frame["reproducible"].astype(bool)]
    return {tuple(map(str, k)): g for k, g in kept.groupby(list(FIELD), sort=True, dropna=False)}


def _change(field: tuple[str, ...], before: DataFrame, after: DataFrame, level: float) -> Change:
    columns = [*PAIR, "score"]
    both = before[columns].merge(after[columns], on=list(PAIR), suffixes=("_a", "_b"))
    sign = 1.0 if bool(before["higher_is_better"].iloc[0]) else -1.0
    a, b = (both[f"score_{x}"].to_numpy(dtype=float) for x in "ab")
    n_before, n_after = (int(np.isfinite(f["score"]).sum()) for f in (before, after))
    # The scale is that of the study before: a change that widens the scores must not hide itself.
    rope = effects.ROPE * effects.scale(before["score"].to_numpy(dtype=float))
    rope = rope if np.isfinite(rope) else 0.0
    pairs = np.isfinite(a) & np.isfinite(b)
    seeds, rows = (both[name].to_numpy() for name in PAIR)
    difference = np.where(pairs, sign * (b - a), np.nan)[None]
    mean, low, high = _interval(difference, seeds, rows, level)
    return Change(
        field=field,
        before=_mean(a[pairs]),
        after=_mean(b[pairs]),
        difference=mean,
        low=low,
        high=high,
        rope=rope,
        n_pairs=int(pairs.sum()),
        n_before=n_before,
        n_after=n_after,
        verdict="worse" if n_before and not n_after else effects.verdict(mean, low, high, rope),
    )


def _interval(difference: Any, seeds: Any, rows: Any, level: float) -> Sequence[float]:
    if not difference.size:
        return (np.nan, np.nan, np.nan)
    return [float(v[0]) for v in mean_intervals(difference, seeds, rows, level)]


def _mean(values: Any) -> float:
    return float(values.mean()) if len(values) else np.nan
