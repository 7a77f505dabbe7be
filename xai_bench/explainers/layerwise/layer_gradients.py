"""Gradients at a layer whose output is replaced, and gradients that flow through some neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.core.calls.layer_outputs import output_of, with_output
from xai_bench.core.calls.model_outputs import filled_up, row_batches
from xai_bench.core.calls.row_gradients import row_gradients
from xai_bench.explainers.function_calls import function_calls
from xai_bench.explainers.layerwise.recording import differentiable
from xai_bench.explainers.layerwise.tape import is_function, leaf_layers, recorded, split_call
from xai_bench.types import Inputs, Model


def slopes_at(model: Model, inputs: Inputs, targets: Tensor, layer: str, values: Tensor) -> Tensor:
    """`values [B, *L] -> [B, *L]`: the gradient of the target output at the layer, whose output is
    replaced by the values; at most `max_rows` rows at a time.
    """
    batches = row_batches(model, len(inputs), gradient=True)
    return torch.cat(
        [_slope_at(model, inputs.take(r), targets[r], layer, values[r]) for r in batches]
    )


def slopes_through(
    model: Model, inputs: Inputs, targets: Tensor, layer: str, neurons: Tensor
) -> Tensor:
    """`neurons [B, *L] -> [B, *S]`: the gradient of the target output at x as far as it flows
    through these neurons of the layer, each weighted by its entry.
    """
    module = differentiable(model, layer)
    with recorded(module, layer) as tape:
        parts = []
        for rows in row_batches(model, len(inputs), gradient=True):
            tape.clear()
            x = inputs.x[rows].detach().clone().requires_grad_()
            with torch.enable_grad():
                outputs = model.target_output(inputs.take(rows).with_x(x), targets[rows])
            output = tape.layers()[layer]
            (slope,) = row_gradients(outputs, (output,), retain_graph=True)
            chosen = slope * filled_up(neurons[rows], len(slope))
            (through_neurons,) = torch.autograd.grad(output, x, chosen)
            parts.append(through_neurons)
    return torch.where(inputs.units < 0, 0, torch.cat(parts))


def _slope_at(model: Model, inputs: Inputs, targets: Tensor, layer: str, values: Tensor) -> Tensor:
    given = values.detach().clone().requires_grad_()

    def replace(part: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        n_rows = len(output_of(part, output))  # type: ignore[arg-type]
        # A copy, for the next layer may overwrite what it is given.
        handed_on = with_output(part, output, filled_up(given, n_rows).clone())
        if getattr(part, "inplace", False):  # the network may go on with the argument
            return args[0].copy_(handed_on)
        return handed_on

    with torch.enable_grad(), replaced_call(differentiable(model, layer), layer, replace):
        outputs = model.target_output(inputs, targets)
    (slopes,) = row_gradients(outputs, (given,))
    return slopes


@contextmanager
def replaced_call(module: nn.Module, layer: str, replace: Callable[..., Any]) -> Iterator[None]:
    """Inside the block, the layer's call of this name has the output that `replace` gives."""
    name, wanted = split_call(layer)
    n_calls = 0

    def count(part: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        return replace(part, args, output) if n_calls == wanted else None

    def on_call(function: str, *call: Any) -> Any:
        return count(*call) if name == f"{function}()" else None

    if not is_function(layer):
        with module.get_submodule(name).register_forward_hook(count):
            yield
        return
    leaves = leaf_layers(module).values()
    with function_calls(module, on_call, set(leaves).__contains__):
        yield
