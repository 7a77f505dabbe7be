"""Global importance of a unit: how far the explained scalar moves along the unit's own effect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.explainers.global_importance.class_outputs import answers, of_layout, require_classes
from xai_bench.explainers.global_importance.permutation import require_variation
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


@dataclass(frozen=True, eq=False)
class Learnt:
    """`importance [C, *S]` of the units in `layout [*S]`, for each class."""

    importance: Tensor
    layout: Tensor

    def of(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """`[B, *S]`: every sample of a class has the same."""
        require_classes(targets)
        return of_layout(self.importance[targets], self.layout, inputs)


@dataclass(frozen=True)
class PDPImportance:
    """Standard deviation of the partial dependence: the mean output while a unit takes the values
    it has in `n_grid` background rows, evenly spaced in their order.

    The mean is over `n_rows` background rows, so what a unit does with others cancels, and points
    off the data count alike. Greenwell+ 2018.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "global_importance"
    paper: ClassVar[str] = "Greenwell+ 2018, arXiv:1805.04755; Friedman 2001"

    n_grid: int = 10
    n_rows: int = 64
    learnt: Learnt | None = field(default=None, compare=False, repr=False)

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> PDPImportance:
        """Ready to explain. Takes `U * n_grid * n_rows * C` rows."""
        curves = _curves(model, background, self.n_grid, self.n_rows)
        return replace(self, learnt=_learnt(background, (_spread(c.mean(0)) for c in curves)))

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(_ready(self.learnt).of(inputs, targets))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)


@dataclass(frozen=True)
class ICEImportance:
    """Standard deviation of the output of one row while a unit takes other values, mean over rows.

    As the partial dependence, but the mean comes last, so that what a unit does with others does
    not cancel. Greenwell+ 2018; Goldstein+ 2015.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "global_importance"
    paper: ClassVar[str] = "Greenwell+ 2018, arXiv:1805.04755; Goldstein+ 2015, arXiv:1309.6392"

    n_grid: int = 10
    n_rows: int = 64
    learnt: Learnt | None = field(default=None, compare=False, repr=False)

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> ICEImportance:
        """Ready to explain. Takes `U * n_grid * n_rows * C` rows."""
        curves = _curves(model, background, self.n_grid, self.n_rows)
        return replace(self, learnt=_learnt(background, (_spread(c).mean(0) for c in curves)))

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(_ready(self.learnt).of(inputs, targets))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)


@dataclass(frozen=True)
class ALEImportance:
    """Standard deviation, over the background, of the accumulated local effect of a unit.

    A row moves only between the two ends of the bin that it lies in, so points stay near the data
    and correlated columns keep their own main effects. Bins end at `n_bins` quantiles, or at the
    categories of a one-hot unit in their order; within a bin the effect is a straight line. Apley &
    Zhu 2020.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "global_importance"
    paper: ClassVar[str] = "Apley & Zhu 2020, arXiv:1612.08468"

    n_bins: int = 20
    learnt: Learnt | None = field(default=None, compare=False, repr=False)

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> ALEImportance:
        """Ready to explain. Takes `2 * U * N * C` rows; none for a unit that does not vary."""
        require_variation(background)
        if self.n_bins < 1:
            raise ValueError(f"found n_bins {self.n_bins}; an effect needs at least one bin")
        _require_order(background)
        effects = (self._effect(model, background, unit) for unit in _each(background))
        return replace(self, learnt=_learnt(background, map(_spread, effects)))

    def _effect(self, model: Model, background: Inputs, unit: int) -> Tensor:
        """`[N, C]`: the accumulated effect at every background row."""
        own = background.units[0] == unit
        place = _places(background, unit)
        level, number = place.unique(return_inverse=True)
        if len(level) == 1:
            return torch.zeros(len(place), model.n_outputs, dtype=torch.float64)
        ends = torch.linspace(0, len(place) - 1, self.n_bins + 1).round().long()
        ends = number.sort().values[ends].unique()
        upper = torch.searchsorted(ends, number).clamp(min=1)
        row_of = _some_row(number)  # a background row that has the value
        at = [background.x[row_of[ends[upper - k]]] for k in (0, 1)]
        moved = [background.with_x(torch.where(own, x, background.x)) for x in at]
        gain = answers(model, moved[0]) - answers(model, moved[1])
        sums = torch.zeros(len(ends), gain.shape[1], dtype=torch.float64).index_add_(0, upper, gain)
        mean = sums / upper.bincount(minlength=len(ends)).clamp(min=1)[:, None]
        low, high = level[ends[upper - 1]], level[ends[upper]]
        part = ((place - low) / (high - low))[:, None]
        effect: Tensor = mean.cumsum(0)[upper - 1] + part * mean[upper]
        return effect

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(_ready(self.learnt).of(inputs, targets))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)


def _curves(model: Model, background: Inputs, n_grid: int, n_rows: int) -> Iterator[Tensor]:
    """Unit by unit, `[n, K, C]`: outputs of `n` rows while the unit takes `K` values."""
    require_variation(background)
    if n_grid < 2 or n_rows < 1:
        raise ValueError(f"found n_grid {n_grid}, n_rows {n_rows}; at least 2 and 1 are needed")
    seen = background.take(torch.arange(min(n_rows, len(background))))
    places = torch.linspace(0, len(background) - 1, n_grid).round().long()
    for unit in _each(background):
        own = background.units[0] == unit
        values = background.x[_places(background, unit).argsort(stable=True)[places]]
        at = [answers(model, seen.with_x(torch.where(own, value, seen.x))) for value in values]
        yield torch.stack(at, dim=1)


def _learnt(background: Inputs, importances: Iterator[Tensor]) -> Learnt:
    """From `[C]` for each unit."""
    layout = background.units[0]
    found = torch.stack(list(importances), dim=1)
    return Learnt(units.spread(found, layout.expand(len(found), *layout.shape)), layout)


def _spread(curve: Tensor) -> Tensor:
    """`[..., K, C] -> [..., C]`: standard deviation along the curve."""
    return curve.std(-2, correction=0)


def _each(background: Inputs) -> range:
    return range(units.width(background.units))


def _places(background: Inputs, unit: int) -> Tensor:
    """`[N]` float64: by what rows are ordered; the value of a column, the number of a category."""
    own = (background.units[0] == unit).flatten()
    inside = background.x.flatten(1)[:, own].double()
    return inside @ torch.arange(1, inside.shape[1] + 1, dtype=torch.float64)


def _some_row(number: Tensor) -> Tensor:
    """`[N] -> [levels]`: the first row that has each level."""
    rows = torch.arange(len(number)).flip(0)
    found = torch.zeros(int(number.max()) + 1, dtype=torch.long)
    found[number[rows]] = rows
    return found


def _require_order(background: Inputs) -> None:
    """Raise `Unsupported` where a unit has several elements that are not one category."""
    x = background.x.double()
    zero_or_one = units.pool(((x == 0) | (x == 1)).double(), background.units)
    sizes = units.sizes(background.units)
    category = (zero_or_one == sizes) & (units.pool(x, background.units) == 1)
    if not bool((category | (sizes == 1)).all()):
        raise Unsupported(
            "accumulated local effects need values in an order: "
            "units of one element, or of one category"
        )


def _ready(learnt: Learnt | None) -> Learnt:
    if learnt is None:
        raise ValueError("global importance has nothing to tell before fit; call fit first")
    return learnt
