"""What `x` is: the input itself, or gates on parts of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from xai_bench.data.bundle import shared_units
from xai_bench.models.base import Predictor, TorchPredictor
from xai_bench.models.names import did_you_mean
from xai_bench.types import Domain, Inputs, Unsupported


class View(Protocol):
    """One class and one YAML make a view. `needs`, out of `module`, as for explainers."""

    needs: ClassVar[tuple[str, ...]]

    def look(self, predictor: Predictor, inputs: Inputs) -> tuple[Predictor, Inputs]:
        """The same samples with another `x`, and a predictor that takes it."""
        ...


@dataclass(frozen=True)
class InputView:
    """The input itself."""

    needs: ClassVar[tuple[str, ...]] = ()

    def look(self, predictor: Predictor, inputs: Inputs) -> tuple[Predictor, Inputs]:
        return predictor, inputs


@dataclass(frozen=True)
class ChannelGates:
    """Gates on the channels (axis 1) of one layer's output: 1 leaves a channel, 0 takes it away.

    Attributes:
        layer: its name, as `module.named_modules()` gives it.
    """

    needs: ClassVar[tuple[str, ...]] = ("module",)
    layer: str = "features.0"

    def look(self, predictor: Predictor, inputs: Inputs) -> tuple[Predictor, Inputs]:
        """`x` is ones `[N, channels]`, each channel a unit; the input moves to the context.

        Raises Unsupported where there is no such layer, or no torch module at all.
        """
        if predictor.module is None:
            raise Unsupported("view channels needs a torch module; this model has none")
        if "input" in inputs.context:
            raise Unsupported("view channels stores x as context 'input'; that name is taken")
        n_channels = _channels(predictor.module, self.layer, inputs)
        gated = TorchPredictor(Gated(predictor.module, self.layer), predictor.n_outputs)
        return gated, _gates(inputs, n_channels)


class Gated(nn.Module):
    """`x [B, C]` multiplies the channels of a layer while `network` runs on `input`."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network = network
        self.layer = layer

    def forward(self, x: Tensor, input: Tensor, **context: Tensor) -> Tensor:
        def multiply(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            return output * x.reshape(*x.shape, *[1] * (output.dim() - 2))

        # By name, so that a deep copy with other weights gates its own layer.
        with self.network.get_submodule(self.layer).register_forward_hook(multiply):
            out: Tensor = self.network(input, **context)
        return out


def _gates(inputs: Inputs, n_channels: int) -> Inputs:
    ones = inputs.x.new_ones(n_channels)
    domain = Domain(background=torch.zeros_like(ones)[None], scale=ones)
    context: Mapping[str, Tensor] = {**inputs.context, "input": inputs.x}
    return replace(
        inputs,
        x=ones.repeat(len(inputs), 1),
        units=shared_units(torch.arange(n_channels), len(inputs)),
        context=context,
        domain=domain,
    )


@torch.no_grad()
def _channels(module: nn.Module, layer: str, inputs: Inputs) -> int:
    """How many channels the layer gives, seen on the first sample."""
    layers = dict(module.named_modules())
    if not layer or layer not in layers:
        names = [name for name in layers if name]
        raise Unsupported(f"the model has no layer {layer!r}; {did_you_mean(layer, names)}")
    seen: list[Any] = []
    with layers[layer].register_forward_hook(lambda layer, args, output: seen.append(output)):
        module(inputs.x[:1], **{name: value[:1] for name, value in inputs.context.items()})
    if not seen or not isinstance(seen[0], Tensor) or seen[0].dim() < 2:
        raise Unsupported(f"layer {layer!r} gives no tensor [B, channels, ...] that can be gated")
    return seen[0].shape[1]
