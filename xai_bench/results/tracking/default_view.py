"""The view in which MLflow opens a study: rows by data set and explainer, a few charts, arrows.

MLflow's page reads it from a tag of the experiment that the address names. The format is the page's
own, of MLflow 3; what a later version does not know is left at its default there.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from xai_bench.results.questions import QUESTIONS
from xai_bench.results.values import Scores

SHARE_KEY = "xai_bench"
TAG = f"mlflow.sharedViewState.{SHARE_KEY}"
N_CHARTS = 8
_PREFIX = "deflate;"

_FIRST = ("cosine_to_shapley", "abpc", "comprehensiveness", "faithfulness_correlation",
          "max_sensitivity", "entropy", "forward_rows", "seconds")  # fmt: skip
"""Metrics whose chart is preferred to those of others of the same category."""


_SECTION: Mapping[str, Any] = {
    "uuid": "section-key-metrics",
    "name": "key metrics",
    "display": True,
    "isReordered": True,
    "deleted": False,
    "isGenerated": False,
}
"""One for all charts, so that they lie side by side."""


class Group(NamedTuple):
    """The runs of one explainer on one data set: those of several models and seeds."""

    explainer: str
    data: str

    @property
    def id(self) -> str:
        """As the page writes it."""
        return ",".join(f"param.{name}.{value}" for name, value in self._asdict().items())


def directions(scored: Iterable[Scores]) -> dict[str, str]:
    """`category/metric` -> the arrow of its better direction, of metrics with scores."""
    return {
        f"{scores.category}/{scores.metric}": "↑" if scores.higher_is_better else "↓"
        for scores in scored
        if scores.outcome.status == "ok"
    }


def state(arrows: Mapping[str, str], groups: Collection[Group] = ()) -> str:
    """The content of `TAG` for a study with these metrics; groups of runs are closed."""
    shown = charted(list(arrows))
    hidden = [name for name in sorted(arrows) if name not in shown]
    content = {
        "groupBy": {
            "aggregateFunction": "average",
            # The explainer first: the page cuts the names of groups at their end.
            "groupByKeys": [{"mode": "param", "groupByData": name} for name in Group._fields],
        },
        "groupsExpanded": dict.fromkeys(_closed(groups), False),
        "useGroupedValuesInCharts": True,
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "selectedColumns": [f"metrics.`{name}`" for name in shown],
        "compareRunSections": [_SECTION],
        "compareRunCharts": [
            *(_chart(name, arrows[name], deleted=False) for name in shown),
            # The page would else make a chart of each metric that has none.
            *(_chart(name, arrows[name], deleted=True) for name in hidden),
        ],
        "isAccordionReordered": True,
        # Ours, to be read when the next cell brings others.
        "xaiBenchArrows": dict(sorted(arrows.items())),
        "xaiBenchGroups": sorted(set(groups)),
    }
    # Compressed, because databases take 5000 characters, and a hundred metrics make 20,000.
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return _PREFIX + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _closed(groups: Collection[Group]) -> list[str]:
    """The groups of explainers, per data set that of the trainings, and that of the report."""
    trainings = {Group("null", group.data) for group in groups}
    ungrouped = ",".join(f"param.{name}" for name in Group._fields)
    return [*(group.id for group in sorted({*groups, *trainings})), ungrouped]


def read(content: str | None) -> tuple[dict[str, str], set[Group]]:
    """The metrics and groups of a view that is there; none where it is not ours."""
    try:
        packed = base64.b64decode((content or "").removeprefix(_PREFIX))
        view = json.loads(zlib.decompress(packed))
        arrows = {str(name): str(arrow) for name, arrow in dict(view["xaiBenchArrows"]).items()}
        return arrows, {Group(*map(str, group)) for group in view["xaiBenchGroups"]}
    except (ValueError, KeyError, TypeError, zlib.error):
        return {}, set()


def charted(names: Sequence[str]) -> list[str]:
    """The metrics with a chart, at most `N_CHARTS`: of each question in turn, faithful first."""
    queues = [_of_question(question.categories, names) for question in QUESTIONS]
    in_order = [name for queue in queues for name in queue]
    # The first of every question, then the second of every question, ...
    turns = {name: turn for queue in queues for turn, name in enumerate(queue)}
    chosen = sorted(in_order, key=turns.__getitem__)[:N_CHARTS]
    return [name for name in in_order if name in chosen]


def _of_question(categories: Sequence[str], names: Sequence[str]) -> list[str]:
    """The metrics of these categories, the preferred ones first."""

    def place(name: str) -> tuple[int, int, str]:
        category, _, metric = name.partition("/")
        preferred = _FIRST.index(metric) if metric in _FIRST else len(_FIRST)
        return (preferred, categories.index(category), name)

    return sorted((n for n in names if n.partition("/")[0] in categories), key=place)


def _chart(name: str, arrow: str, *, deleted: bool) -> dict[str, Any]:
    metric = name.partition("/")[2]
    return {
        "uuid": f"chart-{name}",
        "type": "BAR",
        "metricKey": name,
        "displayName": f"{metric} {arrow}",
        "metricSectionId": _SECTION["uuid"],
        "runsCountToCompare": 100,
        "deleted": deleted,
        "isGenerated": deleted,
    }
