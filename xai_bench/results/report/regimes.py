"""On what terms the explainers of a table compete, in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from xai_bench.results.regimes import PAPER

_BUDGET = re.compile(r"budget (\d+) rows(.*)", re.DOTALL)
_FEW = 4


def sentence(terms: Mapping[str, Sequence[str]]) -> str:
    """Name -> its terms, as "Settings: ...", the same terms told once; empty where none is."""
    groups: dict[str, list[str]] = {}
    for name, known in terms.items():
        if any(known):
            groups.setdefault(" and ".join(_merged(filter(None, known))), []).append(name)
    ordered = sorted(groups.items(), key=lambda group: (group[0] == PAPER, natural(group[0])))
    if len(ordered) < 2:
        return f"Settings: {ordered[0][0]}." if ordered else ""
    return f"Settings: {'; '.join(_told(*group) for group in ordered)}."


def base(label: str) -> str:
    """The name of an explainer, without what tells its rows apart."""
    return label.partition(" (")[0]


def natural(text: str) -> tuple[tuple[float, str], ...]:
    """A key by which 9 comes before 10."""
    parts = re.findall(r"(\d+(?:\.\d+)?(?:e-?\d+)?)|(\D)", text)
    return tuple((float(number or -1), letter) for number, letter in parts)


def _merged(terms: Iterable[str]) -> list[str]:
    """`budget 10 rows`, `budget 100 rows` -> `budget 10 and 100 rows`."""
    budgets: dict[str, list[str]] = {}
    others = []
    for one in sorted(dict.fromkeys(terms), key=natural):
        found = _BUDGET.fullmatch(one)
        if found:
            budgets.setdefault(found[2], []).append(found[1])
        else:
            others.append(one)
    told = [f"budget {_listed(numbers)} rows{rest}" for rest, numbers in budgets.items()]
    return [*told, *others]


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _told(terms: str, names: Sequence[str]) -> str:
    who = "all others" if terms == PAPER and len(names) > _FEW else ", ".join(names)
    return f"{terms} ({who})"
