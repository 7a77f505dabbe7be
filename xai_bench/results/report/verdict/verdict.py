"""What a study says, question by question: the winner, by how much, how sure, and where not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from xai_bench.results.questions import Question
from xai_bench.results.report.table import header, measured, title
from xai_bench.results.report.verdict.scope import grouped, place_names, scope, somewhere
from xai_bench.results.report.verdict.standings import (
    Comparison,
    Ranking,
    Standing,
    ranking,
)
from xai_bench.results.report.words import count, listed

SURE, LIKELY = 0.95, 0.8
N_EXCEPTIONS = 3
"""As many exceptions are read at once; the others stand with the details."""
# A method that comes first less often is out of question at the level that intervals have.
_RIVAL = 0.05
_N_PAIRS = 2


@dataclass(frozen=True, eq=False)
class Verdict:
    """The answer to one question.

    Attributes:
        standings: the methods, best first.
        lead, lead_low, lead_high: by how large a share of rivals the first is ahead of the second.
        contenders: the winner and all who come first in a twentieth of the resamples or more.
        exceptions: where the winner does not win, one sentence each.
        failing: methods that are better than random numbers in less than half of the comparisons.
        metrics, scope: what was measured, and on what.
    """

    question: Question
    standings: tuple[Standing, ...]
    lead: float
    lead_low: float
    lead_high: float
    contenders: tuple[str, ...]
    exceptions: tuple[str, ...]
    failing: tuple[str, ...]
    metrics: tuple[str, ...]
    scope: str

    @property
    def winner(self) -> str:
        return self.standings[0].explainer

    @property
    def is_open(self) -> bool:
        """Whether more than one method may come first."""
        return self.standings[0].first < LIKELY

    @property
    def confidence(self) -> str:
        first = self.standings[0].first
        return "sure" if first >= SURE else "likely" if first >= LIKELY else "open"

    @property
    def headline(self) -> str:
        """One line: who, and how sure."""
        if self.is_open and len(self.contenders) > 1:
            return f"open between {listed(grouped(self.contenders))}"
        return f"{self.winner} ({self.confidence})"

    @property
    def paragraph(self) -> str:
        """Plain words for who reads nothing else."""
        return " ".join(filter(None, self._sentences()))

    def _sentences(self) -> Iterator[str]:
        first = self.standings[0]
        yield (
            f"{first.explainer} {self.question.praise}: it beats {percent(first.beaten)} of its "
            f"rivals (95 % interval {percent(first.low, unit=False)} to {percent(first.high)}), on "
            f"average over {count(first.n_compared, 'comparison')}: "
            f"{count(len(self.metrics), 'metric')} on {self.scope}."
        )
        yield self._margin()
        yield self._sureness()
        if self.failing:
            yield (f"In most comparisons no better than random numbers: {listed(self.failing)}.")

    def _margin(self) -> str:
        if len(self.standings) < 2:
            return ""
        second = self.standings[1]
        return (
            f"Next is {second.explainer} with {percent(second.beaten)}, "
            f"{points(self.lead)} behind ({points(self.lead_low, unit=False)} to "
            f"{points(self.lead_high)})."
        )

    def _sureness(self) -> str:
        share = percent(self.standings[0].first)
        if not self.is_open:
            return (
                f"This is {self.confidence}: other samples, seeds and metrics of the same kind "
                f"give the same winner {share} of the time."
            )
        others = [name for name in self.contenders if name != self.winner]
        if not others:
            return f"This is open: the same winner comes out {share} of the time."
        return (
            f"This is open: with other samples, seeds and metrics of the same kind it comes first "
            f"only {share} of the time, else {listed(grouped(others), 'or')}."
        )


def verdicts(compared: Mapping[Question, Sequence[Comparison]]) -> list[Verdict]:
    """One per question that the study has measured of two methods or more, in order."""
    made = [_verdict(question, some) for question, some in compared.items() if some]
    return [verdict for verdict in made if verdict is not None]


def percent(share: float, *, unit: bool = True) -> str:
    return f"{100 * share:.0f}{' %' if unit else ''}"


def points(share: float, *, unit: bool = True) -> str:
    """A difference of shares."""
    text = f"{100 * share:.0f}".replace("-", "−")
    # A small negative share rounds to minus zero.
    text = text if text != "−0" else "0"
    return f"{text} point{'' if text == '1' else 's'}" if unit else text


def _verdict(question: Question, compared: Sequence[Comparison]) -> Verdict | None:
    order = ranking(compared)
    if not order.standings:
        return None
    contenders = [s.explainer for s in order.standings[1:] if s.first >= _RIVAL]
    return Verdict(
        question=question,
        standings=order.standings,
        lead=order.lead,
        lead_low=order.lead_low,
        lead_high=order.lead_high,
        contenders=(order.standings[0].explainer, *contenders),
        exceptions=tuple(_exceptions(order, compared)),
        failing=_failing(order) if question.against_random else (),
        metrics=tuple(dict.fromkeys(c.column.metric for c in compared)),
        scope=scope([c.block for c in compared]),
    )


def _failing(order: Ranking) -> tuple[str, ...]:
    return tuple(
        s.explainer
        for s in order.standings
        if s.n_with_random and 2 * s.n_above_random < s.n_with_random
    )


def _exceptions(order: Ranking, compared: Sequence[Comparison]) -> list[str]:
    """Data sets with another winner, then the metrics in which the winner is furthest behind."""
    winner, names = (
        order.standings[0].explainer,
        place_names([c.block for c in compared]),
    )
    places = list(dict.fromkeys(title(c.block) for c in compared))
    elsewhere = [
        _elsewhere(
            winner,
            names[place],
            [c for c in compared if title(c.block) == place],
        )
        for place in (places if len(places) > 1 else [])
    ]
    behind: dict[str, list[Comparison]] = {}
    lost = [c for c in compared if not c.is_top.get(winner, True)]
    for c in sorted(lost, key=lambda c: c.beaten[0, c.names.index(winner)]):
        behind.setdefault(c.column.label, []).append(c)
    return [*filter(None, elsewhere), *(_behind(winner, some, names) for some in behind.values())]


def _elsewhere(winner: str, place: str, compared: Sequence[Comparison]) -> str:
    """Who wins on one data set, where the winner of all hardly ever does."""
    standings = ranking(compared).standings
    mine = next((s for s in standings if s.explainer == winner), None)
    if mine is None or mine.first >= _RIVAL:
        return ""
    return (
        f"on {place} {standings[0].explainer} beats {percent(standings[0].beaten)} of its rivals, "
        f"{winner} {percent(mine.beaten)}"
    )


def _behind(winner: str, compared: Sequence[Comparison], names: Mapping[str, str]) -> str:
    """Where another method has the better scores of one metric."""
    rival = _best(compared[0])
    pairs = dict.fromkeys(
        " against ".join(measured(c.means[c.names.index(name)]) for name in (rival, winner))
        for c in compared
        if rival in c.names
    )
    where = somewhere([c.block for c in compared], names)
    alone = {_best(c) for c in compared} == {rival}
    values = f" ({', '.join(pairs)})" if alone and len(pairs) <= _N_PAIRS else ""
    ahead = f"{rival} is" if alone else "others are"
    return f"in {header(compared[0].column)} {ahead} ahead {where}{values}"


def _best(comparison: Comparison) -> str:
    return next(
        name for name in comparison.names if comparison.block.numbers[name, comparison.column].best
    )
