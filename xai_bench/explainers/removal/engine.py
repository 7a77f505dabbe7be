"""From values of coalitions to credits of units, for samples with any number of units."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.core import units
from xai_bench.core.coalitions import Game, Renamed
from xai_bench.explainers.estimates import require_ascending
from xai_bench.types import Answer, Baseline, Inputs, Model, Rng, Rows, Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class Credits:
    """What the units of samples with the same number of units get.

    Attributes:
        values: `[b, u]`.
        errors: `[b, u]` standard errors of `values`, NaN where there are too few draws to tell, or
            None where nothing is drawn.
        pairs: `[b, u, u]`, what units do in pairs, for schemes that tell.
        freedom: degrees of freedom of the errors, infinite where nothing is drawn, for schemes that
            tell, whatever the sample.
    """

    values: Tensor
    errors: Tensor | None = None
    pairs: Tensor | None = None
    freedom: float | None = None


class Scheme(Protocol):
    """Which coalitions to ask for, the same for all samples, and what to make of the answers.

    Every method sees samples with the same number of units `u`, so there is no padding.
    """

    @property
    def baseline(self) -> Baseline: ...

    def coalitions(self, n_units: int) -> Tensor:
        """`kept [K, u]` bool."""
        ...

    def solve(self, kept: Tensor, values: Tensor) -> Credits:
        """`kept [K, u], values [b, K]` float64 to the credits of the units."""
        ...


class Sampler(Protocol):
    """A scheme whose coalitions are drawn: those for few are the first of those for more.

    One design serves all samples, so that what depends on it alone is computed once. For each
    sample its units are shuffled first: which of them go together is drawn anew, and a draw that
    is bad for one unit of one sample says nothing about the next. So no unit may have a place of
    its own in a design: any renaming of the units must be as likely.
    """

    @property
    def baseline(self) -> Baseline: ...

    def least(self, n_units: int) -> int:
        """How many coalitions it takes at the least."""
        ...

    def n_coalitions(self, n_units: int, most: int) -> int:
        """How many it asks for where it may ask for `most`, which are enough."""
        ...

    def plan(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        """`kept [K, u]` bool, or the shares that stay; `rng` has one row, `K = n_coalitions`."""
        ...

    def solve(self, kept: Tensor, values: Tensor) -> Credits: ...


def explained(scheme: Scheme, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
    """`[B, *S]`: each unit's credit, over its elements."""
    return answered(scheme, model, inputs, targets, rng=rng).attribution


def answered(scheme: Scheme, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Answer:
    """All that a scheme has to say.

    Samples with as many units are solved together, so that nothing is asked for padding and what a
    sample's coalitions are depends on its own units only. 0 in padding.
    """
    groups = _groups(scheme.baseline, model, inputs, targets, rng)
    asked = [_Asked(group, scheme.coalitions(group.n_units)) for group in groups]
    return _answer(inputs, [one.credits(scheme, len(one.design)) for one in asked])


def answers(
    scheme: Sampler,
    model: Model,
    inputs: Inputs,
    targets: Tensor,
    budgets: Sequence[int],
    *,
    rng: Rng,
) -> Iterator[Answer]:
    """One answer per budget (ascending, in model rows per sample), in one run.

    A coalition costs a row per reference. What a smaller budget asked for is not asked for again,
    and each answer has the bits that it has on its own. Raises `Unsupported` at a budget with which
    the units cannot be told apart.
    """
    require_ascending(budgets)
    groups = _groups(scheme.baseline, model, inputs, targets, rng)
    sizes = [[_affordable(scheme, budget, group) for budget in budgets] for group in groups]
    asked = [_drawn(scheme, g, size[-1]) for g, size in zip(groups, sizes, strict=True)]
    for number in range(len(budgets)):
        each = zip(asked, sizes, strict=True)
        yield _answer(inputs, [one.credits(scheme, size[number]) for one, size in each])


def sampled_rows(scheme: Sampler, budget: int, n_units: int, n_references: int) -> Rows:
    """What `answers` takes per sample at one budget."""
    return Rows(scheme.n_coalitions(n_units, budget // n_references) * n_references)


@dataclass(frozen=True, eq=False)
class _Group:
    """Samples with the same number of units; `rows [b]` is where they stand in the batch."""

    game: Game
    rows: Tensor
    n_units: int
    rng: Rng


class _Asked:
    """A group and its design `[K, u]`; `names [b, u]` is the column that is each sample's unit.

    Without names, a unit's column is its own. Values `[b, k]` of the first coalitions are kept.
    """

    def __init__(self, group: _Group, design: Tensor, names: Tensor | None = None) -> None:
        self.group, self.design, self.names = group, design, names
        self.values = torch.zeros(len(group.rows), 0, dtype=torch.float64)

    def credits(self, scheme: Scheme | Sampler, n_coalitions: int) -> tuple[Tensor, Credits]:
        """Whose, and from the first of the design, of which those not yet known are asked for."""
        fresh = self.design[self.values.shape[1] : n_coalitions]
        alike = fresh.expand(len(self.values), -1, -1)
        kept = alike if self.names is None else Renamed(fresh, self.names)
        self.values = torch.cat([self.values, self.group.game.values(kept)], dim=1)
        found = scheme.solve(self.design[:n_coalitions], self.values)
        return self.group.rows, found if self.names is None else _renamed(found, self.names)


def _drawn(scheme: Sampler, group: _Group, n_coalitions: int) -> _Asked:
    """A design from the stream that all samples share, under each sample's own names."""
    drawn = group.rng.child("coalitions").shared()
    design = scheme.plan(group.n_units, n_coalitions, rng=drawn)
    return _Asked(group, design, group.rng.child("names").uniform(group.n_units).argsort(1))


def _renamed(credits: Credits, names: Tensor) -> Credits:
    """From columns of the design to each sample's units."""
    errors, pairs = credits.errors, credits.pairs
    if errors is not None:
        errors = errors.gather(1, names)
    if pairs is not None:
        across = names[:, :, None].expand_as(pairs)
        pairs = pairs.gather(1, across).gather(2, across.mT)
    return replace(credits, values=credits.values.gather(1, names), errors=errors, pairs=pairs)


def _groups(
    baseline: Baseline, model: Model, inputs: Inputs, targets: Tensor, rng: Rng
) -> list[_Group]:
    counts = units.count(inputs.units)
    groups = []
    for n in [n for n in counts.unique().tolist() if n > 0]:
        rows = (counts == n).nonzero()[:, 0]
        own = rng.take(rows)
        some = inputs if len(rows) == len(inputs) else inputs.take(rows)
        game = Game(model, some, targets[rows], baseline, rng=own)
        groups.append(_Group(game, rows, n, own))
    return groups


def _affordable(scheme: Sampler, budget: int, group: _Group) -> int:
    """How many coalitions the scheme takes for a budget, which must be enough."""
    n_units, n_references = group.n_units, group.game.n_references
    least = scheme.least(n_units)
    if budget // n_references < least:
        raise too_small(budget, least, n_units, n_references)
    return scheme.n_coalitions(n_units, budget // n_references)


def too_small(budget: int, least: int, n_units: int, n_references: int = 1) -> Unsupported:
    """The reason why a budget is not enough for `least` coalitions."""
    against = f" against {n_references} references each" if n_references > 1 else ""
    return Unsupported(
        f"a budget of {budget} model rows is too small for {n_units} units{against}; "
        f"give at least {least * n_references}, or use coarser units"
    )


def _answer(inputs: Inputs, parts: Sequence[tuple[Tensor, Credits]]) -> Answer:
    """The credits of all samples, spread over the elements of their units."""
    values = torch.zeros(len(inputs), units.width(inputs.units), dtype=torch.float64)
    errors = torch.zeros_like(values)
    freedom = torch.full((len(inputs),), math.inf, dtype=torch.float64)
    for rows, credits in parts:
        freedom[rows] = math.inf if credits.freedom is None else credits.freedom
        n_units = credits.values.shape[1]
        values[rows, :n_units] = credits.values
        if credits.errors is not None:
            errors[rows, :n_units] = credits.errors
    drawn = any(credits.errors is not None for _, credits in parts)
    told = any(credits.freedom is not None for _, credits in parts)
    spread = [units.spread(v, inputs.units).to(inputs.x.dtype) for v in (values, errors)]
    return Answer(
        spread[0],
        spread[1] if drawn else None,
        pairs=_pairs(values, parts),
        freedom=freedom if told else None,
    )


def _pairs(values: Tensor, parts: Sequence[tuple[Tensor, Credits]]) -> Tensor | None:
    """`[B, U, U]`, NaN beyond a sample's own units; None for schemes that do not tell."""
    out = values.new_full((*values.shape, values.shape[1]), torch.nan)
    for rows, credits in parts:
        if credits.pairs is None:
            return None
        n_units = credits.pairs.shape[1]
        out[rows, :n_units, :n_units] = credits.pairs
    return out if parts else None


_CELLS = 1 << 19
"""How many numbers are held at a time, so that what is made of them is cached."""


def in_parts(n_samples: int, cells: int) -> list[slice]:
    """Some samples at a time, where each takes so many cells."""
    height = max(_CELLS // max(cells, 1), 1)
    return [slice(start, start + height) for start in range(0, n_samples, height)]


def combined(values: Tensor, weights: Tensor) -> Tensor:
    """`values [b, K] @ weights [K, u] -> [b, u]`, with the same bits in every batch.

    That takes one product per sample, whose result starts on a cache line: hence a width that is a
    multiple of 8.
    """
    n_units = weights.shape[1]
    wide = functional.pad(weights.to(values), (0, -n_units % 8))
    return (values[:, None] @ wide.expand(len(values), -1, -1))[:, 0, :n_units]


def ends(n_units: int) -> Tensor:
    """`[2, u]` bool: the full coalition, then the empty one."""
    return torch.tensor([[True], [False]]).expand(2, n_units)
