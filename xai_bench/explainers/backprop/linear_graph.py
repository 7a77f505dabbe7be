"""Whether a backward pass meets nothing but linear functions and those with a rule.

What has a rule has been replaced by a linear function when this is asked. So the answer is exact,
where the sum of the contributions can be right by luck.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from xai_bench.explainers.function_calls import node_name
from xai_bench.types import ROW_BLOCK, Unsupported

_SHAPES = {
    "View", "UnsafeView", "ReshapeAlias", "Permute", "Transpose", "T", "Squeeze", "Unsqueeze",
    "Expand", "Select", "Slice", "Index", "IndexSelect", "Gather", "Cat", "Stack", "Unbind",
    "Split", "SplitWithSizes", "UnsafeSplit", "UnsafeSplitWithSizes", "Narrow", "Clone", "Copy",
    "CopyBackwards", "CopySlices", "AsStrided", "ToCopy", "Alias", "Repeat", "Roll", "Flip",
    "Tril", "Triu", "Diagonal", "Im2Col", "Col2Im", "PixelShuffle", "PixelUnshuffle",
    "ConstantPadNd", "Unfold", "Movedim", "Swapaxes",
}  # fmt: skip
_SUMS = {
    "Add", "Sub", "Rsub", "Neg", "Sum", "Mean", "Cumsum", "AvgPool1D", "AvgPool2D", "AvgPool3D",
    "AdaptiveAvgPool1D", "AdaptiveAvgPool2D", "AdaptiveAvgPool3D", "MkldnnAdaptiveAvgPool2D",
    "ReflectionPad1D", "ReflectionPad2D", "ReflectionPad3D", "ReplicationPad1D",
    "ReplicationPad2D", "ReplicationPad3D", "UpsampleNearest1D", "UpsampleNearest2D",
    "UpsampleNearest3D", "UpsampleLinear1D", "UpsampleBilinear2D", "UpsampleBicubic2D",
    "UpsampleTrilinear3D",
}  # fmt: skip
_FACTORS = {
    "Mul": (0, 1), "Mm": (0, 1), "Bmm": (0, 1), "Mv": (0, 1), "Dot": (0, 1), "Linear": (0, 1),
    "MkldnnLinear": (0, 1), "Addmm": (1, 2), "Addbmm": (1, 2), "Baddbmm": (1, 2), "Addmv": (1, 2),
    "Convolution": (0, 1), "ConvolutionOverrideable": (0, 1), "MkldnnConvolution": (0, 1),
    "CudnnConvolution": (0, 1), "SlowConv2D": (0, 1), "Thnn_Conv2D": (0, 1),
    "NativeBatchNorm": (0, 1), "CudnnBatchNorm": (0, 1),
}  # fmt: skip
"""The places of two arguments that are multiplied: linear in each, where the other is constant."""
MAXIMA = frozenset({
    "MaxPool1D", "MaxPool2DWithIndices", "MaxPool3DWithIndices", "AdaptiveMaxPool2D",
    "AdaptiveMaxPool3D", "Max", "Amax", "Maximum", "MkldnnMaxPool2D", "MkldnnMaxPool3D",
})  # fmt: skip
SELECTIONS = {"Where": "_saved_condition", "MaskedFill": "_saved_mask"}
"""Functions that take one of two values, and the name of what decides."""
_WITH_A_LAYER = {
    "Relu": "nn.ReLU", "LeakyRelu": "nn.LeakyReLU", "PreluKernel": "nn.PReLU", "Elu": "nn.ELU",
    "Celu": "nn.CELU", "Gelu": "nn.GELU", "Silu": "nn.SiLU", "Mish": "nn.Mish",
    "Sigmoid": "nn.Sigmoid", "LogSigmoid": "nn.LogSigmoid", "Tanh": "nn.Tanh",
    "Softplus": "nn.Softplus", "Hardtanh": "nn.Hardtanh", "Hardsigmoid": "nn.Hardsigmoid",
    "Hardswish": "nn.Hardswish", "Clamp": "nn.ReLU", "ClampMin": "nn.ReLU", "Where": "nn.ReLU",
    "Maximum": "nn.ReLU", "Max": "nn.MaxPool1d", "Amax": "nn.MaxPool1d", "Abs": "nn.ReLU",
}  # fmt: skip


def without_a_rule(
    out: Tensor, x: Tensor, allowed: frozenset[str] = frozenset(), paired: bool = False
) -> list[str]:
    """The functions between x and `out`, as autograd names them, that are not linear in x.

    Functions in `allowed` are left out. Where rows `2i` and `2i + 1` are a pair (`paired`), factors
    and selections must be the same for both: what depends on x, though autograd does not see it,
    is no constant.
    """
    source = x.grad_fn
    depends: dict[Any, bool] = {}
    names = set()
    for node in _in_order(out.grad_fn):
        if node is source or (source is None and getattr(node, "variable", None) is x):
            depends[node] = True
            continue
        before = [depends.get(earlier, False) for earlier, _ in node.next_functions]
        depends[node] = any(before)
        if not depends[node] or node_name(node) in allowed:
            continue
        if not _is_linear(node, before) or (paired and _differs(node, len(x))):
            names.add(node_name(node))
    return sorted(names)


def require_linear(
    method: str,
    out: Tensor,
    x: Tensor,
    places: Mapping[str, str],
    *,
    allowed: frozenset[str] = frozenset(),
    paired: bool = False,
) -> None:
    """Raise `Unsupported`, with the place of each function that has no rule."""
    names = without_a_rule(out, x, allowed, paired)
    if not names:
        return
    functions = [f"{n.lower()} ({places[n]})" if places.get(n) else n.lower() for n in names]
    layers = sorted({_WITH_A_LAYER[n] for n in names if n in _WITH_A_LAYER})
    way_out = f"; where it stands for a layer, use {' or '.join(layers)}" if layers else ""
    raise Unsupported(
        f"{method} has no rule for {', '.join(functions)} in the network or the target{way_out}"
    )


def _in_order(last: Any) -> list[Any]:
    """The nodes of autograd's graph, each after those that it depends on."""
    order, visited, waiting = [], set(), [(last, False)]
    while waiting:
        node, is_done = waiting.pop()
        if is_done:
            order.append(node)
        elif node is not None and node not in visited:
            visited.add(node)
            waiting.append((node, True))
            waiting += [(before, False) for before, _ in node.next_functions]
    return order


def _is_linear(node: Any, depends: list[bool]) -> bool:
    """Whether the function is linear in those of its arguments that depend on x."""
    name = node_name(node)
    if name in _FACTORS:
        # In training mode a batch norm divides by statistics of x itself: no factor is constant.
        first, second = _FACTORS[name]
        own_statistics = getattr(node, "_saved_training", False)
        return not (
            own_statistics or (depends[first] and second < len(depends) and depends[second])
        )
    if name == "Div":
        return not (len(depends) > 1 and depends[1])
    return name in _SHAPES or name in _SUMS or name in SELECTIONS


def _differs(node: Any, n_rows: int) -> bool:
    """Whether a factor or a selection is another one in the two rows of a pair."""
    name = node_name(node)
    if name in SELECTIONS:
        constants = [getattr(node, SELECTIONS[name])]
    elif name in ("Mul", "Div"):
        constants = [getattr(node, "_saved_other", None)]
        constants += [getattr(node, "_saved_self", None)] if name == "Mul" else []
    else:
        return False
    n_filled = n_rows + -n_rows % ROW_BLOCK
    rows = [c for c in constants if isinstance(c, Tensor) and c.dim() and not c.requires_grad]
    return any(not torch.equal(c[::2], c[1::2]) for c in rows if len(c) in (n_rows, n_filled))
