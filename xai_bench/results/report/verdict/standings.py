"""How often each method beats the others, over all metrics of a question and all data sets.

Scores of different units are never averaged: in every comparison (one metric on one data set) a
method gets the share of its rivals that it beats, a tie counting half, and those shares are
averaged. That is Borda's count, between 0 and 1. How sure the order is comes from resampling: test
rows and seeds, crossed, and the metrics, so that an order that rests on one metric is not sure.
Letters: `E` methods, `N` rows (samples under all seeds), `R` resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numpy.random import PCG64, Generator

from xai_bench.results.questions import QUESTIONS, Question
from xai_bench.results.report.aligned import joined
from xai_bench.results.report.stats import SAME
from xai_bench.results.report.summary import Block, Column

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

N_RESAMPLES = 1000
RANDOM = "random"
_SURE = 0.975


@dataclass(frozen=True, eq=False)
class Comparison:
    """All methods on one metric of one block.

    Attributes:
        names: the methods that have a score.
        beaten: `[R + 1, E]` the share of rivals beaten, as measured and then in each resample.
        above_random: `[E]` whether it is told apart from random numbers, and better; empty where
            there is no such control.
        means: `[E]`, as in tables.
        is_top: method -> it is the best, or not told apart from the best.
    """

    block: Block
    column: Column
    names: tuple[str, ...]
    beaten: Floats
    above_random: npt.NDArray[np.bool_]
    means: Floats
    is_top: dict[str, bool]


@dataclass(frozen=True)
class Standing:
    """One method in one question.

    Attributes:
        beaten, low, high: the mean share of rivals beaten and its 95 % interval.
        first: the share of resamples in which it comes first.
        n_top: comparisons in which it is the best or not told apart from the best.
        n_above_random: comparisons in which it is better than random numbers, told apart.
        n_compared: comparisons that it has a score in; `n_with_random` of them have the control.
    """

    explainer: str
    beaten: float
    low: float
    high: float
    first: float
    n_top: int
    n_above_random: int
    n_compared: int
    n_with_random: int


@dataclass(frozen=True, eq=False)
class Ranking:
    """Standings, best first, and the lead of the first over the second with its interval."""

    standings: tuple[Standing, ...]
    lead: float
    lead_low: float
    lead_high: float


def comparisons(blocks: Sequence[Block]) -> dict[Question, list[Comparison]]:
    """Of each question every metric on every block, where two methods or more have a score."""
    return {question: list(_comparisons(blocks, question.categories)) for question in QUESTIONS}


def _comparisons(blocks: Sequence[Block], categories: Sequence[str]) -> Iterator[Comparison]:
    for block in blocks:
        for column in block.scored:
            made = _comparison(block, column) if column.category in categories else None
            if made is not None:
                yield made


def ranking(compared: Sequence[Comparison], *, seed: int = 0) -> Ranking:
    """Methods that have a score in less than half of the comparisons are not ranked."""
    names = tuple(dict.fromkeys(name for comparison in compared for name in comparison.names))
    n = {name: sum(name in comparison.names for comparison in compared) for name in names}
    names = tuple(name for name in names if 2 * n[name] >= len(compared))
    if not names:
        return Ranking((), math.nan, math.nan, math.nan)
    beaten = _averaged(compared, names, _metric_draws(compared, seed))
    draws = beaten[1:]
    # Those that tie for the first place share it, so that the shares sum to 1.
    top = draws == draws.max(1, keepdims=True)
    first = (top / top.sum(1, keepdims=True)).mean(0)
    low, high = np.quantile(draws, (0.025, 0.975), axis=0)
    values = np.stack([beaten[0], low, high, first])
    # Names decide at last, so that the same store always gives the same order.
    order = sorted(range(len(names)), key=lambda i: (-beaten[0, i], -first[i], names[i]))
    standings = tuple(
        Standing(names[i], *values[:, i].tolist(), *_counts(compared, names[i])) for i in order
    )
    return Ranking(standings, *_lead(beaten, order))


def _comparison(block: Block, column: Column) -> Comparison | None:
    rivals = [n for n in block.methods if block.numbers[n, column].status == "ok"]
    if len(rivals) < 2:
        return None
    # Last, where `_above` looks for it; it is compared with and is nobody's rival.
    control = [RANDOM] if RANDOM in block.explainers else []
    scores, seeds, rows = joined(block.cell_scores([*rivals, *control], column))
    worth = _means(scores if column.higher_is_better else -scores, weights(seeds, rows))
    margin = SAME * float(np.nanmax(np.abs(scores)))
    numbers = [block.numbers[name, column] for name in rivals]
    return Comparison(
        block=block,
        column=column,
        names=tuple(rivals),
        beaten=_beaten(worth[:, : len(rivals)], margin),
        above_random=_above(worth[1:], margin) if control else np.zeros(0, dtype=bool),
        means=np.array([number.mean for number in numbers]),
        is_top={number.explainer: number.best or number.tied for number in numbers},
    )


def _above(worth: Floats, margin: float) -> npt.NDArray[np.bool_]:
    """`[R, E + 1] -> [E]`: better than the last column, in nearly all resamples."""
    better = worth[:, :-1] > worth[:, -1:] + margin
    return np.asarray(better.mean(0) >= _SURE)


def weights(seeds: Ints, rows: Ints) -> Floats:
    """`[N], [N] -> [R + 1, N]`: how often each row counts; first once each, then as drawn.

    A resample draws seeds and, apart from that, test rows (Owen 2007, arXiv:0712.1111).
    """
    return _weights(seeds.astype(np.int64).tobytes(), rows.astype(np.int64).tobytes())


@lru_cache(maxsize=2)
def _weights(seeds: bytes, rows: bytes) -> Floats:
    """All metrics of a block have the same rows, and their draws take longer than all else."""
    # The same draws for all metrics of a block: what is hard in a resample is so for each of them.
    generator = Generator(PCG64(0))
    places = [np.frombuffer(ids, dtype=np.int64) for ids in (rows, seeds)]
    drawn = _draws(places[0], generator) * _draws(places[1], generator)
    return np.concatenate([np.ones((1, len(places[0]))), drawn])


def _draws(ids: Ints, generator: Generator) -> Floats:
    """`[N] -> [R, N]`: as many distinct ids as there are, with replacement."""
    distinct, place = np.unique(ids, return_inverse=True)
    even = np.full(len(distinct), 1 / len(distinct))
    counts = generator.multinomial(len(distinct), even, size=N_RESAMPLES)
    return np.asarray(counts[:, place], dtype=np.float64)


def _means(scores: Floats, counts: Floats) -> Floats:
    """`[E, N], [R + 1, N] -> [R + 1, E]` means over the rows that all have a score in.

    Where those are less than half of all rows, over the rows that each has a score in.
    """
    finite = np.isfinite(scores)
    # A method that is scored on the easy samples only must not gain from that.
    common = finite[finite.any(1)].all(0)
    counted = finite & common if 2 * common.sum() >= scores.shape[1] else finite
    sums = counts @ np.where(counted, scores, 0.0).T
    totals = counts @ counted.T.astype(float)
    return np.asarray(np.divide(sums, totals, out=np.full_like(sums, np.nan), where=totals > 0))


def _beaten(worth: Floats, margin: float) -> Floats:
    """`[R + 1, E] -> [R + 1, E]`: the share of the others that are worse, ties counted half."""
    gap = worth[:, :, None] - worth[:, None]
    # The mean of "better" and "not worse" counts a tie half. Each method ties with itself.
    points = ((gap > margin).sum(2) + (gap >= -margin).sum(2)) / 2
    return np.asarray((points - 0.5) / (worth.shape[1] - 1))


def _metric_draws(compared: Sequence[Comparison], seed: int) -> Floats:
    """`[R + 1, comparisons]`: metrics are drawn with replacement, on all blocks alike."""
    metrics = [comparison.column.metric for comparison in compared]
    distinct = list(dict.fromkeys(metrics))
    place = np.array([distinct.index(metric) for metric in metrics])
    even = np.full(len(distinct), 1 / len(distinct))
    generator = Generator(PCG64(seed))
    counts = generator.multinomial(len(distinct), even, size=N_RESAMPLES)[:, place]
    return np.concatenate([np.ones((1, len(compared))), counts])


def _averaged(compared: Sequence[Comparison], names: Sequence[str], counts: Floats) -> Floats:
    """`[R + 1, E]`: the mean share beaten over the comparisons that a method has a score in."""
    sums = np.zeros((len(counts), len(names)))
    totals = np.zeros_like(sums)
    for comparison, count in zip(compared, counts.T, strict=True):
        for place, name in enumerate(names):
            if name in comparison.names:
                sums[:, place] += count * comparison.beaten[:, comparison.names.index(name)]
                totals[:, place] += count
    # A resample without any metric that a method has a score in says nothing of it: as measured.
    measured = np.broadcast_to(sums[:1] / totals[:1], sums.shape).copy()
    return np.asarray(np.divide(sums, totals, out=measured, where=totals > 0))


def _counts(compared: Sequence[Comparison], name: str) -> Iterator[int]:
    mine = [c for c in compared if name in c.names]
    controlled = [c for c in mine if len(c.above_random)]
    yield sum(c.is_top[name] for c in mine)
    yield sum(bool(c.above_random[c.names.index(name)]) for c in controlled)
    yield len(mine)
    yield len(controlled)


def _lead(beaten: Floats, order: Sequence[int]) -> tuple[float, float, float]:
    if len(order) < 2:
        return math.nan, math.nan, math.nan
    gap = beaten[:, order[0]] - beaten[:, order[1]]
    low, high = np.quantile(gap[1:], (0.025, 0.975))
    return float(gap[0]), float(low), float(high)
