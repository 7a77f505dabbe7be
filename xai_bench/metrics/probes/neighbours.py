"""Explanations of nearby inputs, and what the model itself makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xai_bench.core.tokens import require_numbers
from xai_bench.types import Case, Inputs, Model, Rng, Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class Neighbourhood:
    """Attributes: `points [B, K, *S]` near x, and their `attributions [B, K, *S]`."""

    points: Tensor
    attributions: Tensor


@dataclass(frozen=True)
class Neighbours:
    """Points moved by up to `radius` standard deviations in every element, explained anew.

    The explainer keeps its random numbers, so only the input differs, and every explainer meets the
    same neighbours. Padding stays. Costs `n_draws` explanations per sample.
    """

    shared: ClassVar[bool] = False
    radius: float = 0.1
    n_draws: int = 10

    def measure(self, case: Case) -> Neighbourhood:
        points = nearby(case, self.radius, self.n_draws)
        near = [case.explain(case.inputs.with_x(point)) for point in points.unbind(1)]
        return Neighbourhood(points, torch.stack(near, dim=1))


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What the model says: `here [B, C]` at x, and `there [B, K, C]` at its neighbours."""

    here: Tensor
    there: Tensor

    def same_class(self) -> Tensor:
        """`[B, K]` bool: the largest output stays; always so where there is one only."""
        return self.there.argmax(2) == self.here.argmax(1)[:, None]


@dataclass(frozen=True)
class NeighbourOutputs:
    """The model's outputs at x and at the points of `Neighbours`.

    Costs `1 + n_draws` forward rows per sample.
    """

    shared: ClassVar[bool] = True
    radius: float = 0.1
    n_draws: int = 10

    @torch.no_grad()
    def measure(self, case: Case) -> Answers:
        points = nearby(case, self.radius, self.n_draws)
        here = case.model.outputs(case.inputs).double()
        there = [case.model.outputs(case.inputs.with_x(p)).double() for p in points.unbind(1)]
        return Answers(here, torch.stack(there, dim=1))


@dataclass(frozen=True)
class NeighbourRepresentations:
    """What the model's last layer with parameters is given, at x and at the points of `Neighbours`.

    Attributes of the result are `[B, F]` and `[B, K, F]`. Costs `1 + n_draws` forward rows per
    sample. Raises `Unsupported` for models without a torch module.
    """

    shared: ClassVar[bool] = True
    radius: float = 0.1
    n_draws: int = 10

    def measure(self, case: Case) -> Answers:
        points = nearby(case, self.radius, self.n_draws)
        here = representation(case.model, case.inputs)
        there = [representation(case.model, case.inputs.with_x(p)) for p in points.unbind(1)]
        return Answers(here, torch.stack(there, dim=1))


@torch.no_grad()
def representation(model: Model, inputs: Inputs) -> Tensor:
    """`[B, F]` float64: what goes into the last layer with parameters that the model calls."""
    if model.module is None:
        raise Unsupported("hidden representations need a torch module, and this model has none")
    seen: list[Tensor] = []

    def keep(layer: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor) and len(args[0]) >= len(inputs):
            seen.append(args[0][: len(inputs)].detach().double().flatten(1))

    layers = [
        m for m in model.module.modules() if next(m.parameters(recurse=False), None) is not None
    ]
    handles = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        model.outputs(inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise Unsupported("no layer with parameters of this model takes one tensor per sample")
    return seen[-1]


def nearby(case: Case, radius: float, n_draws: int) -> Tensor:
    """`[B, K, *S]`: the neighbours, the same for every explainer and metric."""
    inputs, rng = case.inputs, case.rng.child("neighbours")
    return _moved(inputs, rng, radius, n_draws)


def _moved(inputs: Inputs, rng: Rng, radius: float, n_draws: int) -> Tensor:
    require_numbers(inputs.domain, "a neighbourhood of small steps")
    draws = 2 * rng.uniform(n_draws, *inputs.x.shape[1:]) - 1
    step = (radius * inputs.domain.scale * draws).to(inputs.x)
    return inputs.x[:, None] + torch.where(inputs.units < 0, 0, 1)[:, None] * step
