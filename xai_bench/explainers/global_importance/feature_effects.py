"""Global importance of a unit: how far the explained scalar moves along the unit's own effect."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.calls.model_outputs import class_outputs
from xai_bench.explainers.global_importance.fitted_importance import (
    FittedImportance,
    GlobalImportance,
    require_variation,
)
from xai_bench.types import Inputs, Kind, Model, Rng, Unsupported


@dataclass(frozen=True)
class _CurveImportance(GlobalImportance):
    """Base of importances read off the curves of the output while a unit takes other values.

    Attributes:
        n_grid: how many values a unit takes.
        n_rows: how many background rows have a curve.
    """

    n_grid: int = 10
    n_rows: int = 64

    @abstractmethod
    def deviation(self, curves: Tensor) -> Tensor:
        """`[n, K, C] -> [C]`: how far `n` curves over `K` values move."""

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> GlobalImportance:
        """The explainer with its importance per class; takes `U * n_grid * n_rows * C` rows.

        Raises `Unsupported` where all background rows are equal, ValueError for settings that make
        no curve.
        """
        require_variation(background)
        if self.n_grid < 2 or self.n_rows < 1:
            raise ValueError(
                f"found n_grid {self.n_grid}, n_rows {self.n_rows}; at least 2 and 1 are needed"
            )
        curves = _curves(model, background, self.n_grid, self.n_rows)
        by_unit = torch.stack([self.deviation(curve) for curve in curves], dim=1)
        return replace(self, fitted=FittedImportance.of_units(background, by_unit))


@dataclass(frozen=True)
class PDPImportance(_CurveImportance):
    """Standard deviation of the partial dependence: the mean output while a unit takes the values
    it has in `n_grid` background rows, evenly spaced in their order.

    The mean is over `n_rows` background rows, so what a unit does with others cancels, and points
    off the data count alike. Greenwell+ 2018.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "global_importance"
    needs: ClassVar[tuple[str, ...]] = ("background", "shared_units")
    paper: ClassVar[str] = "Greenwell+ 2018, arXiv:1805.04755; Friedman 2001"
    # Rows in which columns differ; deviations do not add up.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry", "linearity")

    def deviation(self, curves: Tensor) -> Tensor:
        """`[n, K, C] -> [C]`: of the mean curve."""
        return _deviation(curves.mean(0))


@dataclass(frozen=True)
class ICEImportance(_CurveImportance):
    """Standard deviation of the output of one row while a unit takes other values, mean over rows.

    As the partial dependence, but the mean comes last, so that what a unit does with others does
    not cancel. Greenwell+ 2018; Goldstein+ 2015.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "global_importance"
    needs: ClassVar[tuple[str, ...]] = ("background", "shared_units")
    paper: ClassVar[str] = "Greenwell+ 2018, arXiv:1805.04755; Goldstein+ 2015, arXiv:1309.6392"
    # Rows in which columns differ; deviations do not add up.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry", "linearity")

    def deviation(self, curves: Tensor) -> Tensor:
        """`[n, K, C] -> [C]`: the mean over the deviations of single curves."""
        return _deviation(curves).mean(0)


@dataclass(frozen=True)
class ALEImportance(GlobalImportance):
    """Standard deviation, over the background, of the accumulated local effect of a unit.

    A row moves only between the two ends of the bin that it lies in, so points stay near the data
    and correlated columns keep their own main effects. Bins end at `n_bins` quantiles, or at the
    categories of a one-hot unit in their order; within a bin the effect is a straight line. Apley &
    Zhu 2020.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "global_importance"
    needs: ClassVar[tuple[str, ...]] = ("background", "shared_units", "ordered")
    paper: ClassVar[str] = "Apley & Zhu 2020, arXiv:1612.08468"
    # Rows in which columns differ; deviations do not add up.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry", "linearity")

    n_bins: int = 20

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> ALEImportance:
        """The explainer with its importance per class.

        Takes `2 * U * N * C` rows, none for a unit that does not vary. Raises `Unsupported` where
        all background rows are equal or a unit has no order, ValueError without a bin.
        """
        require_variation(background)
        if self.n_bins < 1:
            raise ValueError(f"found n_bins {self.n_bins}; an effect needs at least one bin")
        _require_order(background)
        effects = (self._effect(model, background, unit) for unit in _unit_numbers(background))
        by_unit = torch.stack([_deviation(effect) for effect in effects], dim=1)
        return replace(self, fitted=FittedImportance.of_units(background, by_unit))

    def _effect(self, model: Model, background: Inputs, unit: int) -> Tensor:
        """`[N, C]`: the accumulated effect at every background row."""
        own = background.units[0] == unit
        place = _places(background, unit)
        level, number = place.unique(return_inverse=True)
        if len(level) == 1:
            return torch.zeros(len(place), model.n_outputs, dtype=torch.float64)
        # Bins end at quantiles: the same number of rows in each, as far as rows do not tie.
        quantiles = torch.linspace(0, len(place) - 1, self.n_bins + 1).round().long()
        ends = number.sort().values[quantiles].unique()
        upper = torch.searchsorted(ends, number).clamp(min=1)
        row_of = _first_row_of(number)
        at = [background.x[row_of[ends[upper - k]]] for k in (0, 1)]
        moved = [background.with_x(torch.where(own, x, background.x)) for x in at]
        # Differences at the row itself: all that other columns add cancels.
        gain = class_outputs(model, moved[0]) - class_outputs(model, moved[1])
        sums = torch.zeros(len(ends), gain.shape[1], dtype=torch.float64).index_add_(0, upper, gain)
        mean = sums / upper.bincount(minlength=len(ends)).clamp(min=1)[:, None]
        low, high = level[ends[upper - 1]], level[ends[upper]]
        part = ((place - low) / (high - low))[:, None]
        effect: Tensor = mean.cumsum(0)[upper - 1] + part * mean[upper]
        return effect


def _curves(model: Model, background: Inputs, n_grid: int, n_rows: int) -> Iterator[Tensor]:
    """Unit by unit, `[n, K, C]`: outputs of `n` rows while the unit takes `K` values."""
    some = background.take(torch.arange(min(n_rows, len(background))))
    # Evenly spaced in rank, not in value, so that the grid lies where the data are.
    places = torch.linspace(0, len(background) - 1, n_grid).round().long()
    for unit in _unit_numbers(background):
        own = background.units[0] == unit
        values = background.x[_places(background, unit).argsort(stable=True)[places]]
        at = [class_outputs(model, some.with_x(torch.where(own, v, some.x))) for v in values]
        yield torch.stack(at, dim=1)


def _deviation(curve: Tensor) -> Tensor:
    """`[..., K, C] -> [..., C]`: standard deviation along the curve."""
    # The curve is given at all its points, not sampled: no correction of degrees of freedom.
    return curve.std(-2, correction=0)


def _unit_numbers(background: Inputs) -> range:
    return range(units.width(background.units))


def _places(background: Inputs, unit: int) -> Tensor:
    """`[N]` float64: by what rows are ordered; the value of a column, the number of a category."""
    own = (background.units[0] == unit).flatten()
    inside = background.x.flatten(1)[:, own].double()
    return inside @ torch.arange(1, inside.shape[1] + 1, dtype=torch.float64)


def _first_row_of(number: Tensor) -> Tensor:
    """`number [N] -> [levels]`: the first row that has each level."""
    rows = torch.arange(len(number)).flip(0)  # so that the first row is written last
    first = torch.zeros(int(number.max()) + 1, dtype=torch.long)
    first[number[rows]] = rows
    return first


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
