"""How an affine map distributes the relevance of its outputs over its inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from xai_bench.types import Unsupported

Rule = Literal["epsilon", "gamma", "z_plus"]


@dataclass(frozen=True, eq=False)
class Affine:
    """`apply(a, weight) + bias`, where `apply` is linear in `a` and in `weight`."""

    weight: Tensor
    bias: Tensor
    apply: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Shares:
    """What each output is shared out by; what is missing goes to biases and to epsilon.

    Attributes:
        given: a function of the inputs that adds up what they contribute.
        whole: what these contributions are shares of.
    """

    given: Tensor
    whole: Tensor


def affine_of(layer: nn.Module, n_axes: int) -> Affine:
    """A linear layer or a convolution, with `n_axes` axes in its output."""
    # No parameter where a hook makes it of others, such as a weight norm or pruning.
    weight, own_bias = _tensor(layer, "weight"), getattr(layer, "bias", None)
    twin = copy.copy(layer)  # so that other weights can be set; `forward` runs no hooks
    for name in ("weight", "bias"):
        vars(twin).pop(name, None)

    def apply(a: Tensor, w: Tensor) -> Tensor:
        twin._parameters = {"weight": w, "bias": None}  # type: ignore[dict-item]
        out: Tensor = twin.forward(a)
        return out

    bias = weight.new_zeros(len(weight)) if own_bias is None else _tensor(layer, "bias")
    axis = n_axes - 1 if isinstance(layer, nn.Linear) else 1
    return Affine(weight, _along(bias, axis, n_axes), apply)


def _tensor(layer: nn.Module, name: str) -> Tensor:
    value = getattr(layer, name)
    assert isinstance(value, Tensor), f"{type(layer).__name__}.{name}"
    return value.detach()


def affine_of_norm(layer: nn.Module, n_axes: int) -> Affine:
    """Batch normalisation in evaluation mode: a scale and a shift of each channel."""
    mean, variance = layer.running_mean, layer.running_var
    if not isinstance(mean, Tensor) or not isinstance(variance, Tensor):
        raise Unsupported("LRP needs batch normalisation with running statistics")
    # weight * (x - mean) / sqrt(variance + eps) + bias, written as scale * x + shift.
    # Affine in evaluation mode only, which is why LRP asks for running statistics.
    scale = (variance + layer.eps).rsqrt()  # type: ignore[operator]
    shift = -mean * scale
    if layer.affine:
        weight, bias = _tensor(layer, "weight"), _tensor(layer, "bias")
        scale, shift = scale * weight, shift * weight + bias
    return Affine(_along(scale, 1, n_axes), _along(shift, 1, n_axes), lambda a, w: a * w)


def merged(inner: Affine, norm: Affine) -> Affine:
    """The norm after a linear layer or convolution, as one map. Both have channels on axis 1."""
    scale = norm.weight.flatten()
    weight = inner.weight * scale.view(-1, *[1] * (inner.weight.dim() - 1))
    return Affine(weight, inner.bias * norm.weight + norm.bias, inner.apply)


def _along(values: Tensor, axis: int, n_axes: int) -> Tensor:
    """`[C]` on one of so many axes."""
    return values.view(*[-1 if k == axis else 1 for k in range(n_axes)])


def epsilon(f: Affine, a: Tensor, size: float) -> Shares:
    """Shares of the output, moved away from 0 by `size`. Bach+ 2015."""
    given = f.apply(a, f.weight)
    out = (given + f.bias).detach()
    # The sign of 0 counts as positive: `torch.sign` would leave a share of 0 / 0.
    return Shares(given, out + size * torch.where(out < 0, -1.0, 1.0).to(out))


def z_plus(f: Affine, a: Tensor) -> Shares:
    """Shares of the sum of positive parts. Bach+ 2015 (alpha 1, beta 0), Montavon+ 2017."""
    # A bias above 0 takes its share and keeps it, so that relevance is not blamed on inputs.
    given = _signed(f, a)[0]
    return Shares(given, given.detach() + f.bias.clamp(min=0))


def gamma(f: Affine, a: Tensor, size: float) -> Shares:
    """Shares of the output after the parts of its own sign were made `1 + size` times as large.

    For positive outputs as in Montavon+ 2019; negative ones, which no ReLU lets pass, likewise.
    """
    # Split by the sign of the part, not of the weight: an input below 0 turns it round.
    positive, negative = _signed(f, a)
    given = positive + negative
    up = (given + f.bias).detach() >= 0
    given = given + size * torch.where(up, positive, negative)
    bias = f.bias + size * torch.where(up, f.bias.clamp(min=0), f.bias.clamp(max=0))
    return Shares(given, given.detach() + bias)


def _signed(f: Affine, a: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of the positive and of the negative parts, without bias."""
    high, low = a.clamp(min=0), a.clamp(max=0)
    up, down = f.weight.clamp(min=0), f.weight.clamp(max=0)
    return f.apply(high, up) + f.apply(low, down), f.apply(high, down) + f.apply(low, up)


def flat(f: Affine, carrier: Tensor) -> Shares:
    """Equal shares. `carrier`, ones, stands for the inputs. Lapuschkin+ 2019."""
    given = f.apply(carrier, torch.ones_like(f.weight))
    return Shares(given, given.detach())


def z_box(f: Affine, a: Tensor, carrier: Tensor, box: tuple[Tensor, Tensor]) -> Shares:
    """Shares of the distance from the corner of a box that lowers the output most. Montavon+ 2017.

    `box` holds the least and the largest value of each input.
    """
    # A sample may lie outside the range of the background; the box is widened to hold it.
    low, high = torch.minimum(box[0], a.detach()), torch.maximum(box[1], a.detach())
    given = (
        f.apply(a.detach() * carrier, f.weight)
        - f.apply(low * carrier, f.weight.clamp(min=0))
        - f.apply(high * carrier, f.weight.clamp(max=0))
    )
    return Shares(given, given.detach())
