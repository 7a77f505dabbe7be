"""The gradient of the explained scalar, in batches of bounded size."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from xai_bench.core.calls.model_outputs import gradient_rows, row_batches
from xai_bench.core.calls.row_gradients import row_gradients
from xai_bench.types import Inputs, Model, Unsupported

Scalar = Callable[[Inputs, Tensor], Tensor]
"""Inputs and targets to `[B]`, such as `model.target_output`."""


def require_gradient(model: Model) -> None:
    """Raise `Unsupported` where the model has no gradient."""
    if model.differentiable:
        return
    sentence = "gradients need a differentiable model, and this one is not"
    layers = [] if model.module is None else model.module.modules()
    if any(isinstance(layer, nn.Embedding) for layer in layers):
        sentence += "; of token ids, name the layer that embeds them: workbench(embedding=...)"
    raise Unsupported(sentence)


def gradient(model: Model, inputs: Inputs, targets: Tensor) -> Tensor:
    """`[B, *S]`: the gradient of the target output at `inputs.x`, detached; 0 in padding.

    Raises `Unsupported` where the model has no gradient.
    """
    return value_and_gradient(model, inputs, targets)[1]


def value_and_gradient(
    model: Model, inputs: Inputs, targets: Tensor, scalar: Scalar | None = None
) -> tuple[Tensor, Tensor]:
    """`[B]` and `[B, *S]`: the target output and its gradient, at most `max_rows` at a time.

    Of another `scalar` of the model, where one is given. Raises `Unsupported` where the model has
    no gradient.
    """
    require_gradient(model)
    scalar = scalar or model.target_output
    batches = row_batches(model, len(inputs), gradient=True)
    parts = [_backward(scalar, inputs.take(rows), targets[rows]) for rows in batches]
    outputs, gradients = (torch.cat(part) for part in zip(*parts, strict=True))
    return outputs, torch.where(inputs.units < 0, 0, gradients)


def _backward(scalar: Scalar, inputs: Inputs, targets: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = inputs.x.detach().clone().requires_grad_()
        outputs = scalar(inputs.with_x(x), targets)
    require_path(outputs)
    (slopes,) = row_gradients(outputs, (x,))
    return outputs.detach(), slopes


def require_path(outputs: Tensor) -> None:
    """Raise `Unsupported` where autograd finds no path from the outputs back to the input."""
    if not outputs.requires_grad:
        raise Unsupported("the model's output is cut off from its input: autograd finds no path")


def gradients_at(
    model: Model, inputs: Inputs, targets: Tensor, numbers: range, point: Callable[[int], Tensor]
) -> Iterator[Tensor]:
    """The gradients `[B, *S]` at `point(k) [B, *S]` for each `k` of `numbers`, in that order.

    Points share batches of at most `max_rows` rows. Add them up one after the other, so that the
    bits of a sum do not depend on how many fit into one batch.
    """
    per_batch = max(gradient_rows(model) // len(inputs), 1)
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
    """`[B, *S]`: the sum of `weight * gradient` over points.

    `point(k)` gives the k-th point `[B, *S]` and its weight, a number or `[B, *S]`.
    """
    # A whole batch of points is made before the first of its gradients is there.
    weights: deque[Tensor | float] = deque()

    def without_weight(k: int) -> Tensor:
        x, weight = point(k)
        weights.append(weight)
        return x

    total = torch.zeros_like(inputs.x)
    for slope in gradients_at(model, inputs, targets, range(n_points), without_weight):
        total = total + weights.popleft() * slope
    return total
