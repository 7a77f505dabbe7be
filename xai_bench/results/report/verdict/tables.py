"""Verdicts as tables: one line per question, and the standings of each."""

from __future__ import annotations

from collections.abc import Sequence

from xai_bench.results.questions import Question
from xai_bench.results.report.main_metrics import KEY_METRICS
from xai_bench.results.report.summary import Block, Column
from xai_bench.results.report.table import Entry, Head, Panel, Table, header, measured, title
from xai_bench.results.report.verdict.scope import place_names, scope
from xai_bench.results.report.verdict.standings import Standing
from xai_bench.results.report.verdict.verdict import Verdict, percent, points

N_SHOWN = 8
_N_VALUES = 2
_N_PLACES = 4
LEGEND = (
    "beats: the share of rivals that a method beats, over all comparisons (one metric on one data "
    "set), a tie counted half, with its 95 % interval. first: how often it comes first when "
    "samples, seeds and metrics are drawn anew. top: comparisons in which it is the best or not "
    "told apart from the best."
)
_RANDOM = " above random: comparisons in which it is better than random numbers, told apart."


def summary(verdicts: Sequence[Verdict]) -> Table:
    """A row per question: who wins, by how much, and how sure."""
    heads = ("winner", "beats", "ahead by", "next", "how sure")
    rows = tuple(
        (verdict.question.asked, tuple(map(Entry, _line(verdict)))) for verdict in verdicts
    )
    return Table(
        title="Verdict",
        caption="",
        panels=(Panel(tuple(Head("", head) for head in heads), rows, corner="question"),),
        legend="beats: the share of rivals that the winner beats over all comparisons.",
    )


def standings(verdict: Verdict, blocks: Sequence[Block]) -> Table:
    """The first methods of one question."""
    shown = verdict.standings[:N_SHOWN]
    against = verdict.question.against_random and any(s.n_with_random for s in shown)
    columns = key_columns(verdict.question, blocks)
    heads = ["beats", "first", "top", *(["above random"] if against else [])]
    heads += [header(column) for column in columns]
    rows = tuple(
        (
            standing.explainer,
            tuple(
                Entry(text, best=place == 0 and head == "beats")
                for head, text in zip(heads, _row(standing, against, columns, blocks), strict=True)
            ),
        )
        for place, standing in enumerate(shown)
    )
    return Table(
        title=verdict.question.asked,
        caption=_caption(verdict, columns, blocks),
        panels=(Panel(tuple(Head("", head) for head in heads), rows),),
        legend=LEGEND + (_RANDOM if against else ""),
    )


def key_columns(question: Question, blocks: Sequence[Block]) -> list[Column]:
    """The one or two metrics whose values stand beside the ranks."""
    by_label = {
        column.label: column
        for block in blocks
        for column in block.scored
        if column.category in question.categories
    }
    order = [c for name in KEY_METRICS for c in by_label.values() if c.metric == name]
    others = [column for column in by_label.values() if column not in order]
    return [*order, *others][:_N_VALUES]


def _line(verdict: Verdict) -> tuple[str, ...]:
    first = verdict.standings[0]
    second = verdict.standings[1] if len(verdict.standings) > 1 else None
    sure = f"{verdict.confidence} ({percent(first.first)})"
    if second is None:
        return first.explainer, percent(first.beaten), "–", "–", sure
    low, high = points(verdict.lead_low, unit=False), points(verdict.lead_high, unit=False)
    lead = f"{points(verdict.lead)} ({low} to {high})"
    return first.explainer, percent(first.beaten), lead, second.explainer, sure


def _row(
    standing: Standing, against: bool, columns: Sequence[Column], blocks: Sequence[Block]
) -> list[str]:
    span = f"{percent(standing.low, unit=False)} to {percent(standing.high, unit=False)}"
    texts = [
        f"{percent(standing.beaten)} ({span})",
        percent(standing.first),
        f"{standing.n_top} of {standing.n_compared}",
    ]
    if against:
        texts.append(f"{standing.n_above_random} of {standing.n_with_random}")
    return [*texts, *(_values(standing.explainer, column, blocks) for column in columns)]


def _values(explainer: str, column: Column, blocks: Sequence[Block]) -> str:
    """The means on every block in turn; their range where there are many."""
    texts, means = [], []
    for block in blocks:
        # Blocks may have other settings of a metric: the label is what they share.
        same = next((c for c in block.columns if c.label == column.label), None)
        number = block.numbers.get((explainer, same)) if same else None
        is_measured = number is not None and number.status == "ok"
        texts.append(measured(number.mean) if is_measured and number else "–")
        means += [number.mean] if is_measured and number else []
    if len(texts) <= _N_PLACES:
        return " · ".join(texts)
    return f"{measured(min(means))} to {measured(max(means))}" if means else "–"


def _caption(verdict: Verdict, columns: Sequence[Column], blocks: Sequence[Block]) -> str:
    left = len(verdict.standings) - N_SHOWN
    more = f"{left} more stand below these. " if left > 0 else ""
    if not columns or len(blocks) == 1:
        return more
    if len(blocks) > _N_PLACES:
        return f"{more}Means as a range over {scope(blocks)}."
    names = place_names(blocks)
    return f"{more}Means in the order {', '.join(names[title(block)] for block in blocks)}."
