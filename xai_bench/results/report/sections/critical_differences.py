"""Mean ranks over data sets and which of them can be told apart: critical differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from xai_bench.results.questions import Question
from xai_bench.results.report.figures.export import Picture
from xai_bench.results.report.figures.matrices import CriticalDifferenceFigure
from xai_bench.results.report.table import Section
from xai_bench.results.report.verdict.standings import Comparison
from xai_bench.results.statistics.intervals import Floats
from xai_bench.results.statistics.ranks import field_ranks
from xai_bench.results.statistics.significance import friedman

FEWEST = 3
"""Data sets; with fewer, no ranks could be told apart."""


def section(compared: Mapping[Question, Sequence[Comparison]]) -> Section:
    """A diagram per question that three data sets or more were asked (Demšar 2006)."""
    return Section(lambda _: [], {}, dict(_figures(compared)))


def _figures(
    compared: Mapping[Question, Sequence[Comparison]],
) -> Iterator[tuple[str, Picture]]:
    for question, comparisons in compared.items():
        picture = _figure(question, comparisons)
        if picture is not None:
            yield f"ranks-{question.name}", picture


def _figure(question: Question, compared: Sequence[Comparison]) -> CriticalDifferenceFigure | None:
    """Ranks of several metrics on one data set are one observation: their mean."""
    places = list(dict.fromkeys(comparison.block.names["data"] for comparison in compared))
    names = _everywhere(compared)
    if len(places) < FEWEST or len(names) < 2:
        return None
    ranks = np.stack(
        [_mean_ranks([o for o in compared if o.block.names["data"] == p], names) for p in places]
    )
    # `friedman` takes scores of which the highest is best, and the best rank is the lowest.
    result = friedman(-ranks)
    return CriticalDifferenceFigure(
        title=f"{question.asked} Mean ranks over {len(places)} data sets (1 is best)",
        names=names,
        ranks=tuple(float(rank) for rank in result.ranks),
        groups=tuple(tuple(names[i] for i in group) for group in result.groups()),
        difference=result.critical_difference,
    )


def _everywhere(compared: Sequence[Comparison]) -> tuple[str, ...]:
    """The methods with a score in every comparison of half of them or more, on every data set."""
    names = dict.fromkeys(name for comparison in compared for name in comparison.names)
    places = {comparison.block.names["data"] for comparison in compared}
    return tuple(
        name
        for name in names
        if all(
            _share(name, [o for o in compared if o.block.names["data"] == p]) >= 0.5 for p in places
        )
    )


def _share(name: str, compared: Sequence[Comparison]) -> float:
    return sum(name in comparison.names for comparison in compared) / len(compared)


def _mean_ranks(compared: Sequence[Comparison], names: Sequence[str]) -> Floats:
    """`[M]` over comparisons in which at least one of the names has a score."""
    # A method without a score stays NaN, which `field_ranks` places last.
    table = np.full((len(compared), len(names)), np.nan)
    for row, comparison in zip(table, compared, strict=True):
        sign = 1 if comparison.column.higher_is_better else -1
        for place, name in enumerate(names):
            if name in comparison.names:
                row[place] = sign * comparison.means[comparison.names.index(name)]
    return np.asarray(field_ranks(table).mean(0))
