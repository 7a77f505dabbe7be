"""From maps over a convolutional layer to maps over x, which has the same axes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.explainers.layerwise.recording import ForwardRecord
from xai_bench.types import Inputs, Unsupported

_ALTERNATIVES = (
    "explainer=layerwise explains every layer of such a network, and view=activations the units of "
    "one"
)


def spatial_layer(record: ForwardRecord, inputs: Inputs, layer: str | None) -> str:
    """The name of the layer whose map is laid over x.

    That is `layer`; without one, the last convolution after its activation: the last layer whose
    output has the shape of that of the last convolution. Raises `Unsupported` where a map over the
    layer is no map over x.
    """
    if not record.convolutions:
        raise Unsupported(f"no convolution comes between x and output; {_ALTERNATIVES}")
    order, shape = list(record.layers), tuple(inputs.x.shape)
    first, last = (order.index(record.convolutions[k]) for k in (0, -1))
    # A stride or a crop before the convolution would shift the map against x.
    if record.axes != shape[2:]:
        raise Unsupported(
            f"the first convolution is given {list(record.axes)} places and x has "
            f"{list(shape[2:])}, so a map over its output is no map over x; {_ALTERNATIVES}"
        )
    if layer is None:
        of_last = record.layers[order[last]].shape
        return [name for name in order[last:] if record.layers[name].shape == of_last][-1]
    given = record.layers[layer].shape
    if len(given) != len(shape) or order.index(layer) < first or layer in record.sequences:
        raise Unsupported(
            f"layer {layer!r} gives {['B', *given[1:]]}, which is no map over x; choose a "
            f"convolution or a layer between two of them, such as {record.convolutions[-1]!r}"
        )
    return layer


def sequence_layer(
    record: ForwardRecord, inputs: Inputs, layer: str | None
) -> tuple[str, int | None]:
    """The name of the recurrent or attention layer whose steps are laid over those of x, and the
    axis of x that holds the features of a step: None where a step is one number.

    That is `layer`; without one, the last of them. x is `[B, T, features]` or `[B, T]`, as such a
    layer takes it, or else `[B, channels, T]`. Raises `Unsupported` where x has other steps.
    """
    if not record.sequences:
        raise Unsupported(
            f"no convolution, recurrent or attention layer comes between x and output; "
            f"{_ALTERNATIVES}"
        )
    name, shape = layer or record.sequences[-1], inputs.x.shape
    n_steps = record.layers[name].shape[1]
    if len(shape) <= 3 and shape[1] == n_steps:
        return name, 2 if len(shape) == 3 else None
    if len(shape) == 3 and shape[2] == n_steps:
        return name, 1
    raise Unsupported(
        f"layer {name!r} has {n_steps} steps and x has the shape {['B', *shape[1:]]}, so a map "
        f"over its steps is no map over x; {_ALTERNATIVES}"
    )


def over_channels(heat: Tensor, inputs: Inputs, axis: int | None = 1) -> Tensor:
    """`heat [B, *places] -> [B, *S]`: the map in the size of x, shared evenly by its channels,
    which stand on an `axis` of x, or on none.

    A unit's value is the sum of the map over its places where it holds all channels.
    """
    large = enlarged(heat, _places(inputs, axis))
    return _by_channel(large, inputs, axis)


def spread_over_places(heat: Tensor, inputs: Inputs, axis: int | None = 1) -> Tensor:
    """The same, where each place of the layer shares its value among the places of x: what adds
    up over the layer adds up over x.
    """
    for place, (few, many) in enumerate(zip(heat.shape[1:], _places(inputs, axis), strict=True)):
        # What a value of 1 at each place adds up to once it is enlarged.
        # Places at the edge reach fewer places of x than those inside.
        reach = enlarged(torch.eye(few, dtype=heat.dtype, device=heat.device), (many,)).sum(1)
        heat = heat / reach.view(-1, *[1] * (heat.dim() - place - 2))
    return over_channels(heat, inputs, axis)


def _places(inputs: Inputs, axis: int | None) -> list[int]:
    """The shape of x without its samples and channels."""
    return [size for place, size in enumerate(inputs.x.shape) if place not in (0, axis)]


def enlarged(heat: Tensor, size: Sequence[int]) -> Tensor:
    """`[B, *few] -> [B, *many]`: linear between the centres of places; means where it shrinks."""
    shrinks = any(few > many for few, many in zip(heat.shape[1:], size, strict=True))
    # Interpolation would skip places where it shrinks, and lose what they hold.
    mode = "area" if shrinks else {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    return functional.interpolate(
        heat[:, None],
        size=tuple(size),
        mode=mode,
        align_corners=None if shrinks else False,
    )[:, 0]


def _by_channel(heat: Tensor, inputs: Inputs, axis: int | None) -> Tensor:
    if axis is None:
        return torch.where(inputs.units < 0, 0, heat).to(inputs.x.dtype)
    # Shared, not repeated, so that the sum over channels is the map, whatever their number.
    even = (heat / inputs.x.shape[axis]).unsqueeze(axis).expand(inputs.x.shape)
    return torch.where(inputs.units < 0, 0, even).to(inputs.x.dtype)
