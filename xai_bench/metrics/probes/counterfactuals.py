"""What the model says of the counterfactuals that an explainer found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import counterfactuals, model_outputs
from xai_bench.types import Case, Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Attributes: `labels [N]`, classes of the background; `middle []`, that of a regressor."""

    labels: Tensor
    middle: Tensor | None


@dataclass(frozen=True)
class BackgroundClasses:
    """The class the model puts each background row into. Runs `N` rows."""

    shared: ClassVar[bool] = True

    def measure(self, case: Case) -> Known:
        domain = case.inputs.domain
        rows = case.inputs.take(torch.zeros(len(domain.background), dtype=torch.long))
        rows = replace(rows, x=domain.background, context=domain.context)
        outputs = model_outputs.outputs(case.model, rows)
        middle = outputs.quantile(0.5) if case.model.n_outputs == 1 else None
        return Known(counterfactuals.classes(outputs, middle), middle)


@dataclass(frozen=True)
class PresentClass:
    """`[B]`: the class to leave, -1 where x is not in the explained class at all. Runs a row."""

    shared: ClassVar[bool] = True

    def measure(self, case: Case) -> Tensor:
        outputs = model_outputs.outputs(case.model, case.inputs)
        if case.model.n_outputs == 1:
            return counterfactuals.classes(outputs, case.measure(BackgroundClasses()).middle)
        now = outputs.argmax(1)
        return torch.where(now == case.targets, now, -1)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Attributes:
    points: `[B, M, *S]`, x itself where none was found.
    found, valid: `[B, M]` bool, whether there is one, and whether its class is another.
    labels: `[B, M]` long, its class.
    distance: `[B, M]`, in median absolute deviations; infinite where none was found.
    nearest: `[B]` long, the nearest valid one; is_known: `[B]`, whether there is any.
    price: `[*S]`, of a change of 1 in each element.
    """

    points: Tensor
    found: Tensor
    valid: Tensor
    labels: Tensor
    distance: Tensor
    nearest: Tensor
    is_known: Tensor
    price: Tensor

    def of_nearest(self, values: Tensor) -> Tensor:
        """`[B, M, ...] -> [B, ...]`."""
        return values[torch.arange(len(values)), self.nearest]

    def scored(self, values: Tensor) -> Tensor:
        """`[B]`, NaN where there is no valid counterfactual."""
        return torch.where(self.is_known, values.double(), torch.nan)


@dataclass(frozen=True)
class Alternatives:
    """The counterfactuals of a case, judged. Runs `M` rows per sample.

    Raises `Unsupported` where the explainer gives none.
    """

    shared: ClassVar[bool] = False

    def measure(self, case: Case) -> Judged:
        given, inputs = case.explanation.counterfactuals, case.inputs
        if given is None:
            raise Unsupported("this explainer names no counterfactuals")
        found = ~given.flatten(2).isnan().any(2)
        points = torch.where(
            found.view(*found.shape, *[1] * (inputs.x.dim() - 1)), given, inputs.x[:, None]
        )
        leaving = case.measure(PresentClass())
        outputs = model_outputs.outputs_at(case.model, inputs, points)
        middle = None
        if case.model.n_outputs == 1:
            middle = case.measure(BackgroundClasses()).middle
        labels = counterfactuals.classes(outputs, middle)
        valid = found & (leaving >= 0)[:, None] & (labels != leaving[:, None])
        price = counterfactuals.prices(inputs)
        away = counterfactuals.distance(inputs, points, price)
        away = torch.where(found, away, torch.inf)
        nearest = torch.where(valid, away, torch.inf).argmin(1)
        return Judged(points, found, valid, labels, away, nearest, valid.any(1), price)
