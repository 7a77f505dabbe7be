"""Explainers that read the gradient of the target output, at the input and on the way to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xai_bench.types import Baseline, Inputs, Kind, Model, Rng, Rows, Unsupported


def gradient(model: Model, inputs: Inputs, targets: Tensor) -> Tensor:
    """`[B, *S]`: the gradient of the target output at `inputs.x`, detached; 0 in padding.

    Raises `Unsupported` where the model has no gradient.
    """
    return value_and_gradient(model, inputs, targets)[1]


def value_and_gradient(model: Model, inputs: Inputs, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`[B]` and `[B, *S]`: the target output and its gradient, at most `max_rows` at a time."""
    if not model.differentiable:
        raise Unsupported("gradients need a differentiable model, and this one is not")
    batches = torch.arange(len(inputs)).split(model.max_rows)
    parts = [_backward(model, inputs.take(rows), targets[rows]) for rows in batches]
    outputs, gradients = (torch.cat(part) for part in zip(*parts, strict=True))
    return outputs, torch.where(inputs.units < 0, 0, gradients)


def _backward(model: Model, inputs: Inputs, targets: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = inputs.x.detach().clone().requires_grad_()
        outputs = model.target_output(inputs.with_x(x), targets)
    if not outputs.requires_grad:
        raise Unsupported("the model's output is cut off from its input: autograd finds no path")
    (slopes,) = torch.autograd.grad(outputs, x, torch.ones_like(outputs))
    return outputs.detach(), slopes


def weighted_gradients(
    model: Model,
    inputs: Inputs,
    targets: Tensor,
    n_points: int,
    point: Callable[[int], tuple[Tensor, Tensor | float]],
) -> Tensor:
    """`[B, *S]`: sum of `weight * gradient` over points, where `point(k)` gives the k-th point
    `[B, *S]` and its weight.

    Points share batches of at most `max_rows` rows. They are added one after the other, so that the
    bits of a sum do not depend on how many fit into one batch.
    """
    if n_points < 1:
        raise ValueError(f"found {n_points} points to take gradients at; ask for at least 1")
    total = torch.zeros_like(inputs.x)
    per_batch = max(model.max_rows // len(inputs), 1)
    for first in range(0, n_points, per_batch):
        last = min(first + per_batch, n_points)
        points, weights = zip(*(point(k) for k in range(first, last)), strict=True)
        stacked = inputs.stacked(torch.stack(points, dim=1))
        slopes = gradient(model, stacked, targets.repeat_interleave(last - first))
        columns = slopes.unflatten(0, (len(inputs), -1)).unbind(1)
        for slope, weight in zip(columns, weights, strict=True):
            total = total + weight * slope
    return total


def references(baseline: Baseline, inputs: Inputs, *, rng: Rng) -> Tensor:
    """`[B, R, *S]`: the baseline's references, equal to `x` in padding, which is never moved."""
    found = baseline.references(inputs, rng=rng)
    return torch.where((inputs.units < 0)[:, None], inputs.x[:, None], found)


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
class IntegratedGradients:
    """The mean gradient on the straight line from reference to input, times the way between them.

    The mean is a Gauss-Legendre sum: exact for gradients that are polynomials of degree below
    `2 * n_steps` along the line, and the mid-point rule for one step. Sundararajan+ 2017.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Sundararajan+ 2017, arXiv:1703.01365"
    version: ClassVar[int] = 1

    baseline: Baseline
    n_steps: int = 32

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        starts = references(self.baseline, inputs, rng=rng)
        n_references = starts.shape[1]
        nodes, shares = np.polynomial.legendre.leggauss(max(self.n_steps, 1))

        def point(k: int) -> tuple[Tensor, Tensor]:
            start, step = starts[:, k // self.n_steps], k % self.n_steps
            way = inputs.x - start
            position, share = (1 + nodes[step]) / 2, shares[step] / 2
            return start + float(position) * way, float(share) / n_references * way

        return weighted_gradients(model, inputs, targets, n_references * self.n_steps, point)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(self.n_steps * n_references, self.n_steps * n_references)
