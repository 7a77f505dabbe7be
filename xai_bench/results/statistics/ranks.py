"""Who wins, over metrics and data sets, and how little it takes that somebody else does.

A **field** is one comparison: one metric on one data set under one setting. Scores of different
units are never averaged: each field gives ranks, or skill where random and oracle are known.
Letters: `F` fields, `M` methods. Scores are higher-is-better; a method without a score in a field
shares the last places, so that leaving out what is hard never helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from xai_bench.results.statistics.intervals import Floats, Ints

EXACT = 7
"""Kemeny's order of this many methods is found by dynamic programming, of more by `milp`."""

MOST = 25
"""Of more methods than this `robustness` leaves Kemeny's order out: it takes minutes."""


def field_ranks(scores: Floats) -> Floats:
    """`[F, M]` scores -> ranks, 1 is best; ties share a rank, unscored methods the last ones."""
    # Unscored is worst, not left out: else a method would gain by refusing what is hard.
    worth = np.where(np.isfinite(scores), scores, -np.inf)
    ranks = np.empty(scores.shape)
    for field, own in enumerate(worth):  # counted, because importing scipy.stats takes longer
        n_better, n_as_good = ((own > own[:, None]).sum(1), (own == own[:, None]).sum(1))
        ranks[field] = n_better + (n_as_good + 1) / 2
    return ranks


def mean_rank(scores: Floats) -> Floats:
    """`[M]`, lower is better."""
    return np.asarray(field_ranks(scores).mean(0))


def borda(scores: Floats) -> Floats:
    """`[M]` how many others are beaten, over all fields, a tie counted half; higher is better."""
    return np.asarray((scores.shape[1] - field_ranks(scores)).sum(0))


def preferences(scores: Floats) -> Floats:
    """`[M, M]` in how many fields the row's method is better than the column's."""
    ranks = field_ranks(scores)
    return np.asarray((ranks[:, :, None] < ranks[:, None]).sum(0), dtype=float)


def kemeny(scores: Floats) -> tuple[int, ...]:
    """The order, best first, that contradicts the fewest pairs of methods in fields.

    Exact (Kemeny 1959). Of several such orders, among up to `EXACT` methods the first by their
    numbers, among more the one that the solver finds.
    """
    wins = preferences(scores)
    return _by_subsets(wins) if len(wins) <= EXACT else _by_integers(wins)


def pareto_front(scores: Floats) -> tuple[int, ...]:
    """The methods that no other equals everywhere and beats somewhere; `[F, M]` scores."""
    worth = np.where(np.isfinite(scores), scores, -np.inf)
    no_worse = (worth[:, :, None] >= worth[:, None]).all(0)
    better = (worth[:, :, None] > worth[:, None]).any(0)
    dominated = (no_worse & better).any(0)
    return tuple(int(i) for i in np.flatnonzero(~dominated))


def skill(scores: Floats, random: Floats, oracle: Floats) -> Floats:
    """`[F, M]`, `[F]`, `[F]` -> (score - random) / (oracle - random); NaN where both are equal."""
    span = oracle - random
    usable = np.isfinite(span) & (span != 0)
    safe = np.where(usable, span, 1.0)[:, None]
    return np.where(usable[:, None], (scores - random[:, None]) / safe, np.nan)


def by_mean_rank(scores: Floats) -> Floats:
    """`[M]` worth: higher is better."""
    return -mean_rank(scores)


def by_kemeny(scores: Floats) -> Floats:
    """`[M]` worth: minus the place in Kemeny's order."""
    return -np.argsort(np.array(kemeny(scores))).astype(float)


def by_wins(scores: Floats) -> Floats:
    """`[M]` the number of fields won, shared where several are first."""
    # A field with several first gives each a share, so that every field counts once.
    first = field_ranks(scores) == field_ranks(scores).min(1, keepdims=True)
    return np.asarray((first / first.sum(1, keepdims=True)).sum(0))


AGGREGATORS: Mapping[str, Callable[[Floats], Floats]] = {
    "mean rank": by_mean_rank,
    "Borda": borda,
    "Kemeny": by_kemeny,
    "wins": by_wins,
}
"""Name -> `[F, M]` scores to `[M]` worth. Mean rank and Borda agree where nothing is missing."""


@dataclass(frozen=True)
class Variation:
    """One way to look: which fields were used, how they were aggregated, and who won."""

    axis: str
    setting: str
    n_fields: int
    winners: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Robustness:
    """How much the winner depends on how one looks.

    Attributes:
        winners: of all fields by mean rank; several where they tie.
        share: `[M]` the share of variations that each method wins, ties shared.
        best_rank, worst_rank: `[M]` the rank interval over all variations.
        variations: every way that was tried.
        dethroned_by: the smallest change after which the winner wins no longer: the fields left
            out, by number; empty where there is none, as where the winner is best everywhere.
        unbeatable: no subset of fields has another winner.
    """

    winners: tuple[int, ...]
    share: Floats
    best_rank: Ints
    worst_rank: Ints
    variations: tuple[Variation, ...]
    dethroned_by: tuple[int, ...]
    unbeatable: bool


def robustness(scores: Floats, axes: Mapping[str, Sequence[str]]) -> Robustness:
    """`[F, M]` scores, and per axis (`metric`, `data`, `seed`, ...) the value of each field `[F]`.

    Variations: every aggregator on all fields; for each axis every single value alone, and every
    value left out.
    """
    tried = list(_variations(scores, axes))
    places = np.array([_places(worth) for _, worth in tried])
    variations = tuple(variation for variation, _ in tried)
    won = np.zeros((len(variations), scores.shape[1]))
    for row, variation in zip(won, variations, strict=True):
        row[list(variation.winners)] = 1 / len(variation.winners)
    winners = _winners(by_mean_rank(scores))
    dethroned = smallest_change(scores)
    return Robustness(
        winners=winners,
        share=won.mean(0),
        best_rank=places.min(0),
        worst_rank=places.max(0),
        variations=variations,
        dethroned_by=dethroned or (),
        unbeatable=dethroned is None,
    )


def smallest_change(scores: Floats) -> tuple[int, ...] | None:
    """The fewest fields to leave out so that another method has the best mean rank alone.

    For one rival, leaving out the fields where the winner gains most on it is the best there is.
    None where no rival is ahead in any field. Where several share the first place, nothing has to
    be left out: ().
    """
    winners = _winners(by_mean_rank(scores))
    if len(winners) > 1:
        return ()
    ranks = field_ranks(scores)
    changes: list[tuple[int, ...]] = []
    for rival in range(scores.shape[1]):
        gains = ranks[:, rival] - ranks[:, winners[0]]
        if rival == winners[0] or not (gains < 0).any():
            continue
        order = np.argsort(-gains, kind="stable")
        # Without its best fields the winner's lead shrinks as fast as it can: no other set of that
        # size does more, so the first sign change is the smallest.
        lead = gains.sum() - np.cumsum(gains[order])
        changes.append(tuple(sorted(int(f) for f in order[: int(np.argmax(lead < 0)) + 1])))
    return min(changes, key=len) if changes else None


def _variations(
    scores: Floats, axes: Mapping[str, Sequence[str]]
) -> Iterator[tuple[Variation, Floats]]:
    everything = np.arange(len(scores))
    for name, worth in AGGREGATORS.items():
        if worth is by_kemeny and scores.shape[1] > MOST:
            continue
        yield _variation("aggregator", name, scores, worth)
    for axis, values in axes.items():
        distinct = dict.fromkeys(values)
        if len(distinct) < 2:
            continue
        for value in distinct:
            mine = np.array([other == value for other in values])
            yield _variation(axis, value, scores[everything[mine]], by_mean_rank)
            # Of two values, leaving one out is taking the other alone.
            if len(distinct) > 2:
                others = scores[everything[~mine]]
                yield _variation(axis, f"without {value}", others, by_mean_rank)


def _variation(
    axis: str, setting: str, scores: Floats, aggregate: Callable[[Floats], Floats]
) -> tuple[Variation, Floats]:
    worth = aggregate(scores)
    return Variation(axis, setting, len(scores), _winners(worth)), worth


def _winners(worth: Floats) -> tuple[int, ...]:
    # Means of ranks that are equal may differ by rounding.
    return tuple(int(i) for i in np.flatnonzero(worth >= worth.max() - 1e-9))


def _places(worth: Floats) -> Ints:
    """1 for the best; ties share the better place."""
    return np.asarray((worth[:, None] < worth - 1e-9).sum(1) + 1)


def _by_subsets(wins: Floats) -> tuple[int, ...]:
    """Held and Karp's recursion over sets of methods placed first; `wins [M, M]`."""
    n = len(wins)
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for size in range(1, n + 1):
        for members in combinations(range(n), size):
            key = sum(1 << m for m in members)
            options = []
            for last in members:
                cost, order = best[key ^ (1 << last)]
                # Whoever stands before `last` is contradicted wherever `last` was better.
                options.append((cost + sum(wins[last, m] for m in order), (*order, last)))
            # Of equal costs the smallest order, that is the first by the numbers of the methods.
            best[key] = min(options)
    return best[(1 << n) - 1][1]


def _by_integers(wins: Floats) -> tuple[int, ...]:
    """A 0/1 variable per pair, and no cycle of three (Conitzer, Davenport and Kalagnanam 2006).

    Raises RuntimeError where the solver ends without an optimum.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import lil_array

    n = len(wins)
    pairs = {pair: k for k, pair in enumerate(combinations(range(n), 2))}
    cost = np.array([wins[j, i] - wins[i, j] for i, j in pairs])
    triples = list(combinations(range(n), 3))
    rows = lil_array((len(triples), len(pairs)))
    for row, (i, j, k) in enumerate(triples):
        # Between 0 and 1, which neither cycle of the three is: they give 2 and -1.
        rows[row, pairs[i, j]], rows[row, pairs[j, k]], rows[row, pairs[i, k]] = 1, 1, -1
    solution = milp(
        cost,
        constraints=LinearConstraint(rows.tocsr(), 0, 1),
        integrality=np.ones(len(pairs)),
        bounds=Bounds(0, 1),
    )
    if solution.x is None:
        raise RuntimeError(f"Kemeny's order of {n} methods was not found: {solution.message}")
    before = np.zeros(n)
    for (i, j), k in pairs.items():
        before[j if solution.x[k] > 0.5 else i] += 1
    return tuple(int(m) for m in np.argsort(before, kind="stable"))
