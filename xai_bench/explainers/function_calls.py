"""Functions that a network calls where others call a layer, such as `relu(x)`, seen as layers.

So a network has the same layers, whichever way it is written.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xai_bench.types import Unsupported

OnCall = Callable[[str, nn.Module, tuple[Any, ...], Any], Any]
"""The name of a function, the layer that does the same, its arguments and its output, to another
output or None."""

_POOL = ("kernel_size", "stride", "padding")
_MAX_POOL = (*_POOL, "dilation", "ceil_mode", "return_indices")
_AVERAGE_POOL = (*_POOL, "ceil_mode", "count_include_pad", "divisor_override")
_LAYERS: Mapping[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "relu": (nn.ReLU, ("inplace",)),
    "relu6": (nn.ReLU6, ("inplace",)),
    "leaky_relu": (nn.LeakyReLU, ("negative_slope", "inplace")),
    "elu": (nn.ELU, ("alpha", "inplace")),
    "celu": (nn.CELU, ("alpha", "inplace")),
    "selu": (nn.SELU, ("inplace",)),
    "gelu": (nn.GELU, ("approximate",)),
    "silu": (nn.SiLU, ("inplace",)),
    "mish": (nn.Mish, ("inplace",)),
    "sigmoid": (nn.Sigmoid, ()),
    "log_sigmoid": (nn.LogSigmoid, ()),
    "tanh": (nn.Tanh, ()),
    "softplus": (nn.Softplus, ("beta", "threshold")),
    "softsign": (nn.Softsign, ()),
    "hardtanh": (nn.Hardtanh, ("min_val", "max_val", "inplace")),
    "hardsigmoid": (nn.Hardsigmoid, ("inplace",)),
    "hardswish": (nn.Hardswish, ("inplace",)),
    "softmax": (nn.Softmax, ("dim", "_stacklevel", "dtype")),
    "log_softmax": (nn.LogSoftmax, ("dim", "_stacklevel", "dtype")),
    "max_pool1d": (nn.MaxPool1d, _MAX_POOL),
    "max_pool2d": (nn.MaxPool2d, _MAX_POOL),
    "max_pool3d": (nn.MaxPool3d, _MAX_POOL),
    "adaptive_max_pool1d": (nn.AdaptiveMaxPool1d, ("output_size", "return_indices")),
    "adaptive_max_pool2d": (nn.AdaptiveMaxPool2d, ("output_size", "return_indices")),
    "adaptive_max_pool3d": (nn.AdaptiveMaxPool3d, ("output_size", "return_indices")),
    "avg_pool1d": (nn.AvgPool1d, (*_POOL, "ceil_mode", "count_include_pad")),
    "avg_pool2d": (nn.AvgPool2d, _AVERAGE_POOL),
    "avg_pool3d": (nn.AvgPool3d, _AVERAGE_POOL),
    "adaptive_avg_pool1d": (nn.AdaptiveAvgPool1d, ("output_size",)),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d, ("output_size",)),
    "adaptive_avg_pool3d": (nn.AdaptiveAvgPool3d, ("output_size",)),
}
"""Functions by name, and the layers that do the same, with what follows the first argument."""


WEIGHTED = {
    "linear", "bilinear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "einsum",
    "batch_norm", "layer_norm", "group_norm", "instance_norm",
}  # fmt: skip
"""Functions with weights of their own, or that may have them."""


_OF_INTEREST = frozenset(
    f"{name}{end}"
    for name in (*_LAYERS, *WEIGHTED, "clamp", "clamp_min", "clamp_max", "clip", "prelu")
    for end in ("", "_")
)
"""All names that `layer_of` knows, and those of weighted functions."""


def layer_of(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The layer that does what a call does, or None where there is none."""
    name = getattr(func, "__name__", "").removesuffix("_")
    if not args or not isinstance(args[0], Tensor) or "out" in kwargs:
        return None
    if not args[0].is_floating_point():  # places and masks are no activations
        return None
    if name in ("clamp", "clamp_min", "clamp_max", "clip"):
        return _clamp(name, args, kwargs)
    if name == "prelu" and len(args) == 2:
        layer = nn.PReLU(args[1].numel(), device="meta")
        layer._parameters["weight"] = args[1]
        return layer
    if name not in _LAYERS:
        return None
    kind, parameters = _LAYERS[name]
    given = {**dict(zip(parameters, args[1:], strict=False)), **kwargs}
    if given.pop("return_indices", False) or given.pop("dtype", None) is not None:
        return None
    for unused in ("inplace", "_stacklevel", "input", "self"):
        given.pop(unused, None)
    if given.get("stride", 1) in ([], ()):
        given["stride"] = None
    return kind(**given)


def _clamp(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module | None:
    """Of numbers: a ReLU where the lower end is 0 and there is no upper one, else a hard tanh."""
    ends = {"clamp_min": ("min",), "clamp_max": ("max",)}.get(name, ("min", "max"))
    given = {**dict(zip(ends, args[1:], strict=False)), **kwargs}
    low, high = given.get("min"), given.get("max")
    if any(isinstance(end, Tensor) for end in (low, high)):
        return None
    if low == 0 and high is None:
        return nn.ReLU()
    low, high = (-torch.inf if low is None else low), (torch.inf if high is None else high)
    return nn.Hardtanh(float(low), float(high)) if low < high else None


class FunctionCalls:
    """Hands every call of a function that could have been a layer to `on_call`.

    Only where `depth` is 0: inside the network, and outside the layers that are seen as a whole.
    Functions that write into their argument do so with the output that `on_call` gives.

    Attributes:
        places: where each function, as autograd names it, was first called: "file, line".
        weighted: the same of functions with weights, by their own name.
    """

    def __init__(self, on_call: OnCall, *, notes: bool = True) -> None:
        self.on_call, self.notes = on_call, notes
        self.depth = 1
        self.places: dict[str, str] = {}
        self.weighted: dict[str, str] = {}

    def call(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """The output of the function, or what `on_call` puts in its place."""
        if self.depth or getattr(func, "__name__", "") not in _OF_INTEREST:
            return self._noted(func(*args, **kwargs))
        given = dict(kwargs)
        layer = layer_of(func, args, given)
        if func.__name__ in WEIGHTED:
            self.weighted.setdefault(func.__name__.strip("_"), _place())
        if layer is None:
            return self._noted(func(*args, **given))
        x = args[0]
        writes = func.__name__.endswith("_") or bool(given.get("inplace"))
        source = x.clone() if writes else x
        given.pop("inplace", None)
        out = self._noted(layer(source) if writes else func(source, *args[1:], **given))
        replaced = self.on_call(func.__name__.removesuffix("_"), layer, (source,), out)
        out = out if replaced is None else replaced
        return x.copy_(out) if writes else out

    def _noted(self, out: Any) -> Any:
        """The output, of which the place in the user's code is written down."""
        if not self.notes:
            return out
        node = getattr(out, "grad_fn", None) if isinstance(out, Tensor) else None
        if node is not None and node_name(node) not in self.places:
            self.places[node_name(node)] = _place()
        return out


class _Mode(TorchFunctionMode):
    """While it is on, functions of PyTorch are called by way of `calls`."""

    def __init__(self, calls: FunctionCalls) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self.calls.call(func, args, kwargs or {})


@contextmanager
def function_calls(
    module: nn.Module,
    on_call: OnCall,
    is_whole: Callable[[nn.Module], bool],
    *,
    notes: bool = True,
) -> Iterator[FunctionCalls]:
    """The calls that the network makes inside the block, outside the layers that are whole.

    Enter this after all other hooks are in place: those of a layer belong to it. Without `notes`
    nobody asks where in the code a function was called.
    """
    calls = FunctionCalls(on_call, notes=notes)

    def deeper(by: int) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            calls.depth += by

        return hook

    handles = []
    for part in module.modules():
        if (part is module) != is_whole(part):  # a network that is one layer has no inside
            inwards = -1 if part is module else 1
            handles.append(part.register_forward_pre_hook(deeper(inwards)))
            handles.append(part.register_forward_hook(deeper(-inwards), always_call=True))
    try:
        with _Mode(calls):
            yield calls
    finally:
        for handle in handles:
            handle.remove()


def require_open(module: nn.Module) -> None:
    """Raise `Unsupported` for a network that TorchScript runs, where hooks do not see all calls."""
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise Unsupported(
            "nobody can look into the layers of a scripted or traced network: give the network "
            "that it was made of"
        )


def is_pytorchs(part: nn.Module) -> bool:
    """Whether a layer is PyTorch's own and holds no other that is called as one."""
    own = type(part).__module__.startswith("torch.nn.modules")
    return own and (not list(part.children()) or isinstance(part, nn.MultiheadAttention))


def node_name(node: Any) -> str:
    """As autograd names the function of a node of its graph, such as `Relu`."""
    name: str = node.name().rsplit("::", 1)[-1]
    return name.rstrip("0123456789").removesuffix("Backward")


_NOT_THE_USERS = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))


def _place() -> str:
    """`file, line` of the innermost call that is neither PyTorch's nor ours; empty without one."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_NOT_THE_USERS):
            return f"{Path(file).name}, line {frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""
