"""The view in which MLflow opens a study: rows by data set and explainer, a few charts, arrows.

MLflow's page reads it from a tag of the experiment that the address names. The format is the page's
own, of MLflow 3; what a later version does not know is left at its default there.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xai_bench.results.questions import QUESTIONS
from xai_bench.results.values import Scores

SHARE_KEY = "xai_bench"
TAG = f"mlflow.sharedViewState.{SHARE_KEY}"
N_CHARTS = 8
_PREFIX = "deflate;"

_FIRST = ("cosine_to_shapley", "abpc", "comprehensiveness", "faithfulness_correlation",
          "max_sensitivity", "entropy", "forward_rows", "seconds")  # fmt: skip
"""Metrics whose chart is preferred to those of others of the same category."""


def directions(scored: Iterable[Scores]) -> dict[str, str]:
    """`category/metric` -> the arrow of its better direction, of metrics with scores."""
    return {
        f"{scores.category}/{scores.metric}": "↑" if scores.higher_is_better else "↓"
        for scores in scored
        if scores.outcome.status == "ok"
    }


def state(arrows: Mapping[str, str]) -> str:
    """The content of `TAG` for a study with these metrics."""
    shown = charted(list(arrows))
    sections = list(dict.fromkeys(name.partition("/")[0] for name in shown))
    hidden = [name for name in sorted(arrows) if name not in shown]
    content = {
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [
                {"mode": "param", "groupByData": "data"},
                {"mode": "param", "groupByData": "explainer"},
            ],
        },
        "useGroupedValuesInCharts": True,
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "selectedColumns": [f"metrics.`{name}`" for name in shown],
        "compareRunSections": [_section(name) for name in sections],
        "compareRunCharts": [
            *(_chart(name, arrows[name], deleted=False) for name in shown),
            # The page would else make a chart of each metric that has none.
            *(_chart(name, arrows[name], deleted=True) for name in hidden),
        ],
        "isAccordionReordered": True,
        # Ours, to be read when the next cell brings other metrics.
        "xaiBenchArrows": dict(sorted(arrows.items())),
    }
    # Compressed, because databases take 5000 characters, and a hundred metrics make 20,000.
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return _PREFIX + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def known_arrows(content: str | None) -> dict[str, str]:
    """The metrics of a view that is there; none where it is not ours."""
    try:
        packed = base64.b64decode((content or "").removeprefix(_PREFIX))
        arrows = json.loads(zlib.decompress(packed))["xaiBenchArrows"]
        return {str(name): str(arrow) for name, arrow in dict(arrows).items()}
    except (ValueError, KeyError, TypeError, zlib.error):
        return {}


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


def _section(name: str) -> dict[str, Any]:
    return {
        "uuid": f"section-{name}",
        "name": name,
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
    }


def _chart(name: str, arrow: str, *, deleted: bool) -> dict[str, Any]:
    section, _, metric = name.partition("/")
    return {
        "uuid": f"chart-{name}",
        "type": "BAR",
        "metricKey": name,
        "displayName": f"{metric} {arrow}",
        "metricSectionId": f"section-{section}",
        "runsCountToCompare": 100,
        "deleted": deleted,
        "isGenerated": deleted,
    }
