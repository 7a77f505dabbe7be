"""All verdicts in one picture: the share of its rivals that each method beats, per question."""

from __future__ import annotations

from collections.abc import Sequence

from xai_bench.results.report.figures.lines import Dot, DotFigure
from xai_bench.results.report.table import Section
from xai_bench.results.report.verdict.standings import Standing
from xai_bench.results.report.verdict.verdict import Verdict

NAME = "verdict"
CAPTION = (
    "Verdict: the share of its rivals that each method beats. Diamond: the first; light blue: "
    "those that may come first with other samples, seeds and metrics."
)
_N_FIRST = 10
"""Methods of each question; more could not be read."""


def section(verdicts: Sequence[Verdict]) -> Section:
    """The picture alone; none where nothing can be compared."""
    return Section(lambda _: [], {}, {NAME: figure(verdicts)} if verdicts else {})


def figure(verdicts: Sequence[Verdict]) -> DotFigure:
    """The first methods of every question, in the order of the first question."""
    names = dict.fromkeys(s.explainer for v in verdicts for s in v.standings[:_N_FIRST])
    return DotFigure(
        title="Share of rivals beaten in percent, with 95 % intervals",
        names=tuple(names),
        n_controls=0,
        metrics={
            v.question.asked: tuple(_dot(s, v) for s in v.standings if s.explainer in names)
            for v in verdicts
        },
    )


def _dot(standing: Standing, verdict: Verdict) -> Dot:
    """Dark: the first; blue: those that may come first with other samples and metrics."""
    first = standing.explainer == verdict.winner
    rival = standing.explainer in verdict.contenders
    return Dot(
        name=standing.explainer,
        mean=100 * standing.beaten,
        low=100 * standing.low,
        high=100 * standing.high,
        standing="best" if first else "tied" if rival else "other",
    )
