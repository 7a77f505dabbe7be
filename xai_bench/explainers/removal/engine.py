"""The engine of removal explainers: from values of coalitions to attributions of units.

A method says which coalitions it needs and what to make of their values; the engine evaluates them
for samples with any number of units and spreads the results over the elements of `x`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from xai_bench.core import cooperative_games, units
from xai_bench.core.coalitions import CoalitionGame, PermutedDesign
from xai_bench.core.sliding_windows import WindowDesign
from xai_bench.explainers.estimates import BudgetedExplainer, require_ascending
from xai_bench.types import Baseline, Explanation, Inputs, Model, Rng, Rows, Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class UnitAttributions:
    """Attributions of the units of samples that have the same number of units.

    Attributes:
        values: `[b, u]`.
        errors: `[b, u]` standard errors of `values`, NaN where there are too few draws to tell, or
            None where nothing is drawn.
        interactions: `[b, u, u]`, of pairs of units, from methods that compute them.
        degrees_of_freedom: of the errors, the same for all samples or `[b]`; infinite where nothing
            is drawn, None where the method does not state them.
    """

    values: Tensor
    errors: Tensor | None = None
    interactions: Tensor | None = None
    degrees_of_freedom: float | Tensor | None = None


NullUnits = Literal["zero", "shared", "solved"]
"""What a unit gets whose elements equal those of every reference, so that it cannot matter: 0;
0, and what it was given is shared equally by the others, where attributions add up; or what the
method's own formula gives.
"""


class Solver(Protocol):
    """A method that turns values of coalitions into attributions.

    Every method sees samples with the same number of units `u`, so there is no padding.
    """

    @property
    def baseline(self) -> Baseline:
        """What an absent unit is replaced by."""
        ...

    @property
    def null_units(self) -> NullUnits:
        """What a unit gets that is the same present or absent."""
        ...

    def solve(self, kept: Any, values: Tensor) -> UnitAttributions:
        """`kept [K, u], values [b, K]` float64 to attributions of the units."""
        ...


class CoalitionDesign(Solver, Protocol):
    """A method whose coalitions are fixed, the same for all samples."""

    def coalitions(self, n_units: int) -> Tensor | WindowDesign:
        """`kept [K, u]` bool."""
        ...


@dataclass(frozen=True)
class FixedCoalitions(ABC):
    """Base of explainers whose coalitions are fixed; a subclass states them and the solution."""

    null_units: ClassVar[NullUnits] = "zero"

    baseline: Baseline

    @abstractmethod
    def n_coalitions(self, n_units: int) -> int:
        """How many coalitions are evaluated."""

    @abstractmethod
    def coalitions(self, n_units: int) -> Tensor | WindowDesign:
        """`kept [K, u]` bool, `K = n_coalitions`."""

    @abstractmethod
    def solve(self, kept: Any, values: Tensor) -> UnitAttributions:
        """As in `Solver`."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The attributions of the units, spread over their elements."""
        return explain_by_design(self, model, inputs, targets, rng=rng)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row for every coalition and reference."""
        return Rows(self.n_coalitions(n_units) * n_references)


@dataclass(frozen=True)
class AllCoalitions(FixedCoalitions):
    """Base of explainers that evaluate all `2^U` coalitions.

    Attributes:
        max_units: beyond so many units `Unsupported` is raised.
    """

    max_units: int = 15  # 32,768 rows per sample and reference

    def n_coalitions(self, n_units: int) -> int:
        """`2^u`."""
        return 1 << n_units

    def coalitions(self, n_units: int) -> Tensor:
        """`[2^u, u]` bool, in the order of `cooperative_games.all_coalitions`."""
        return cooperative_games.all_coalitions(n_units)

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The attributions of the units; raises `Unsupported` beyond `max_units`."""
        n_units = units.width(inputs.units)
        if n_units > self.max_units:
            raise Unsupported(
                f"{type(self).__name__} of {n_units} units needs 2^{n_units} coalitions; at most "
                f"{self.max_units} units are allowed: take an estimate, such as kernel_shap or "
                "shapley_interactions"
            )
        return super().explain(model, inputs, targets, rng=rng)


@dataclass(frozen=True)
class CoalitionSampler(BudgetedExplainer):
    """Base of explainers whose coalitions are drawn; a subclass states the design and the solution.

    `budget` bounds the model rows per sample; a coalition costs one row per reference. The
    coalitions of a small budget are the first of those of a large one.

    One design serves all samples, so that what depends on it alone is computed once. For each
    sample its units are permuted first: which of them go together is drawn anew, and a draw that
    is bad for one unit of one sample says nothing about the next. So no unit may have a place of
    its own in a design: any permutation of the units must be as likely.
    """

    null_units: ClassVar[NullUnits] = "zero"

    baseline: Baseline
    budget: int = 512

    @abstractmethod
    def least(self, n_units: int) -> int:
        """The smallest number of coalitions that determines the attributions."""

    @abstractmethod
    def n_coalitions(self, n_units: int, most: int) -> int:
        """How many coalitions are evaluated where `most >= least` are allowed."""

    @abstractmethod
    def design(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        """`kept [K, u]` bool, or the shares that are kept; `rng` has one row, `K = n_coalitions`.

        Must start with the design of any smaller number of coalitions.
        """

    @abstractmethod
    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """As in `Solver`."""

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Explanation]:
        """One explanation per budget; what a smaller one evaluated is not evaluated again.

        Each has the bits that it has on its own. Raises `Unsupported` at a budget with which the
        units cannot be told apart, ValueError where budgets do not ascend.
        """
        require_ascending(budgets)
        groups = _groups(self.baseline, model, inputs, targets, rng)
        sizes = [[_affordable(self, budget, group) for budget in budgets] for group in groups]
        designs = [_drawn(self, g, size[-1]) for g, size in zip(groups, sizes, strict=True)]
        for number in range(len(budgets)):
            pairs = zip(designs, sizes, strict=True)
            yield _explanation(inputs, [drawn.solve(self, size[number]) for drawn, size in pairs])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row for every coalition and reference."""
        # A coalition is the mean over all references: what does not pay for all of them is not
        # spent.
        return Rows(self.n_coalitions(n_units, self.budget // n_references) * n_references)


def explain_by_design(
    design: CoalitionDesign, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng
) -> Explanation:
    """The explanation of a method with fixed coalitions; 0 in padding.

    Samples with as many units are solved together, so that nothing is evaluated for padding and a
    sample's coalitions depend on its own units only.
    """
    groups = _groups(design.baseline, model, inputs, targets, rng)
    evaluated = [_EvaluatedDesign(group, design.coalitions(group.n_units)) for group in groups]
    return _explanation(inputs, [each.solve(design, len(each.design)) for each in evaluated])


@dataclass(frozen=True, eq=False)
class _Group:
    """Samples with the same number of units; `rows [b]` is where they stand in the batch.

    `is_null [b, u]` marks units that are the same present or absent.
    """

    game: CoalitionGame
    rows: Tensor
    n_units: int
    rng: Rng
    is_null: Tensor


class _EvaluatedDesign:
    """A group, its design `[K, u]`, and the values `[b, k]` of the first coalitions.

    `columns [b, u]` is the column of the design that stands for each unit of each sample; without
    it, a unit's column is its own.
    """

    def __init__(
        self, group: _Group, design: Tensor | WindowDesign, columns: Tensor | None = None
    ) -> None:
        self.group, self.design, self.columns = group, design, columns
        self.values = torch.zeros(len(group.rows), 0, dtype=torch.float64)

    def solve(self, solver: Solver, n_coalitions: int) -> tuple[Tensor, UnitAttributions]:
        """The rows of the group, and their attributions from the first coalitions of the design."""
        kept = self._kept(self.values.shape[1], n_coalitions)
        self.values = torch.cat([self.values, self.group.game.values(kept)], dim=1)
        design = self.design
        evaluated = design[:n_coalitions] if isinstance(design, Tensor) else design
        solved = solver.solve(evaluated, self.values)
        solved = solved if self.columns is None else _by_unit(solved, self.columns)
        # An estimate leaves noise on units that cannot matter: it would outrank small true effects.
        if solver.null_units != "solved" and self.group.is_null.any():
            solved = _without_null(solved, self.group.is_null, solver.null_units == "shared")
        return self.group.rows, solved

    def _kept(self, start: int, stop: int) -> Tensor | PermutedDesign | WindowDesign:
        """Some of the coalitions, of all samples."""
        if isinstance(self.design, WindowDesign):
            return self.design.part(start, stop, len(self.values))
        fresh = self.design[start:stop]
        if self.columns is None:
            return fresh.expand(len(self.values), -1, -1)
        return PermutedDesign(fresh, self.columns)


def _drawn(sampler: CoalitionSampler, group: _Group, n_coalitions: int) -> _EvaluatedDesign:
    """A design from the stream that all samples share, permuted by each sample's own."""
    shared = group.rng.child("coalitions").shared()
    design = sampler.design(group.n_units, n_coalitions, rng=shared)
    # The ranks of independent uniform draws: every permutation is as likely.
    columns = group.rng.child("names").uniform(group.n_units).argsort(1)
    return _EvaluatedDesign(group, design, columns)


def _by_unit(attributions: UnitAttributions, columns: Tensor) -> UnitAttributions:
    """From columns of the design to each sample's units."""
    errors, interactions = attributions.errors, attributions.interactions
    if errors is not None:
        errors = errors.gather(1, columns)
    if interactions is not None:
        # Both axes are numbered by the design: rows first, then columns.
        across = columns[:, :, None].expand_as(interactions)
        interactions = interactions.gather(1, across).gather(2, across.mT)
    values = attributions.values.gather(1, columns)
    return replace(attributions, values=values, errors=errors, interactions=interactions)


def _without_null(
    attributions: UnitAttributions, is_null: Tensor, shared: bool
) -> UnitAttributions:
    """With 0 for the units that cannot matter, `is_null [b, u]`.

    Where the others share what those were given, attributions add up to what they did: the nearest
    ones that do, which are never farther from the truth.
    """
    values = torch.where(is_null, 0, attributions.values)
    if shared:
        surplus = torch.where(is_null, attributions.values, 0).sum(1, keepdim=True)
        share = surplus / (~is_null).sum(1, keepdim=True).clamp(min=1)
        values = torch.where(is_null, 0, values + share)
    errors, interactions = attributions.errors, attributions.interactions
    if errors is not None:
        errors = torch.where(is_null, 0, errors)
    if interactions is not None:
        pairs = torch.where(is_null[:, :, None] | is_null[:, None], 0, interactions)
        # The diagonal is what pairs leave of a value, so it follows from the changed values.
        pairs.diagonal(dim1=1, dim2=2).zero_()
        interactions = pairs + (values - pairs.sum(2)).diag_embed()
    return replace(attributions, values=values, errors=errors, interactions=interactions)


def _groups(
    baseline: Baseline, model: Model, inputs: Inputs, targets: Tensor, rng: Rng
) -> list[_Group]:
    """The samples by their number of units; those without units are left out."""
    counts = units.count(inputs.units)
    groups = []
    for n in [n for n in counts.unique().tolist() if n > 0]:
        rows = (counts == n).nonzero()[:, 0]
        row_rng = rng.take(rows)
        # The whole batch keeps its shared layout of units, which a copy would lose.
        part = inputs if len(rows) == len(inputs) else inputs.take(rows)
        game = CoalitionGame(model, part, targets[rows], baseline, rng=row_rng)
        groups.append(_Group(game, rows, n, row_rng, game.null_units()[:, :n]))
    return groups


def _affordable(sampler: CoalitionSampler, budget: int, group: _Group) -> int:
    """How many coalitions a budget pays for. Raises `Unsupported` where they are too few."""
    n_units, n_references = group.n_units, group.game.n_references
    least = sampler.least(n_units)
    if budget // n_references < least:
        raise budget_too_small(budget, least, n_units, n_references)
    n_coalitions = sampler.n_coalitions(n_units, budget // n_references)
    if n_coalitions * n_units > _MOST_CELLS:
        raise Unsupported(
            f"{n_coalitions:,} coalitions of {n_units:,} units do not fit into memory; use coarser "
            "units, or leave_one_out"
        )
    return n_coalitions


_MOST_CELLS = 1 << 26
"""Of a design: it is solved in double precision, half a gigabyte for each matrix of that size."""


def budget_too_small(budget: int, least: int, n_units: int, n_references: int = 1) -> Unsupported:
    """The reason why a budget is not enough for `least` coalitions."""
    against = f" against {n_references} references each" if n_references > 1 else ""
    return Unsupported(
        f"a budget of {budget} model rows is too small for {n_units} units{against}; "
        f"give at least {least * n_references}, or use coarser units"
    )


def _explanation(inputs: Inputs, parts: Sequence[tuple[Tensor, UnitAttributions]]) -> Explanation:
    """The attributions of all samples, spread over the elements of their units."""
    values = torch.zeros(len(inputs), units.width(inputs.units), dtype=torch.float64)
    errors = torch.zeros_like(values)
    # Infinite is the normal quantile, as where nothing is drawn.
    degrees = torch.full((len(inputs),), math.inf, dtype=torch.float64)
    for rows, part in parts:
        n_units = part.values.shape[1]
        values[rows, :n_units] = part.values
        if part.errors is not None:
            errors[rows, :n_units] = part.errors
        if part.degrees_of_freedom is not None:
            degrees[rows] = part.degrees_of_freedom
    drawn = any(part.errors is not None for _, part in parts)
    stated = any(part.degrees_of_freedom is not None for _, part in parts)
    spread = [units.spread(v, inputs.units).to(inputs.x.dtype) for v in (values, errors)]
    return Explanation(
        spread[0],
        spread[1] if drawn else None,
        interactions=_interactions(values, parts),
        degrees_of_freedom=degrees if stated else None,
    )


def _interactions(
    values: Tensor, parts: Sequence[tuple[Tensor, UnitAttributions]]
) -> Tensor | None:
    """`[B, U, U]`, NaN beyond a sample's own units; None from methods that compute none."""
    if not parts or any(part.interactions is None for _, part in parts):
        return None
    out = values.new_full((*values.shape, values.shape[1]), torch.nan)
    for rows, part in parts:
        assert part.interactions is not None
        n_units = part.interactions.shape[1]
        out[rows, :n_units, :n_units] = part.interactions
    return out


def full_and_empty(n_units: int) -> Tensor:
    """`[2, u]` bool: the full coalition, then the empty one."""
    return torch.tensor([[True], [False]]).expand(2, n_units)
