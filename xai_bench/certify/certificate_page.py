"""Certificates as text: for the terminal, and `docs/metrics.md`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xai_bench.certify.finding import CheckResult
from xai_bench.types import Metric, tags_of

HEAD = """\
# Metrics

Written by `xai-bench check --markdown` (`make docs`): what each metric is, and what it showed when
it was tried. A test writes this page anew and compares.

How to read a certificate. **The ladder** is a linear model with eight units worth 1, 2, ..., 8, so
that its output is 36 at x and 0 at the baseline. *exact map*, *its negative*, *random maps* and
*map of zeros* are mean scores there; "by hand" and "chance" are worked out on paper. *exact > noisy
> random* is the order of three maps of another linear model, and in how many of 20 trials 16
samples were enough to see it. *model that ignores x* puts out 36 everywhere. *same bits* means the
last bit of a float64. *scores* names the worlds (`xai_bench/certify/toy_worlds.py`) in which
the metric can score. *taught anew* is for metrics that retrain or look at other samples
(`xai_bench/certify/retraining.py`): weights 12, 5, 3, 2, 1, 1/2 at the corners of a cube, where
models are least squares fits, or images of one colour; the exact map, the same in reverse order,
and random numbers. *rows per sample* are counted on the ladder with one reference: forward through
the model, and rows explained anew. "not tried" gives the metric's own reason."""


NOT_TRIED = "not tried: "


@dataclass(frozen=True, eq=False)
class Certified:
    """A component and what was found; `metric` is None for an explainer."""

    name: str
    found: Sequence[CheckResult]
    metric: Metric | None = None


def text(certified: Certified) -> str:
    """A table for the terminal."""
    rows = _rows(certified.found)
    width = max([len(title) for title, _ in rows if not title.startswith(NOT_TRIED)], default=0)
    lines = [f"  {title:<{width}}  {shown}" for title, shown in rows]
    return "\n".join([certified.name, *lines])


def markdown(certified: Sequence[Certified]) -> str:
    """One section per category, one subsection per metric."""
    parts, category = [HEAD], ""
    for one in sorted(certified, key=lambda c: (c.metric.category if c.metric else "", c.name)):
        if one.metric is not None and one.metric.category != category:
            category = one.metric.category
            parts.append(f"## {category.capitalize()}")
        parts.append(_section(one))
    return "\n\n".join(parts)


def _section(one: Certified) -> str:
    metric: Any = one.metric
    tags = tags_of(metric)
    facts = [f"{'Higher' if metric.higher_is_better else 'Lower'} is better"]
    facts += [f"Needs {', '.join(tags.needs)}"] if tags.needs else []
    facts += [f"Paper: {tags.paper}"] if tags.paper else []
    facts += [] if tags.reproducible else ["Differs from run to run"]
    found = _rows([finding for finding in one.found if finding.title != "better"])
    rows = [f"| {title} | {shown.replace('|', '/')} |" for title, shown in found]
    table = "\n".join(["| property | result |", "| --- | --- |", *rows])
    doc = inspect.cleandoc(metric.__doc__ or "")
    return "\n\n".join([f"### {one.name}", doc, ". ".join(facts) + ".", table])


def _rows(found: Sequence[CheckResult]) -> list[tuple[str, str]]:
    """Title and result; what was declined for the same reason shares one row, the last."""
    rows = [(f.title, f.shown) for f in found if not f.declined]
    reasons: dict[str, list[str]] = {}
    for finding in found:
        if finding.declined:
            reasons.setdefault(finding.shown, []).append(finding.title)
    return rows + [(NOT_TRIED + ", ".join(titles), why) for why, titles in reasons.items()]
