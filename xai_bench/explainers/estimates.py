"""Means over random draws with their standard errors, at any number of draws in one run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.types import Explanation, Inputs, Model, Rng, Unsupported

Draws = Callable[[range], Iterator[Tensor]]
"""The draws `[B, *S]` that the numbers of a range name, in order; later ranges follow on."""


class BudgetedExplainer(ABC):
    """Base of explainers that give an explanation at any budget: `explain` gives that of their own.

    See `Anytime`.
    """

    budget: int

    @abstractmethod
    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Explanation]:
        """One explanation per budget, ascending, in one run."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The explanation at the explainer's own `budget`."""
        return next(self.anytime(model, inputs, targets, (self.budget,), rng=rng))


def running_means(draws: Draws, inputs: Inputs, counts: Sequence[int]) -> Iterator[Explanation]:
    """The mean over the first `n` draws for each `n` of `counts`, ascending, in one run.

    Raises ValueError where counts do not ascend.
    """
    require_ascending(counts)
    moments, n_drawn = Moments(inputs), 0
    for count in counts:
        for draw in draws(range(n_drawn, count)):
            moments.add(draw)
        n_drawn = max(n_drawn, count)
        yield moments.explanation()


def require_ascending(budgets: Sequence[int]) -> None:
    """Raise ValueError where a later budget is smaller: a run cannot take back what it spent."""
    # Equal budgets are allowed: the second asks for nothing.
    if any(later < earlier for earlier, later in pairwise(budgets)):
        raise ValueError(f"budgets must ascend; found {list(budgets)}")


def require_rows(budgets: Sequence[int], least: int) -> None:
    """Raise `Unsupported` where the smallest budget does not pay for `least` rows."""
    if min(budgets) < least:
        raise Unsupported(
            f"a budget of {min(budgets)} rows is too small for an estimate; give at least {least}"
        )


@dataclass(eq=False)
class Moments:
    """The mean of draws and its standard error, in float64, one draw after the other.

    The standard error is that of a unit's attribution, shared evenly by the unit's elements:
    elements of a unit move together, so their own errors would not add up to it. NaN after a
    single draw.

    Attributes:
        total: `[B, *S]`, the sum of the draws.
        centre, squares: `[B, U]`, the mean of the units' attributions, and the sum of their
            squared deviations from it.
    """

    inputs: Inputs
    count: int = 0
    total: Tensor = field(init=False)
    centre: Tensor = field(init=False)
    squares: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.total = torch.zeros_like(self.inputs.x, dtype=torch.float64)
        real = units.present(self.inputs.units)
        self.centre = torch.zeros_like(real, dtype=torch.float64)
        self.squares = torch.zeros_like(self.centre)

    def add(self, draw: Tensor) -> None:
        """One more draw `[B, *S]`.

        Welford 1962: the difference of the mean square and the squared mean would lose all digits
        where the spread is small.
        """
        self.count += 1
        self.total = self.total + draw
        by_unit = units.pool(draw.double(), self.inputs.units)
        before = by_unit - self.centre
        self.centre = self.centre + before / self.count
        self.squares = self.squares + before * (by_unit - self.centre)

    def mean_and_error(self) -> tuple[Tensor, Tensor]:
        """`[B, *S]` each, float64: the mean so far, and its standard error."""
        variance = self.squares / (self.count - 1) if self.count > 1 else self.squares * torch.nan
        error = units.spread((variance / self.count).sqrt(), self.inputs.units)
        return self.total / self.count, error

    def explanation(self) -> Explanation:
        """The mean so far, with its standard error and degrees of freedom."""
        mean, error = self.mean_and_error()
        x = self.inputs.x
        return Explanation(
            mean.to(x.dtype),
            standard_error=error.to(x.dtype),
            degrees_of_freedom=self.total.new_full((len(x),), self.count - 1),
        )
