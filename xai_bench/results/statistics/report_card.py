"""How good is a metric? Its report card, from a study on tasks with written-down truth.

    python -m xai_bench.results.statistics.report_card RESULTS STUDY > metric_grades.json

The study must hold the controls `oracle`, `degraded_oracle` and `random`, and some methods; other
controls that know no truth (`constant`, `input_magnitude`, `games_<metric>`) try to game.
Spearman correlations are over explainers, within one field: data, model and settings.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_bench.results.statistics.effects import ROPE
from xai_bench.results.statistics.intervals import Floats

if TYPE_CHECKING:
    from pandas import DataFrame

LADDER = ("oracle", "degraded_oracle", "random")
REFERENCES = ("cosine_to_shapley", "rank_correlation", "auroc")
"""Metrics of truth, the first that a study has is what truth means."""
STRONG, WEAK = 0.7, 0.4
CLUSTER = 0.7
"""Metrics whose mean correlation is at least this are of one cluster (average linkage)."""
_FIELD = ["data", "model", "view", "target", "baseline_explain", "baseline_measure"]
_UNGRADED = ("cost",)


@dataclass(frozen=True)
class Card:
    """One metric.

    Attributes:
        grade: `A` to `D`, with `gameable` behind it where a blind control is as good as the truth.
        ordered: the share of fields in which means rank oracle, degraded oracle, random.
        power: the share of samples that it ranks so.
        truth: mean Spearman correlation with the reference over fields; None where unknown.
        gamed_by: blind controls whose mean is as good as the oracle's, but for 2 % of the way from
            random to the oracle, and whose truth is not.
        cluster: metrics of one number go together.
        n_fields, n_unscored: fields with a score of all three controls, and fields without.
    """

    metric: str
    category: str
    grade: str
    ordered: float
    power: float
    truth: float | None
    gamed_by: tuple[str, ...]
    cluster: int
    n_fields: int
    n_unscored: int


def cards(scores: DataFrame) -> list[Card]:
    """`scores` as `xai_bench.load` gives them. Raises ValueError without the three controls."""
    missing = [name for name in LADDER if name not in set(scores["explainer"])]
    if missing:
        raise ValueError(f"the study lacks {', '.join(missing)}; a report card needs {LADDER}")
    signed = _signed(scores[~scores["category"].isin(_UNGRADED)])
    means = signed.pivot_table("worth", ["metric", *_FIELD], "explainer", "mean")
    blind = _blind(scores)
    reference = next((m for m in REFERENCES if m in means.index.get_level_values(0)), None)
    truth = None if reference is None else _of(means, reference)
    clusters = _clusters(means)
    categories = dict(zip(scores["metric"], scores["category"], strict=True))
    return [
        _card(
            (name, categories[name], clusters.get(name, 0)),
            signed[signed["metric"] == name],
            _of(means, name),
            truth,
            blind,
        )
        for name in sorted(set(means.index.get_level_values(0)))
    ]


def grade(ordered: float, truth: float | None, gamed: bool) -> str:
    """`A`: always in order and strongly with truth; `D`: hardly ever in order, or against it."""
    strength = 0.0 if truth is None else truth
    if ordered == 1 and strength >= STRONG:
        letter = "A"
    elif ordered >= 0.75 and strength >= WEAK:
        letter = "B"
    elif ordered >= 0.5 and strength >= 0:
        letter = "C"
    else:
        letter = "D"
    return f"{letter} gameable" if gamed else letter


def _card(
    who: tuple[str, str, int],
    samples: DataFrame,
    means: DataFrame,
    reference: DataFrame | None,
    blind: Sequence[str],
) -> Card:
    name, category, cluster = who
    ladder = means.reindex(columns=list(LADDER)).to_numpy(dtype=float)
    scored = np.isfinite(ladder).all(1)
    ordered = float(_in_order(ladder[scored]).mean()) if scored.any() else 0.0
    truth = None if reference is None else _mean_spearman(means, reference)
    gamed = _gamed_by(means[scored], reference, blind)
    return Card(
        metric=name,
        category=category,
        grade=grade(ordered, truth, bool(gamed)) if scored.any() else "ungraded",
        ordered=round(ordered, 3),
        power=round(_power(samples), 3),
        truth=None if truth is None else round(truth, 3),
        gamed_by=gamed,
        cluster=cluster,
        n_fields=int(scored.sum()),
        n_unscored=int((~scored).sum()),
    )


def _in_order(ladder: Floats) -> Any:
    """`[F, 3]` oracle, degraded and random -> `[F]`."""
    return (ladder[:, 0] > ladder[:, 1]) & (ladder[:, 1] > ladder[:, 2])


def _power(samples: DataFrame) -> float:
    """The share of samples in order, of those with a score of the oracle; unscored are not."""
    place = [*_FIELD, "seed", "sample"]
    table = samples.pivot_table("worth", place, "explainer").reindex(columns=list(LADDER))
    ladder = table.to_numpy(dtype=float)
    ladder = ladder[np.isfinite(ladder[:, 0])]
    return float(_in_order(ladder).mean()) if len(ladder) else 0.0


def _gamed_by(
    means: DataFrame, reference: DataFrame | None, blind: Sequence[str]
) -> tuple[str, ...]:
    """Blind controls as good as the oracle in most fields, unless they have the truth, too."""
    controls = []
    for name in blind:
        if name not in means or not _as_good(means, name):
            continue
        if reference is None or name not in reference or not _as_good(reference, name):
            controls.append(name)
    return tuple(controls)


def _as_good(means: DataFrame, name: str) -> bool:
    span = means["oracle"] - means["random"]
    short = means["oracle"] - means[name]
    # In most fields: one in which the truth itself does badly proves nothing.
    return bool((short <= ROPE * span.abs())[short.notna()].mean() > 0.5)


def _mean_spearman(means: DataFrame, reference: DataFrame) -> float | None:
    """Over the fields that both have; None where no correlation is defined."""
    both = means.index.intersection(reference.index)
    rows = [_spearman(means.loc[f].to_numpy(), reference.loc[f].to_numpy()) for f in both]
    scored = [r for r in rows if np.isfinite(r)]
    return float(np.mean(scored)) if scored else None


def _spearman(first: Floats, second: Floats) -> float:
    from scipy.stats import rankdata

    scored = np.isfinite(first) & np.isfinite(second)
    if scored.sum() < 3:
        return np.nan
    ranks = [rankdata(x[scored]) for x in (first, second)]
    if min(float(r.std()) for r in ranks) == 0:
        return np.nan
    return float(np.corrcoef(*ranks)[0, 1])


def _clusters(means: DataFrame) -> Mapping[str, int]:
    """Metric -> number of its cluster, from 1."""
    from scipy.cluster.hierarchy import fcluster, linkage

    names = sorted(set(means.index.get_level_values(0)))
    if len(names) < 2:
        return dict.fromkeys(names, 1)
    pairs = [
        1 - (_mean_spearman(means.loc[a], means.loc[b]) or 0.0)
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    ]
    # Average linkage, since single linkage would chain metrics that hardly correlate.
    numbers = fcluster(linkage(pairs, "average"), 1 - CLUSTER, "distance")
    return dict(zip(names, map(int, numbers), strict=True))


def _of(means: DataFrame, metric: str) -> DataFrame:
    """Fields by explainers, of one metric."""
    mine = means[means.index.get_level_values("metric") == metric]
    return mine.droplevel("metric")


def _blind(scores: DataFrame) -> list[str]:
    controls = scores[scores["family"] == "controls"]["explainer"]
    return sorted(set(controls) - set(LADDER))


def _signed(scores: DataFrame) -> DataFrame:
    sign = np.where(scores["higher_is_better"].astype(bool), 1.0, -1.0)
    return scores.assign(worth=scores["score"].astype(float) * sign)


def main(arguments: Sequence[str]) -> None:
    """Write the cards as JSON."""
    from xai_bench.results.statistics.load import load

    folder, study = arguments
    grades = [asdict(card) for card in cards(load(folder, study).scores)]
    sys.stdout.write(json.dumps(grades, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
