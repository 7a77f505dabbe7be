"""From values of coalitions to credits of units, for samples with any number of units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench import units
from xai_bench.coalitions import Game, Renamed
from xai_bench.types import Answer, Baseline, Inputs, Model, Rng, Rows, Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class Credits:
    """What the units of samples with the same number of units get.

    Attributes:
        values: `[b, u]`.
        errors: `[b, u]` standard errors of `values`, NaN where there are too few draws to tell, or
            None where nothing is drawn.
        pairs: `[b, u, u]`, what units do in pairs, for schemes that tell.
    """

    values: Tensor
    errors: Tensor | None = None
    pairs: Tensor | None = None


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
    for group in groups:
        group.design = scheme.coalitions(group.n_units)
    solved = [scheme.solve(g.design, g.valued(len(g.design))) for g in groups]
    return _answer(inputs, [(g.rows, found) for g, found in zip(groups, solved, strict=True)])


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
    if any(later < earlier for earlier, later in pairwise(budgets)):
        raise ValueError(f"budgets must ascend; found {list(budgets)}")
    groups = _groups(scheme.baseline, model, inputs, targets, rng)
    sizes = [[_affordable(scheme, budget, group) for budget in budgets] for group in groups]
    for group, size in zip(groups, sizes, strict=True):
        drawn = group.rng.child("coalitions").shared()
        group.design = scheme.plan(group.n_units, size[-1], rng=drawn)
        group.names = group.rng.child("names").uniform(group.n_units).argsort(1)
    for number in range(len(budgets)):
        found = []
        for group, size in zip(groups, sizes, strict=True):
            n = size[number]
            credits = scheme.solve(group.design[:n], group.valued(n))
            found.append((group.rows, group.renamed(credits)))
        yield _answer(inputs, found)


def sampled_rows(scheme: Sampler, budget: int, n_units: int, n_references: int) -> Rows:
    """What `answers` takes per sample at one budget."""
    return Rows(scheme.n_coalitions(n_units, budget // n_references) * n_references)


@dataclass(eq=False)
class _Group:
    """Samples with the same number of units; `rows [b]` is where they stand in the batch.

    `design [K, u]` has their coalitions, `names [b, u]` the column of it that is a sample's unit
    (None: its own), and `values [b, k]` what is known so far of the first of them.
    """

    game: Game
    rows: Tensor
    n_units: int
    rng: Rng
    design: Tensor
    values: Tensor
    names: Tensor | None = None

    def valued(self, n_coalitions: int) -> Tensor:
        """`[b, n_coalitions]`: of the first of the design; those not known are asked for."""
        fresh = self.design[self.values.shape[1] : n_coalitions]
        alike = fresh.expand(len(self.rows), -1, -1)
        kept = alike if self.names is None else Renamed(fresh, self.names)
        self.values = torch.cat([self.values, self.game.values(kept)], dim=1)
        return self.values

    def renamed(self, credits: Credits) -> Credits:
        """From columns of the design to each sample's units."""
        names = self.names
        if names is None:
            return credits
        values, errors, pairs = credits.values.gather(1, names), credits.errors, credits.pairs
        if errors is not None:
            errors = errors.gather(1, names)
        if pairs is not None:
            across = names[:, :, None].expand_as(pairs)
            pairs = pairs.gather(1, across).gather(2, across.mT)
        return Credits(values, errors, pairs)


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
        design = torch.zeros(0, n, dtype=torch.bool)
        values = torch.zeros(len(rows), 0, dtype=torch.float64)
        groups.append(_Group(game, rows, n, own, design, values))
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
    for rows, credits in parts:
        n_units = credits.values.shape[1]
        values[rows, :n_units] = credits.values
        if credits.errors is not None:
            errors[rows, :n_units] = credits.errors
    drawn = any(credits.errors is not None for _, credits in parts)
    spread = [units.spread(v, inputs.units).to(inputs.x.dtype) for v in (values, errors)]
    return Answer(spread[0], spread[1] if drawn else None, pairs=_pairs(values, parts))


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
