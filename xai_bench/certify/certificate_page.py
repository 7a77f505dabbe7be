"""Certificates as text: for the terminal, and `docs/metrics.md`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from xai_bench.certify.check_result import CheckResult
from xai_bench.types import Metric, tags_of

HEAD = """\
# Metrics

Written by `xai-bench check --markdown` (`make docs`): what each metric is, and what it showed when
it was tried. A test writes this page again and compares.

How to read a certificate:

- *scores* names the toy worlds (`xai_bench/certify/toy_worlds.py`) in which the metric can score;
  *same bits* means the last bit of a float64.
- *exact map*, *its negative*, *random maps* and *map of zeros* are mean scores on **eight units**:
  a linear model with units worth 1, 2, ..., 8, so that its output is 36 at x and 0 at the baseline.
  "by hand" and "chance" are worked out on paper; the metric's class states them (`known_scores`).
- *exact > noisy > random* is the order of three maps of another linear model, and in how many of 20
  trials 16 samples were enough to see it.
- *model that ignores x* puts out 36 everywhere.
- *retrained* is for metrics that retrain the model or explain other samples
  (`xai_bench/certify/retraining.py`): weights 12, 5, 3, 2, 1, 1/2 at the corners of a cube, where
  models are least squares fits, or images of one colour; the exact map, the same in reverse order,
  and random numbers.
- *rows per sample* are counted on eight units with one reference: forward through the model, and
  rows explained again.
- "not tried" gives the metric's own reason."""


NOT_TRIED = "not tried: "


@dataclass(frozen=True, eq=False)
class Certificate:
    """A component's name and the results of its checks; `metric` is None for an explainer."""

    name: str
    results: Sequence[CheckResult]
    metric: Metric | None = None


def text(certificate: Certificate) -> str:
    """A table for the terminal."""
    rows = _rows(certificate.results)
    width = max([len(title) for title, _ in rows if not title.startswith(NOT_TRIED)], default=0)
    lines = [f"  {title:<{width}}  {shown}" for title, shown in rows]
    return "\n".join([certificate.name, *lines])


def markdown(certificates: Sequence[Certificate]) -> str:
    """The page of all metrics: a section per category, a subsection per metric."""
    metrics = [(c.metric.category, c.name, c.metric, c.results) for c in certificates if c.metric]
    parts = [HEAD]
    ordered = sorted(metrics, key=lambda row: row[:2])
    for category, rows in groupby(ordered, key=lambda row: row[0]):
        parts.append(f"## {category.capitalize()}")
        parts += [_section(name, metric, results) for _, name, metric, results in rows]
    return "\n\n".join(parts)


def _section(name: str, metric: Metric, results: Sequence[CheckResult]) -> str:
    tags = tags_of(metric)
    facts = [f"{'Higher' if metric.higher_is_better else 'Lower'} is better"]
    facts += [f"Needs {', '.join(tags.needs)}"] if tags.needs else []
    facts += [f"Paper: {tags.paper}"] if tags.paper else []
    facts += [] if tags.reproducible else ["Differs from run to run"]
    cells = _rows([result for result in results if result.title != "better"])
    rows = [f"| {title} | {shown.replace('|', '/')} |" for title, shown in cells]
    table = "\n".join(["| property | result |", "| --- | --- |", *rows])
    doc = inspect.cleandoc(metric.__doc__ or "")
    return "\n\n".join([f"### {name}", doc, ". ".join(facts) + ".", table])


def _rows(results: Sequence[CheckResult]) -> list[tuple[str, str]]:
    """Title and result; what was declined for the same reason shares one row, the last."""
    rows = [(result.title, result.shown) for result in results if not result.declined]
    reasons: dict[str, list[str]] = {}
    for result in results:
        if result.declined:
            reasons.setdefault(result.shown, []).append(result.title)
    return rows + [(NOT_TRIED + ", ".join(titles), why) for why, titles in reasons.items()]
