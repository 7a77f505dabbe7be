"""What global explainers share: one importance per unit, learnt once from the background rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.types import Explanation, Inputs, Model, Rng, Rows, Unsupported


@dataclass(frozen=True, eq=False)
class FittedImportance:
    """The importance of every unit, for the whole model or for each class.

    Attributes:
        values: `[*S]`, or `[C, *S]` where each class has its own.
        layout: `[*S]`, the unit of each element, which every sample must share.
        standard_error: `[*S]`, of values that are estimates from random draws.
    """

    values: Tensor
    layout: Tensor
    standard_error: Tensor | None = None

    @staticmethod
    def of_units(
        background: Inputs, values: Tensor, standard_error: Tensor | None = None
    ) -> FittedImportance:
        """From `values [U]` or `[C, U]`, and errors `[U]`, of the units of the background."""
        layout = background.units[0]
        error = None if standard_error is None else _by_element(standard_error, layout)
        return FittedImportance(_by_element(values, layout), layout, error)

    def explanation(self, inputs: Inputs, targets: Tensor) -> Explanation:
        """The same importance for every sample of a class.

        Raises `Unsupported` where samples have other units, or targets are more than a class.
        """
        if not bool((inputs.units == self.layout).all()):
            raise Unsupported("global importance needs units that are the same in every sample")
        values = self.values
        if values.dim() > self.layout.dim():
            require_classes(targets)
            values = values[targets]
        error = self.standard_error
        return Explanation(
            _for_each(values, inputs), None if error is None else _for_each(error, inputs)
        )


@dataclass(frozen=True)
class GlobalImportance(ABC):
    """Base of explainers that `fit` learns one importance per unit; explaining takes no rows.

    Attributes:
        fitted: what `fit` learnt. It is no setting, so explainers are equal without it.
    """

    fitted: FittedImportance | None = field(default=None, compare=False, repr=False, kw_only=True)

    @abstractmethod
    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> GlobalImportance:
        """The same explainer with what it learnt in `fitted`; `rng` has one row."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The fitted importance, for every sample. Raises ValueError before `fit`."""
        if self.fitted is None:
            raise not_fitted(self)
        return self.fitted.explanation(inputs, targets)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """No rows: all work is done in `fit`."""
        return Rows(0)


def not_fitted(explainer: object) -> ValueError:
    """The error of an explainer that is asked before its `fit`."""
    return ValueError(f"{type(explainer).__name__} has not been fitted; call fit first")


def require_variation(background: Inputs) -> None:
    """Raise `Unsupported` where the background rows cannot tell elements apart."""
    if bool((background.x == background.x[:1]).all()):
        raise Unsupported(
            "a global explanation is learnt from background rows that differ; "
            f"found {len(background)} equal rows"
        )


def require_classes(targets: Tensor) -> None:
    """Raise `Unsupported` where the target is more than a class."""
    if targets.is_floating_point():
        raise Unsupported("a surrogate is learnt per class, and this target depends on the label")


def _by_element(values: Tensor, layout: Tensor) -> Tensor:
    """`[U]` or `[C, U]` to `[*S]` or `[C, *S]`: a unit's value is shared by its elements."""
    rows = torch.atleast_2d(values)
    shared = units.spread(rows, layout.expand(len(rows), *layout.shape))
    return shared[0] if values.dim() == 1 else shared


def _for_each(values: Tensor, inputs: Inputs) -> Tensor:
    """`[*S]` or `[B, *S]` to `[B, *S]`, in memory of its own."""
    return values.to(inputs.x.dtype).expand(inputs.x.shape).clone()
