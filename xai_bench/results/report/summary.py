"""From per-sample scores to the numbers of tables: one block per comparable set of cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_bench.results.report import comparability, stats
from xai_bench.results.report.comparability import NAMES, Listing
from xai_bench.results.report.regimes import natural
from xai_bench.results.statistics.intervals import Flags, Floats, Ints
from xai_bench.results.store.store import Store
from xai_bench.results.values import Cell, ExplainerResult, Outcome, Scores

if TYPE_CHECKING:
    from pandas import DataFrame

CATEGORIES = (
    "truth", "fidelity", "distribution", "stability", "randomisation", "complexity",
    "plausibility", "fairness", "counterfactual", "surrogate", "cost",
)  # fmt: skip
CONTROL = "controls"


@dataclass(frozen=True)
class Column:
    """One metric of a table: its content address, and a label, its name if that is enough."""

    metric: str
    key: str
    label: str
    category: str
    higher_is_better: bool


@dataclass(frozen=True)
class Number:
    """One number of a table, and everything needed to trace it.

    Attributes:
        status: `ok`, `unscored` (no sample has a score), `skipped`, `failed` or `absent`.
        reasons: why it, or a part of it, is missing.
        cells, explanations: content addresses of what it was computed from.
    """

    explainer: str
    column: Column
    mean: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    best: bool
    tied: bool
    skill: float
    n_scored: int
    n_samples: int
    status: str
    reasons: tuple[str, ...]
    cells: tuple[str, ...]
    explanations: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Block:
    """What is compared in one table: the same names and settings under one or more seeds.

    Attributes:
        variant: what tells it from another block of the same names, e.g. `model.width=32`.
        explainers: methods by family, then controls.
        n_controls: how many of the explainers, at the end, are controls.
        listing: the cells with their explanations, for whoever needs the samples.
    """

    cells: tuple[Cell, ...]
    variant: str
    explainers: tuple[str, ...]
    n_controls: int
    columns: tuple[Column, ...]
    numbers: Mapping[tuple[str, Column], Number]
    listing: Listing

    @property
    def names(self) -> dict[str, str]:
        return {name: getattr(self.cells[0], name) for name in NAMES}

    @cached_property
    def regimes(self) -> dict[str, tuple[str, ...]]:
        """Explainer -> the regimes under which it competes."""
        known = [(e.explainer, e.regime) for _, explanations in self.listing for e in explanations]
        return {
            name: tuple(dict.fromkeys(one for other, one in known if other == name))
            for name in self.explainers
        }

    @property
    def methods(self) -> tuple[str, ...]:
        """The explainers that are no controls."""
        return self.explainers[: len(self.explainers) - self.n_controls]

    @cached_property
    def scored(self) -> tuple[Column, ...]:
        """The metrics that at least one explainer has a score or a failure in."""
        return tuple(c for c in self.columns if any(n.status != "skipped" for n in self.of(c)))

    @cached_property
    def unscored(self) -> dict[str, str]:
        """The metrics that every explainer skips, with the reasons."""
        left = [c for c in self.columns if c not in self.scored]
        reasons = {c.label: [r for n in self.of(c) for r in n.reasons] for c in left}
        return {label: "; ".join(dict.fromkeys(found)) for label, found in reasons.items()}

    def of(self, column: Column) -> list[Number]:
        return [self.numbers[explainer, column] for explainer in self.explainers]


def blocks(store: Store, study: str) -> list[Block]:
    """Raises ValueError where there is no such study."""
    groups = comparability.comparable(store.cells(study, attributions=False))
    return [_block(listing, variant) for variant, listing in groups]


def frame(study: str, found: Iterable[Block]) -> DataFrame:
    """Long, one row per number: what every table says, with the keys it comes from."""
    import pandas as pd

    rows = [_row(study, block, number) for block in found for number in block.numbers.values()]
    return pd.DataFrame(rows)


def _row(study: str, block: Block, number: Number) -> dict[str, Any]:
    column = number.column
    values = {f.name: getattr(number, f.name) for f in fields(number) if f.name != "column"}
    return {
        "study": study,
        **block.names,
        "variant": block.variant,
        "seeds": " ".join(str(cell.seed) for cell in block.cells),
        "explainer": values.pop("explainer"),
        "regime": "; ".join(filter(None, block.regimes[number.explainer])),
        "category": column.category,
        "metric": column.metric,
        "higher_is_better": column.higher_is_better,
        **{k: " ".join(v) if k in ("cells", "explanations") else v for k, v in values.items()},
        "reasons": "; ".join(number.reasons),
        "metric_key": column.key,
    }


def _block(listing: Listing, variant: str) -> Block:
    everyone = [e for _, explanations in listing for e in explanations]
    families = {e.explainer: e.category for e in everyone}
    order = sorted(families, key=lambda n: (families[n] == CONTROL, families[n], natural(n)))
    ranked = np.array([families[name] != CONTROL for name in order], dtype=bool)
    columns = _columns(everyone)
    numbers = {
        (number.explainer, column): number
        for column in columns
        for number in _numbers(listing, order, column, ranked)
    }
    cells = tuple(cell for cell, _ in listing)
    return Block(cells, variant, tuple(order), int((~ranked).sum()), columns, numbers, listing)


def _columns(explanations: Sequence[ExplainerResult]) -> tuple[Column, ...]:
    """Settings of one metric that changed between cells get a column each."""
    found = {(s.metric, s.key): s for e in explanations for s in e.scores.values()}
    names = Counter(metric for metric, _ in found)
    columns = [
        Column(
            metric=metric,
            key=key,
            label=metric if names[metric] == 1 else f"{metric} ({key[:4]})",
            category=one.category,
            higher_is_better=one.higher_is_better,
        )
        for (metric, key), one in found.items()
    ]
    return tuple(sorted(columns, key=_column_order))


def _numbers(
    listing: Listing, explainers: list[str], column: Column, ranked: Flags
) -> list[Number]:
    """One number per explainer, compared over all cells."""
    parts = [share(cell, explanations, explainers, column) for cell, explanations in listing]
    found = stats.compare(
        np.concatenate([part.scores for part in parts], axis=1),
        np.concatenate([part.seeds for part in parts]),
        np.concatenate([part.rows for part in parts]),
        higher_is_better=column.higher_is_better,
        ranked=ranked,
    )
    skills = stats.skill(found.mean, explainers)
    return [
        Number(
            explainer=name,
            column=column,
            **_values(found, place),
            skill=float(skills[place]),
            n_samples=sum(len(part.rows) for part in parts),
            **_fate([part.outcomes[place] for part in parts], int(found.n_scored[place])),
            cells=tuple(cell.key for cell, _ in listing),
            explanations=tuple(dict.fromkeys(part.keys[place] for part in parts)),
        )
        for place, name in enumerate(explainers)
    ]


@dataclass(frozen=True, eq=False)
class Share:
    """One cell's share of a metric, with an outcome and a key per explainer.

    `scores [E, N]`, `seeds [N]`, `rows [N]`.
    """

    scores: Floats
    seeds: Ints
    rows: Ints
    outcomes: list[Outcome | None]
    keys: list[str]


def share(
    cell: Cell, explanations: Sequence[ExplainerResult], explainers: list[str], column: Column
) -> Share:
    known = {e.explainer: e for e in explanations}
    rows = np.unique(np.concatenate([[], *(e.index.numpy() for e in explanations)])).astype(int)
    scores = np.full((len(explainers), len(rows)), np.nan)
    outcomes: list[Outcome | None] = []
    for place, name in enumerate(explainers):
        one = known.get(name)
        found = None if one is None else one.scores.get(column.metric)
        found = found if found is not None and found.key == column.key else None
        outcomes.append(_outcome(one, found))
        if one is not None and found is not None and found.outcome.status == "ok":
            scores[place, np.searchsorted(rows, one.index.numpy())] = found.values.numpy()
    keys = [known[name].key if name in known else "" for name in explainers]
    return Share(scores, np.full(len(rows), cell.seed), rows, outcomes, keys)


def _outcome(one: ExplainerResult | None, found: Scores | None) -> Outcome | None:
    if found is not None:
        return found.outcome
    return one.outcome if one is not None and one.outcome.status != "ok" else None


def _fate(outcomes: Sequence[Outcome | None], n_scored: int) -> dict[str, Any]:
    """Status and reasons over the cells; the worst counts only where nothing is scored."""
    known = [outcome for outcome in outcomes if outcome is not None]
    met = {outcome.status for outcome in known}
    worst = next((s for s in ("failed", "skipped") if s in met), "unscored" if known else "absent")
    reasons = dict.fromkeys(outcome.reason for outcome in known if outcome.status != "ok")
    return {"status": "ok" if n_scored else worst, "reasons": tuple(reasons), "n_scored": n_scored}


def _values(found: stats.Comparison, place: int) -> dict[str, Any]:
    names = ("mean", "low", "high", "difference", "difference_low", "difference_high")
    values: dict[str, Any] = {name: float(getattr(found, name)[place]) for name in names}
    return {**values, "best": bool(found.best[place]), "tied": bool(found.tied[place])}


def _column_order(column: Column) -> tuple[int, str, str]:
    known = column.category in CATEGORIES
    place = CATEGORIES.index(column.category) if known else len(CATEGORIES) - 2
    return place, column.category, column.label
