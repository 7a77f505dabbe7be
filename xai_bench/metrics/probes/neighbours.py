"""Explanations of nearby inputs, and the model's outputs for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xai_bench.core.calls import model_outputs
from xai_bench.core.tokens import require_numbers
from xai_bench.types import Case, Inputs, Model, Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class Neighbourhood:
    """Attributes:
    points: `[B, K, *S]`, near x.
    attributions: `[B, K, *S]`, their maps.
    """

    points: Tensor
    attributions: Tensor


@dataclass(frozen=True)
class Neighbours:
    """Points that differ from x by up to `radius` standard deviations in every element, explained.

    Uniform draws. The explainer keeps its random numbers, so that only the input differs, and all
    explainers get the same neighbours. Padding stays. Costs `n_draws` explanations per sample.
    """

    shared: ClassVar[bool] = False
    radius: float = 0.1
    n_draws: int = 10

    def measure(self, case: Case) -> Neighbourhood:
        """The points and their maps."""
        points = neighbour_points(case, self.radius, self.n_draws)
        near = case.explain(case.inputs.stacked(points))
        return Neighbourhood(points, near.view(*points.shape[:2], *near.shape[1:]))


@dataclass(frozen=True, slots=True, eq=False)
class NeighbourValues:
    """Values of the model, such as its `C` outputs, float64.

    Attributes:
        at_x: `[B, C]`.
        nearby: `[B, K, C]`, at the neighbours.
    """

    at_x: Tensor
    nearby: Tensor

    def same_class(self) -> Tensor:
        """`[B, K]` bool: whether the largest output is the same; always for a single output."""
        return self.nearby.argmax(2) == self.at_x.argmax(1)[:, None]


@dataclass(frozen=True)
class NeighbourOutputs:
    """The model's outputs at x and at the points of `Neighbours`.

    Costs `1 + n_draws` forward rows per sample.
    """

    shared: ClassVar[bool] = True
    radius: float = 0.1
    n_draws: int = 10

    @torch.no_grad()
    def measure(self, case: Case) -> NeighbourValues:
        """The outputs, `[B, C]` and `[B, K, C]`."""
        points = neighbour_points(case, self.radius, self.n_draws)
        at_x = model_outputs.outputs(case.model, case.inputs)
        return NeighbourValues(at_x, model_outputs.outputs_at(case.model, case.inputs, points))


@dataclass(frozen=True)
class NeighbourRepresentations:
    """The input of the model's last layer with parameters, at x and at the points of `Neighbours`.

    Costs `1 + n_draws` forward rows per sample. Raises `Unsupported` for models without a torch
    module.
    """

    shared: ClassVar[bool] = True
    radius: float = 0.1
    n_draws: int = 10

    def measure(self, case: Case) -> NeighbourValues:
        """The flattened inputs of the layer, `[B, F]` and `[B, K, F]`."""
        points = neighbour_points(case, self.radius, self.n_draws)
        at_x = representation(case.model, case.inputs)
        nearby = [representation(case.model, case.inputs.with_x(p)) for p in points.unbind(1)]
        return NeighbourValues(at_x, torch.stack(nearby, dim=1))


@torch.no_grad()
def representation(model: Model, inputs: Inputs) -> Tensor:
    """`[B, F]` float64: the input of the last layer with parameters that the model calls.

    Raises `Unsupported` for a model without a torch module, or where no such layer takes one tensor
    per sample.
    """
    if model.module is None:
        raise Unsupported("hidden representations need a torch module, and this model has none")
    recorded: list[Tensor] = []

    def record(layer: nn.Module, args: tuple[Any, ...]) -> None:
        # Models fill their batches up to a multiple of 16 rows; the extra ones are cut off.
        if args and isinstance(args[0], Tensor) and len(args[0]) >= len(inputs):
            given = args[0][: len(inputs)].detach().to(inputs.x.device)
            recorded.append(given.double().flatten(1))

    layers = [
        m for m in model.module.modules() if next(m.parameters(recurse=False), None) is not None
    ]
    handles = [layer.register_forward_pre_hook(record) for layer in layers]
    try:
        model.outputs(inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not recorded:
        raise Unsupported("no layer with parameters of this model takes one tensor per sample")
    return recorded[-1]


def neighbour_points(case: Case, radius: float, n_draws: int) -> Tensor:
    """`[B, K, *S]`: the neighbours, the same for all explainers and metrics."""
    inputs, rng = case.inputs, case.rng.child("neighbours")
    require_numbers(inputs.domain, "a neighbourhood of small steps")
    # To both sides, in standard deviations of each element: noise of one side is a shift, and noise
    # of one size for all columns is none for some of them.
    draws = 2 * rng.uniform(n_draws, *inputs.x.shape[1:]) - 1
    step = (radius * inputs.domain.scale * draws).to(inputs.x)
    return inputs.x[:, None] + torch.where(inputs.units < 0, 0, 1)[:, None] * step
