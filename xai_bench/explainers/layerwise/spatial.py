"""From maps over a convolutional layer to maps over x, which has the same axes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.explainers.layerwise.recording import Seen
from xai_bench.types import Inputs, Unsupported

_ELSEWHERE = (
    "explainer=layerwise explains every layer of such a network, and view=activations the units of "
    "one"
)


def spatial_layer(seen: Seen, inputs: Inputs, layer: str | None) -> str:
    """The layer asked for; without one, what the last convolution gives after its activation:
    the last layer whose output has the shape of that of the last convolution.

    Raises `Unsupported` where a map over the layer is no map over x.
    """
    if not seen.convolutions:
        raise Unsupported(f"no convolution comes between x and output; {_ELSEWHERE}")
    order, shape = list(seen.layers), tuple(inputs.x.shape)
    first, last = (order.index(seen.convolutions[k]) for k in (0, -1))
    if seen.axes != shape[2:]:
        raise Unsupported(
            f"the first convolution sees {list(seen.axes)} places and x has {list(shape[2:])}, so "
            f"a map over its output is no map over x; {_ELSEWHERE}"
        )
    if layer is None:
        alike = [n for n in order[last:] if seen.layers[n].shape == seen.layers[order[last]].shape]
        return alike[-1]
    found = seen.layers[layer].shape
    if len(found) != len(shape) or order.index(layer) < first:
        raise Unsupported(
            f"layer {layer!r} gives {['B', *found[1:]]}, which is no map over x; choose a "
            f"convolution or a layer between two of them, such as {seen.convolutions[-1]!r}"
        )
    return layer


def laid_over(heat: Tensor, inputs: Inputs) -> Tensor:
    """`[B, *places] -> [B, *S]`: the map in the size of x, shared evenly by the channels of x.

    A unit's value is the sum of the map over its places where it holds all channels.
    """
    large = enlarged(heat, inputs.x.shape[2:])
    return _by_channel(large, inputs)


def shared_out(heat: Tensor, inputs: Inputs) -> Tensor:
    """The same, where each place of the layer shares its value among the places of x: what adds
    up over the layer adds up over x.
    """
    for axis, (few, many) in enumerate(zip(heat.shape[1:], inputs.x.shape[2:], strict=True)):
        reach = enlarged(torch.eye(few, dtype=heat.dtype), (many,)).sum(1)
        heat = heat / reach.view(-1, *[1] * (heat.dim() - axis - 2))
    return laid_over(heat, inputs)


def enlarged(heat: Tensor, size: Sequence[int]) -> Tensor:
    """`[B, *few] -> [B, *many]`: linear between the centres of places; means where it shrinks."""
    shrinks = any(few > many for few, many in zip(heat.shape[1:], size, strict=True))
    mode = "area" if shrinks else {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    return functional.interpolate(
        heat[:, None],
        size=tuple(size),
        mode=mode,
        align_corners=None if shrinks else False,
    )[:, 0]


def _by_channel(heat: Tensor, inputs: Inputs) -> Tensor:
    channels = inputs.x.shape[1]
    even = (heat / channels)[:, None].expand(inputs.x.shape)
    return torch.where(inputs.units < 0, 0, even).to(inputs.x.dtype)
