"""The counterfactuals that an explainer gives, and the classes that the model gives them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import counterfactuals
from xai_bench.core.calls import model_outputs
from xai_bench.types import Case, Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class BackgroundLabels:
    """The classes of the background.

    Attributes:
        labels: `[N]` long, the class that the model gives each row.
        median: `[]`, the output that parts the two classes of a regressor; None for a classifier.
    """

    labels: Tensor
    median: Tensor | None


@dataclass(frozen=True)
class BackgroundClasses:
    """The class that the model gives each background row. Costs `N` forward rows per batch."""

    shared: ClassVar[bool] = True

    def measure(self, case: Case) -> BackgroundLabels:
        """Of a regressor, the class is the side of the median output."""
        domain = case.inputs.domain
        rows = case.inputs.take(torch.zeros(len(domain.background), dtype=torch.long))
        rows = replace(rows, x=domain.background, context=domain.context)
        outputs = model_outputs.outputs(case.model, rows)
        median = outputs.quantile(0.5) if case.model.n_outputs == 1 else None
        return BackgroundLabels(counterfactuals.classes(outputs, median), median)


@dataclass(frozen=True)
class CurrentClass:
    """`[B]` long: the class that a counterfactual has to leave. Costs one forward row per sample.

    -1 where the model does not put x into the explained class, so that there is nothing to leave.
    """

    shared: ClassVar[bool] = True

    def measure(self, case: Case) -> Tensor:
        """`[B]` long."""
        outputs = model_outputs.outputs(case.model, case.inputs)
        if case.model.n_outputs == 1:
            return counterfactuals.classes(outputs, case.measure(BackgroundClasses()).median)
        predicted = outputs.argmax(1)
        return torch.where(predicted == case.targets, predicted, -1)


@dataclass(frozen=True, slots=True, eq=False)
class ClassifiedCounterfactuals:
    """The `M` counterfactuals of each sample, their classes and their distances.

    Attributes:
        points: `[B, M, *S]`, x itself where none was found.
        exists: `[B, M]` bool, whether there is one.
        valid: `[B, M]` bool, whether there is one and its class is another.
        labels: `[B, M]` long, the class of the point.
        distance: `[B, M]`, in median absolute deviations; infinite where none was found.
        nearest: `[B]` long, the number of the nearest valid one.
        has_valid: `[B]` bool, whether any is valid.
        price: `[*S]`, the distance of a change of 1 in each element.
    """

    points: Tensor
    exists: Tensor
    valid: Tensor
    labels: Tensor
    distance: Tensor
    nearest: Tensor
    has_valid: Tensor
    price: Tensor

    def of_nearest(self, values: Tensor) -> Tensor:
        """`[B, M, ...] -> [B, ...]`: those of the nearest valid counterfactual."""
        return values[torch.arange(len(values)), self.nearest]

    def scored(self, values: Tensor) -> Tensor:
        """`[B]` float64: the values, NaN where there is no valid counterfactual."""
        return torch.where(self.has_valid, values.double(), torch.nan)


@dataclass(frozen=True)
class TextLikelihood:
    """`[B]` float64: the log-probability per token of each text by the masked language model."""

    shared: ClassVar[bool] = True

    def measure(self, case: Case) -> Tensor:
        """Raises `Unsupported` where there is no such model."""
        symbols = case.inputs.domain.symbols
        if symbols is None or symbols.infill is None:
            raise Unsupported("there is no masked language model")
        return symbols.infill.log_probability(case.inputs.x.long())


@dataclass(frozen=True)
class Counterfactuals:
    """The counterfactuals of a case, classified by the model. Costs `M` forward rows per sample.

    Raises `Unsupported` where the explainer gives none.
    """

    shared: ClassVar[bool] = False

    def measure(self, case: Case) -> ClassifiedCounterfactuals:
        """NaN in any element of a counterfactual means that none was found."""
        given, inputs = case.explanation.counterfactuals, case.inputs
        if given is None:
            raise Unsupported("this explainer gives no counterfactuals")
        exists = ~given.flatten(2).isnan().any(2)
        # The model is not given NaN; x in its place has the class to leave and is never valid.
        points = torch.where(
            exists.view(*exists.shape, *[1] * (inputs.x.dim() - 1)), given, inputs.x[:, None]
        )
        current = case.measure(CurrentClass())
        outputs = model_outputs.outputs_at(case.model, inputs, points)
        median = None
        if case.model.n_outputs == 1:
            median = case.measure(BackgroundClasses()).median
        labels = counterfactuals.classes(outputs, median)
        valid = exists & (current >= 0)[:, None] & (labels != current[:, None])
        price = counterfactuals.prices(inputs)
        distance = counterfactuals.distance(inputs, points, price)
        distance = torch.where(exists, distance, torch.inf)
        # Of valid ones only: a point that stayed in its class may be nearer.
        nearest = torch.where(valid, distance, torch.inf).argmin(1)
        return ClassifiedCounterfactuals(
            points, exists, valid, labels, distance, nearest, valid.any(1), price
        )
