"""Simple models fitted to the explained one, evaluated on samples that they were not fitted to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xai_bench.core.calls.model_outputs import class_outputs, outputs
from xai_bench.core.tokens import require_numbers
from xai_bench.types import Case, Unsupported

Of = Literal["outputs", "target"]


@dataclass(frozen=True)
class TreeSurrogate:
    """`[B, C]`: the outputs of a regression tree that is fitted to the model on the background.

    One tree for all classes. `of`: the outputs, or the target output of every class. Costs `N` rows
    per batch, or `N * C`.
    """

    shared: ClassVar[bool] = True
    of: Of
    max_depth: int
    min_samples_leaf: int = 2

    def measure(self, case: Case) -> Tensor:
        """`[B, C]` float64."""
        from sklearn.tree import DecisionTreeRegressor

        tree = DecisionTreeRegressor(
            max_depth=self.max_depth, min_samples_leaf=self.min_samples_leaf, random_state=0
        )
        outputs, background, x = _fitting_data(case, self.of)
        guess = tree.fit(background.numpy(), outputs.numpy()).predict(x.numpy())
        return torch.from_numpy(guess).view(len(x), -1)


@dataclass(frozen=True)
class LinearSurrogate:
    """`[B, C]`: the outputs of a ridge regression that is fitted to the model on the background.

    `ridge` is relative to the variance of an element. `of` and cost as for `TreeSurrogate`.
    """

    shared: ClassVar[bool] = True
    of: Of
    ridge: float = 1e-3

    def measure(self, case: Case) -> Tensor:
        """`[B, C]` float64."""
        from sklearn.linear_model import Ridge

        outputs, background, x = _fitting_data(case, self.of)
        # Scikit-learn's penalty is on a sum over rows; times their number it is one on their mean.
        ridge = Ridge(alpha=self.ridge * len(background)).fit(background.numpy(), outputs.numpy())
        slopes = torch.from_numpy(ridge.coef_).view(outputs.shape[1], -1)
        # Not by a product of matrices, which rounds differently for few rows and for many.
        change = (x[:, None] * slopes).cumsum(2)[..., -1]
        return torch.from_numpy(ridge.intercept_).view(1, -1) + change


@dataclass(frozen=True)
class BackgroundOutputs:
    """`[N, C]` float64: outputs of the model over the background, or target outputs per class.

    Costs `N` rows per batch, or `N * C`. Raises `Unsupported` where all background rows are equal,
    and for target outputs that depend on the label.
    """

    shared: ClassVar[bool] = True
    of: Of

    def measure(self, case: Case) -> Tensor:
        """`[N, C]` float64."""
        domain = case.inputs.domain
        # Such as the zeros of gates.
        if bool((domain.background == domain.background[:1]).all()):
            raise Unsupported("a global surrogate is fitted to background rows that differ")
        first = case.inputs.take(torch.zeros(len(domain.background), dtype=torch.long))
        rows = replace(first, x=domain.background, context=domain.context)
        if self.of == "outputs":
            return outputs(case.model, rows)
        if case.targets.is_floating_point():
            raise Unsupported("a surrogate is fitted per class; this target depends on the label")
        return class_outputs(case.model, rows)


def _fitting_data(case: Case, of: Of) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs `[N, C]`, and the background `[N, F]` and x `[B, F]`, standardised, float64."""
    domain = case.inputs.domain
    require_numbers(domain, "a global surrogate")
    background, x = (
        ((values - domain.background.mean(0)) / domain.scale).flatten(1).double()
        for values in (domain.background, case.inputs.x)
    )
    return case.measure(BackgroundOutputs(of)), background, x
