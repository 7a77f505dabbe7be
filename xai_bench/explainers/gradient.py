"""Explainers that read the gradient of the target output, at the input and on the way to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.core.baselines import references
from xai_bench.types import Baseline, Inputs, Kind, Model, Rng, Rows, Unsupported

Scalar = Callable[[Inputs, Tensor], Tensor]
"""Inputs and targets to `[B]`, such as `model.target_output`."""


def gradient(model: Model, inputs: Inputs, targets: Tensor) -> Tensor:
    """`[B, *S]`: the gradient of the target output at `inputs.x`, detached; 0 in padding.

    Raises `Unsupported` where the model has no gradient.
    """
    return value_and_gradient(model, inputs, targets)[1]


def value_and_gradient(
    model: Model, inputs: Inputs, targets: Tensor, scalar: Scalar | None = None
) -> tuple[Tensor, Tensor]:
    """`[B]` and `[B, *S]`: the target output and its gradient, at most `max_rows` at a time.

    Of another `scalar` of the model, where one is given.
    """
    if not model.differentiable:
        raise Unsupported("gradients need a differentiable model, and this one is not")
    scalar = scalar or model.target_output
    batches = torch.arange(len(inputs)).split(model.max_rows)
    parts = [_backward(scalar, inputs.take(rows), targets[rows]) for rows in batches]
    outputs, gradients = (torch.cat(part) for part in zip(*parts, strict=True))
    return outputs, torch.where(inputs.units < 0, 0, gradients)


def _backward(scalar: Scalar, inputs: Inputs, targets: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = inputs.x.detach().clone().requires_grad_()
        outputs = scalar(inputs.with_x(x), targets)
    if not outputs.requires_grad:
        raise Unsupported("the model's output is cut off from its input: autograd finds no path")
    (slopes,) = torch.autograd.grad(outputs, x, torch.ones_like(outputs))
    return outputs.detach(), slopes


def gradients_at(
    model: Model, inputs: Inputs, targets: Tensor, numbers: range, point: Callable[[int], Tensor]
) -> Iterator[Tensor]:
    """The gradients `[B, *S]` at `point(k) [B, *S]` for each `k` of `numbers`, in that order.

    Points share batches of at most `max_rows` rows. Add them up one after the other, so that the
    bits of a sum do not depend on how many fit into one batch.
    """
    per_batch = max(model.max_rows // len(inputs), 1)
    for first in range(numbers.start, numbers.stop, per_batch):
        batch = range(first, min(first + per_batch, numbers.stop))
        stacked = inputs.stacked(torch.stack([point(k) for k in batch], dim=1))
        slopes = gradient(model, stacked, targets.repeat_interleave(len(batch)))
        yield from slopes.unflatten(0, (len(inputs), -1)).unbind(1)


def weighted_gradients(
    model: Model,
    inputs: Inputs,
    targets: Tensor,
    n_points: int,
    point: Callable[[int], tuple[Tensor, Tensor | float]],
) -> Tensor:
    """`[B, *S]`: sum of `weight * gradient` over points, where `point(k)` gives the k-th point
    `[B, *S]` and its weight.
    """
    waiting: deque[Tensor | float] = deque()

    def place(k: int) -> Tensor:
        there, weight = point(k)
        waiting.append(weight)
        return there

    total = torch.zeros_like(inputs.x)
    for slope in gradients_at(model, inputs, targets, range(n_points), place):
        total = total + waiting.popleft() * slope
    return total


@dataclass(frozen=True)
class Gradient:
    """The signed gradient of the target output. Baehrens+ 2010."""

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Baehrens+ 2010, arXiv:0912.1128"
    version: ClassVar[int] = 1

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        return gradient(model, inputs, targets)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class Saliency:
    """The size of the gradient. Simonyan+ 2014."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Simonyan+ 2014, arXiv:1312.6034"
    version: ClassVar[int] = 1

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        return gradient(model, inputs, targets).abs()

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class InputXGradient:
    """Input times gradient: the first-order change of the output from 0. Shrikumar+ 2016."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Shrikumar+ 2016, arXiv:1605.01713"
    version: ClassVar[int] = 1

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        return inputs.x.detach() * gradient(model, inputs, targets)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class LossInfluence:
    """The gradient of the loss of the explained class, cross-entropy: how each element of the input
    raises the cost of naming that class. For softmax regression it is `W^T (p - e_y)`.
    """

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Goodfellow+ 2015, arXiv:1412.6572"
    version: ClassVar[int] = 1

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        if model.n_outputs < 2 or targets.is_floating_point():
            raise Unsupported(
                "the loss of a regressor needs the true value, which targets do not hold; "
                "explain it with target=loss and explainer=gradient"
            )

        def loss(there: Inputs, classes: Tensor) -> Tensor:
            return functional.cross_entropy(model.outputs(there), classes, reduction="none")

        return value_and_gradient(model, inputs, targets, loss)[1]

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


Quadrature = Literal["gauss_legendre", "left", "right", "middle", "trapezoid"]


@dataclass(frozen=True)
class IntegratedGradients:
    """The mean gradient on the straight line from reference to input, times the way between them.

    `budget` model rows are shared evenly by the references, a point of the line each. A
    Gauss-Legendre sum over `n` points is exact for gradients that are polynomials of degree below
    `2n` along the line; the other quadratures are the sums that the field uses, trapezoid with its
    two end points among the `n`. Sundararajan+ 2017.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Sundararajan+ 2017, arXiv:1703.01365"
    version: ClassVar[int] = 2

    baseline: Baseline
    budget: int = 32
    quadrature: Quadrature = "gauss_legendre"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        starts = references(self.baseline, inputs, rng=rng)
        n_references = starts.shape[1]
        n_steps = steps(self.budget, n_references, 2 if self.quadrature == "trapezoid" else 1)
        nodes, shares = nodes_of(self.quadrature, n_steps)

        def point(k: int) -> tuple[Tensor, Tensor]:
            start, step = starts[:, k // n_steps], k % n_steps
            way = inputs.x - start
            return start + nodes[step] * way, shares[step] / n_references * way

        return weighted_gradients(model, inputs, targets, n_references * n_steps, point)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        spent = self.budget // n_references * n_references
        return Rows(spent, spent)


def steps(budget: int, n_references: int, least: int = 1) -> int:
    """Points per reference; `Unsupported` where the budget leaves fewer than `least` to each."""
    if budget < least * n_references:
        raise Unsupported(
            f"a budget of {budget} rows is too small for {n_references} references; "
            f"give at least {least * n_references}"
        )
    return budget // n_references


def nodes_of(quadrature: Quadrature, n: int) -> tuple[list[float], list[float]]:
    """`n` places in [0, 1] and their weights, which add up to 1."""
    if quadrature == "gauss_legendre":
        nodes, weights = np.polynomial.legendre.leggauss(n)
        return ((1 + nodes) / 2).tolist(), (weights / 2).tolist()
    if quadrature == "trapezoid":
        inner = 1 / (n - 1)
        ends_halved = [inner / 2, *[inner] * (n - 2), inner / 2]
        return [k * inner for k in range(n)], ends_halved
    offset = {"left": 0.0, "middle": 0.5, "right": 1.0}[quadrature]
    return [(k + offset) / n for k in range(n)], [1 / n] * n
