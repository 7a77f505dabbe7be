"""The layers that backward rules are written for, and hooks on them that leave no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from xai_bench.explainers.function_calls import (
    FunctionCalls,
    function_calls,
    is_pytorchs,
    require_open,
)
from xai_bench.types import Unsupported

ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid,
    nn.Hardswish,
)  # fmt: skip
MAX_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
AVERAGE_POOLS = (
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
)  # fmt: skip
LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SHAPES = (
    nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
)  # fmt: skip
GATED = (nn.RNNBase, nn.MultiheadAttention)
"""Recurrent and attention layers, which multiply what they are given by parts of itself."""

Hook = Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]
"""A forward hook: a layer, its arguments and its output, to another output or None."""


@contextmanager
def hooked(module: nn.Module, hooks: Mapping[tuple[type, ...], Hook]) -> Iterator[FunctionCalls]:
    """Each layer runs the hook of its types, after its forward pass, while in the block.

    Functions that stand for a layer, such as `relu(x)`, run the hook of that layer. What overwrites
    its input does so with what the hook gives, after the hook has read it.
    """
    layers = list(module.modules())
    handles = [
        layer.register_forward_hook(hook)
        for types, hook in hooks.items()
        for layer in layers
        if isinstance(layer, types)
    ]
    in_place = [layer for layer in layers if getattr(layer, "inplace", False)]
    handles += [layer.register_forward_hook(_write_back) for layer in in_place]

    def on_call(name: str, layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor | None:
        return next((f(layer, args, out) for t, f in hooks.items() if isinstance(layer, t)), None)

    try:
        for layer in in_place:
            layer.inplace = False  # type: ignore[assignment]
        with function_calls(module, on_call, is_pytorchs) as calls:
            yield calls
    finally:
        for layer in in_place:
            layer.inplace = True  # type: ignore[assignment]
        for handle in handles:
            handle.remove()


def _write_back(layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor | None:
    """Write the output into the input, which the network may go on with."""
    x: Tensor = args[0]
    if out is x or (x.is_leaf and x.requires_grad):
        return None
    return x.copy_(out)


def require_no_products(module: nn.Module, method: str) -> None:
    """Raise `Unsupported`, naming the first layer that multiplies its inputs with each other."""
    for name, layer in module.named_modules():
        if isinstance(layer, GATED):
            raise Unsupported(
                f"{method} has no rule for {type(layer).__name__} (layer '{name}'), which "
                "multiplies what it is given by parts of itself; "
                "explainer=layerwise explains such networks layer by layer"
            )


def module_of(module: nn.Module | None, method: str) -> nn.Module:
    """The module, or `Unsupported` where there is none to hook, or none that can be hooked."""
    if module is None:
        raise Unsupported(f"{method} hooks the layers of a torch module, and this model has none")
    require_open(module)
    return module
