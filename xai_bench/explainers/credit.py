"""From values of coalitions to credits of units, for samples with any number of units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from xai_bench import units
from xai_bench.coalitions import Game
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
    """Which coalitions to ask for, and what to make of the answers.

    Every method sees samples with the same number of units `u`, so there is no padding.
    """

    @property
    def baseline(self) -> Baseline: ...

    def least(self, n_units: int) -> int:
        """How many coalitions it takes at the least; without a budget, it takes no more."""
        ...

    def plan(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        """`kept [b, K, u]` bool, a row of `rng` each, or `[K, u]` for all; `K = n_coalitions`."""
        ...

    def solve(self, kept: Tensor, values: Tensor) -> Credits:
        """`kept [b, K, u], values [b, K]` float64 to the credits of the units."""
        ...


class Sampler(Protocol):
    """A scheme that makes use of more coalitions: the plan for few is a first part of any other."""

    @property
    def baseline(self) -> Baseline: ...

    def least(self, n_units: int) -> int: ...

    def n_coalitions(self, n_units: int, most: int) -> int:
        """How many it asks for where it may ask for `most`, which are enough."""
        ...

    def plan(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor: ...

    def solve(self, kept: Tensor, values: Tensor) -> Credits: ...


def explained(scheme: Scheme, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
    """`[B, *S]`: each unit's credit from the least number of coalitions, over its elements."""
    return answered(scheme, model, inputs, targets, rng=rng).attribution


def answered(scheme: Scheme, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Answer:
    """All that a scheme has to say after the least number of coalitions.

    Samples with as many units are solved together, so that nothing is asked for padding and what a
    sample's coalitions are depends on its own units only. 0 in padding.
    """
    found = []
    for group in _groups(scheme, model, inputs, targets, rng):
        n_coalitions = scheme.least(group.n_units)
        found += [part.credits(n_coalitions) for part in group.parts(n_coalitions)]
    return _answer(inputs, found)


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
    groups = _groups(scheme, model, inputs, targets, rng)
    sizes = [[_affordable(scheme, budget, group) for budget in budgets] for group in groups]
    parts = [(p, size) for g, size in zip(groups, sizes, strict=True) for p in g.parts(size[-1])]
    for number in range(len(budgets)):
        yield _answer(inputs, [part.credits(size[number]) for part, size in parts])


def sampled_rows(scheme: Sampler, budget: int, n_units: int, n_references: int) -> Rows:
    """What `answers` takes per sample at one budget."""
    return Rows(scheme.n_coalitions(n_units, budget // n_references) * n_references)


_CELLS = 1 << 19
"""How many memberships of units are held at a time, so that what is made of them is cached."""


@dataclass(eq=False)
class _Group:
    """Samples with the same number of units; `rows [b]` is where they stand in the batch."""

    scheme: Scheme
    game: Game
    rows: Tensor
    n_units: int
    rng: Rng

    def parts(self, n_coalitions: int) -> list[_Part]:
        """Some of the samples at a time, with their coalitions, once for all budgets."""
        height = max(_CELLS // max(n_coalitions * self.n_units, 1), 1)
        found = []
        for samples in [slice(k, k + height) for k in range(0, len(self.rows), height)]:
            place = torch.arange(len(self.rows))[samples]
            plan = self.scheme.plan(self.n_units, n_coalitions, rng=self.rng.take(place))
            kept = plan.expand(len(place), -1, -1)
            values = torch.zeros(len(place), 0, dtype=torch.float64)
            found.append(
                _Part(self.scheme, self.game.part(samples), self.rows[samples], kept, values)
            )
        return found


@dataclass(eq=False)
class _Part:
    """Some samples, their coalitions `kept [b, K, u]`, and the values that are known so far."""

    scheme: Scheme
    game: Game
    rows: Tensor
    kept: Tensor
    values: Tensor

    def credits(self, n_coalitions: int) -> tuple[Tensor, Credits]:
        """Whose, and from the first `n_coalitions`, of which those not yet known are asked for."""
        fresh = self.kept[:, self.values.shape[1] : n_coalitions]
        self.values = torch.cat([self.values, self.game.values(fresh)], dim=1)
        return self.rows, self.scheme.solve(self.kept[:, :n_coalitions], self.values)


def _groups(
    scheme: Scheme, model: Model, inputs: Inputs, targets: Tensor, rng: Rng
) -> list[_Group]:
    counts = units.count(inputs.units)
    groups = []
    for n in [n for n in counts.unique().tolist() if n > 0]:
        rows = (counts == n).nonzero()[:, 0]
        own = rng.take(rows)
        some = inputs if len(rows) == len(inputs) else inputs.take(rows)
        game = Game(model, some, targets[rows], scheme.baseline, rng=own)
        groups.append(_Group(scheme, game, rows, n, own.child("coalitions")))
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


def ends(n_samples: int, n_units: int) -> Tensor:
    """`[b, 2, u]` bool: the full coalition, then the empty one."""
    return torch.tensor([[True], [False]]).expand(n_samples, 2, n_units)
