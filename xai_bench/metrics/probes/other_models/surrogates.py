"""How much of a model a simple model learnt from it can say, on samples that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xai_bench.core.model_outputs import class_outputs, outputs
from xai_bench.core.tokens import require_numbers
from xai_bench.types import Case, Unsupported

Of = Literal["outputs", "target"]


@dataclass(frozen=True)
class TreeSays:
    """`[B, C]`: a regression tree's guess of what the model says, learnt from the background.

    One tree for all classes. `of`: the outputs, or the target output of every class. Takes `N` rows
    per batch, or `N * C`.
    """

    shared: ClassVar[bool] = True
    of: Of
    max_depth: int
    min_samples_leaf: int = 2

    def measure(self, case: Case) -> Tensor:
        from sklearn.tree import DecisionTreeRegressor

        tree = DecisionTreeRegressor(
            max_depth=self.max_depth, min_samples_leaf=self.min_samples_leaf, random_state=0
        )
        known, rows, asked = _material(case, self.of)
        guess = tree.fit(rows.numpy(), known.numpy()).predict(asked.numpy())
        return torch.from_numpy(guess).view(len(asked), -1)


@dataclass(frozen=True)
class LineSays:
    """`[B, C]`: a ridge regression's guess of the same.

    `ridge` is relative to the variance of an element.
    """

    shared: ClassVar[bool] = True
    of: Of
    ridge: float = 1e-3

    def measure(self, case: Case) -> Tensor:
        from sklearn.linear_model import Ridge

        known, rows, asked = _material(case, self.of)
        line = Ridge(alpha=self.ridge * len(rows)).fit(rows.numpy(), known.numpy())
        slopes = torch.from_numpy(line.coef_).view(known.shape[1], -1)
        # Not by a product of matrices, which rounds differently for few rows and for many.
        change = (asked[:, None] * slopes).cumsum(2)[..., -1]
        return torch.from_numpy(line.intercept_).view(1, -1) + change


@dataclass(frozen=True)
class BackgroundSays:
    """`[N, C]`: what the model says of the background."""

    shared: ClassVar[bool] = True
    of: Of

    def measure(self, case: Case) -> Tensor:
        domain = case.inputs.domain
        if bool((domain.background == domain.background[:1]).all()):
            raise Unsupported("a global surrogate is learnt from background rows that differ")
        first = case.inputs.take(torch.zeros(len(domain.background), dtype=torch.long))
        rows = replace(first, x=domain.background, context=domain.context)
        if self.of == "outputs":
            return outputs(case.model, rows)
        if case.targets.is_floating_point():
            raise Unsupported("a surrogate is learnt per class; this target depends on the label")
        return class_outputs(case.model, rows)


def _material(case: Case, of: Of) -> tuple[Tensor, Tensor, Tensor]:
    """`[N, C]` answers, `[N, F]` and `[B, F]` standardised rows, float64."""
    domain = case.inputs.domain
    require_numbers(domain, "a global surrogate")
    rows, asked = (
        ((x - domain.background.mean(0)) / domain.scale).flatten(1).double()
        for x in (domain.background, case.inputs.x)
    )
    return case.measure(BackgroundSays(of)), rows, asked
