"""The regimes of a table's explainers in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from xai_bench.results.regimes import PAPER
from xai_bench.results.report.words import listed
from xai_bench.results.settings import natural

_BUDGET = re.compile(r"budget (\d+) rows(.*)", re.DOTALL)
_FEW = 4
"""Up to so many explainers with paper defaults are named; more are `all others`."""


def sentence(regimes: Mapping[str, Sequence[str]]) -> str:
    """Name -> its regimes, as "Settings: ...", each named once; empty where there is none."""
    groups: dict[str, list[str]] = {}
    for name, of_name in regimes.items():
        if any(of_name):
            groups.setdefault(" and ".join(_merged(filter(None, of_name))), []).append(name)
    # Paper defaults last, because they may be named as "all others".
    ordered = sorted(groups.items(), key=lambda group: (group[0] == PAPER, natural(group[0])))
    if len(ordered) < 2:
        return f"Settings: {ordered[0][0]}." if ordered else ""
    return f"Settings: {'; '.join(_named(*group) for group in ordered)}."


def base(label: str) -> str:
    """The name of an explainer, without the settings that label its row."""
    return label.partition(" (")[0]


def _merged(regimes: Iterable[str]) -> list[str]:
    """`budget 10 rows`, `budget 100 rows` -> `budget 10 and 100 rows`."""
    budgets: dict[str, list[str]] = {}
    others = []
    for regime in sorted(dict.fromkeys(regimes), key=natural):
        match = _BUDGET.fullmatch(regime)
        if match:
            budgets.setdefault(match[2], []).append(match[1])
        else:
            others.append(regime)
    merged = [f"budget {listed(numbers)} rows{end}" for end, numbers in budgets.items()]
    return [*merged, *others]


def _named(regime: str, names: Sequence[str]) -> str:
    shown = "all others" if regime == PAPER and len(names) > _FEW else ", ".join(names)
    return f"{regime} ({shown})"
