"""Explainers side by side: means, intervals, directions, and reasons for what is missing."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from xai_bench.results.sample_scores import SampleScores
from xai_bench.results.statistics.intervals import mean_intervals


class Comparison(pd.DataFrame):
    """Mean scores, a row for each explainer and a column for each metric.

    It is a data frame: what is selected from it is a plain one. NaN is "not scored".

    Attributes:
        scores: explainer -> metric -> `[N]`, the score of each sample.
        reasons: explainer -> metric -> why it has no score.
        higher_is_better: metric -> its direction.
        low, high: frames of the ends of the 95 % intervals of the means, over samples.

    >>> import torch, xai_bench
    >>> bench = xai_bench.workbench(lambda x: x.sum(1), torch.eye(3), background=torch.eye(3))
    >>> bench.compare({"mine": torch.eye(3)}, "gini")
              gini ↑
    mine  0.667 ± 0
    """

    _metadata = ["scores", "reasons", "higher_is_better", "low", "high"]  # noqa: RUF012

    scores: Mapping[str, SampleScores]
    reasons: Mapping[str, Mapping[str, str]]
    higher_is_better: Mapping[str, bool]
    low: pd.DataFrame
    high: pd.DataFrame

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def __repr__(self) -> str:
        lines = [self.formatted().to_string()]
        lines += [f"{who}, {metric}: {why}" for who, metric, why in self._why()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """For notebooks; names and reasons are escaped."""
        reasons = "".join(
            f"<li>{html.escape(f'{who}, {metric}: {why}')}</li>" for who, metric, why in self._why()
        )
        table = self.formatted().to_html(escape=True)
        return f"{table}<ul>{reasons}</ul>" if reasons else table

    def formatted(self) -> pd.DataFrame:
        """`mean ± half the interval` as text, with an arrow to the better end of each metric."""
        arrows = {m: "↑" if up else "↓" for m, up in self.higher_is_better.items()}
        shown = {
            f"{metric} {arrows[metric]}": [self._entry(who, metric) for who in self.index]
            for metric in self.columns
        }
        return pd.DataFrame(shown, index=self.index)

    def _entry(self, who: str, metric: str) -> str:
        mean = float(np.asarray(self.loc[who, metric]))
        half = float(np.asarray(self.high.loc[who, metric])) - mean
        if np.isnan(mean):
            return "not scored"
        return f"{mean:.3g} ± {half:.2g}" if np.isfinite(half) else f"{mean:.3g}"

    def _why(self) -> list[tuple[str, str, str]]:
        """One line for each explainer and reason; a reason that many metrics share is said once."""
        by_reason: dict[tuple[str, str], list[str]] = {}
        for who, of_metric in self.reasons.items():
            for metric, why in of_metric.items():
                by_reason.setdefault((who, why), []).append(metric)
        return [(who, ", ".join(metrics), why) for (who, why), metrics in by_reason.items()]


def comparison(
    rows: Mapping[str, SampleScores], higher_is_better: Mapping[str, bool]
) -> Comparison:
    """The comparison of explainers whose scores these are; every one has the same metrics."""
    metrics = list(higher_is_better)
    tables: dict[str, dict[str, list[float]]] = {"mean": {}, "low": {}, "high": {}}
    for metric in metrics:
        scores = np.stack([row[metric].numpy() for row in rows.values()])
        samples = np.arange(scores.shape[1])
        # One seed for all: the interval is over samples alone.
        ends = mean_intervals(scores, np.zeros_like(samples), samples)
        for name, values in zip(tables, ends, strict=True):
            tables[name][metric] = values.tolist()
    mean, low, high = (
        pd.DataFrame(values, index=list(rows), columns=metrics) for values in tables.values()
    )
    frame = Comparison(mean)
    reasons = {name: dict(row.reasons) for name, row in rows.items() if row.reasons}
    named = {"scores": rows, "reasons": reasons, "higher_is_better": dict(higher_is_better)}
    for name, value in {**named, "low": low, "high": high}.items():
        # pandas takes a new attribute for a column that somebody meant to add, and warns.
        object.__setattr__(frame, name, value)
    frame.attrs["reasons"] = reasons
    return frame
