"""Other models of a small world, in closed form: for metrics that retrain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.certify.toy_worlds import World, normal
from xai_bench.evaluation.preparation import background
from xai_bench.models.base import Explained, TorchPredictor
from xai_bench.types import Inputs, Model

_FIRST_IDS = {"train": 1_000_000, "valid": 2_000_000, "test": 3_000_000}
"""Where the sample ids of each part begin, so that no draw serves two samples."""


class Affine(nn.Module):
    """`x -> x @ weight[:-1] + weight[-1]`; the context is not used."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor, **context: Tensor) -> Tensor:
        """`[B, *S] -> [B, C]`."""
        return x.flatten(1) @ self.weight[:-1] + self.weight[-1]


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """Variants of a model that are affine least squares fits, of least norm where several are.

    All three parts are the background of the world; the outputs of its own model are their labels.
    Models of other members differ a little, by noise of 0.001 on what they are fitted to.
    """

    world: World
    made: dict[Any, Any] = field(default_factory=dict)

    @property
    def n_classes(self) -> int:
        """0 for a model of one output."""
        n_outputs = self.world.model.n_outputs
        return n_outputs if n_outputs > 1 else 0

    def retrained(self, member: int) -> Model:
        """A fit to the labels and a little noise of this member."""
        inputs, _, labels = self.split("train")
        return self._once(member, inputs.x, labels, 1e-3 * normal(len(labels), 1, seed=member))

    def mislabelled(self) -> Model:
        """A fit to shuffled labels."""
        inputs, _, labels = self.split("train")
        # A generator of its own: the global one is the caller's.
        rows = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
        return self._once("mislabelled", inputs.x, labels[rows])

    def degraded(self, train: Tensor, valid: Tensor) -> Model:
        """A fit to the labels at other inputs `train [N, *S]`."""
        return self._fitted(train, self.split("train")[2])

    def degraded_all(self, parts: Sequence[tuple[Tensor, Tensor]]) -> list[Model]:
        """One fit per pair of training and validation inputs."""
        return [self.degraded(*pair) for pair in parts]

    def split(self, name: str) -> tuple[Inputs, Tensor, Tensor]:
        """Inputs, targets and labels: the class of the largest output, or a regressor's output."""
        inputs = background(self.world.inputs)
        inputs = replace(inputs, index=_FIRST_IDS[name] + torch.arange(len(inputs)))
        if self.world.inputs.units.stride(0) == 0:
            inputs = replace(inputs, units=inputs.units[:1].expand(inputs.x.shape))
        with torch.no_grad():
            outputs = self.world.model.outputs(inputs)
        targets = outputs.argmax(1)
        return inputs, targets, targets if self.n_classes else outputs[:, 0]

    def _once(self, key: object, x: Tensor, labels: Tensor, noise: Tensor | float = 0.0) -> Model:
        if key not in self.made:
            self.made[key] = self._fitted(x, labels, noise)
        model: Model = self.made[key]
        return model

    def _fitted(self, x: Tensor, labels: Tensor, noise: Tensor | float = 0.0) -> Model:
        """Least squares of the labels, one-hot for classes, plus noise."""
        outputs = labels[:, None].double()
        if self.n_classes:
            outputs = nn.functional.one_hot(labels, self.n_classes).double()
        outputs = outputs + noise
        rows = torch.cat([x.flatten(1).double(), torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
        # By singular values: columns that were removed everywhere are zeros, and get no weight.
        weight = torch.linalg.lstsq(rows, outputs, driver="gelsd").solution
        predictor = TorchPredictor(Affine(weight), outputs.shape[1])
        return Explained(predictor, self.world.model.target, self.world.model.max_rows)


def with_model_variants(world: World) -> World:
    """The same world with models that can be retrained."""
    return replace(world, variants=LeastSquares(world))
