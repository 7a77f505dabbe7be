"""Other samples, explained for the same output as the sample itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.calls.model_outputs import outputs
from xai_bench.metrics.common import once_per_cell, variants_of
from xai_bench.types import Case, Inputs, Model, Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class Companions:
    """The `M` companions of a batch whose samples have `C` different targets.

    Attributes:
        maps: `[C, M, U]`, the companions explained for each of these targets.
        row: `[B]` long, which of these targets is the sample's.
        same_class: `[B, M]` bool, whether the model predicts the sample's class for the companion.
    """

    maps: Tensor
    row: Tensor
    same_class: Tensor

    def each(self) -> Iterator[Tensor]:
        """Companion by companion, its map `[B, U]` for the target of each sample."""
        return (maps[self.row] for maps in self.maps.unbind(1))


@dataclass(frozen=True)
class CompanionMaps:
    """The first `n_companions` rows of the validation part, explained for each sample's own target.

    A fixed part, so that no score depends on the batch. Each target's explanations are computed
    once per explainer and cell: `n_companions` explanations for every class that is explained.
    Raises `Unsupported` for regression, and where samples do not share their units.
    """

    shared: ClassVar[bool] = False
    n_companions: int = 100

    def measure(self, case: Case) -> Companions:
        """The companions, and the model's predictions for them and for the samples."""
        inputs, classes = self._part(case)
        targets, row = case.targets.unique(return_inverse=True)
        return Companions(
            maps=torch.stack([self._maps(case, inputs, target) for target in targets.tolist()]),
            row=row,
            same_class=classes == predicted(case.model, case.inputs)[:, None],
        )

    def _part(self, case: Case) -> tuple[Inputs, Tensor]:
        """The companions and the classes that the model predicts for them, `[M]`."""
        if case.model.n_outputs < 2 or case.targets.is_floating_point():
            raise Unsupported("whether predictions are the same class needs a classifier")
        inputs, _, _ = variants_of(case).split("valid")
        # The first rows, for all explainers and batches: a score must not depend on its company.
        inputs = inputs.take(torch.arange(min(self.n_companions, len(inputs))))
        # A stride of 0: one row of units that is shared by all samples.
        if case.inputs.units.stride(0) != 0 or inputs.units.stride(0) != 0:
            raise Unsupported("explanations of samples with units of their own are not comparable")
        key = (self, "predicted")
        return inputs, once_per_cell(case, key, lambda: predicted(case.model, inputs))

    def _maps(self, case: Case, inputs: Inputs, target: int) -> Tensor:
        """`[M, U]`: the companions explained for one target."""
        targets = torch.full((len(inputs),), target)
        return once_per_cell(
            case,
            (self, target),
            lambda: units.pool(case.explain(inputs, targets=targets).double(), inputs.units),
        )


def predicted(model: Model, inputs: Inputs) -> Tensor:
    """`[B]`: the class of the largest output."""
    return outputs(model, inputs).argmax(1)
