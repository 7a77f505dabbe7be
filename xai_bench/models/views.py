"""What `x` is: the input itself, gates on parts of the model, or what a layer gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from xai_bench.core.spelling import suggest
from xai_bench.data.bundle import shared_units
from xai_bench.models.base import Predictor, TorchPredictor
from xai_bench.types import ROW_BLOCK, Domain, Inputs, Unsupported


class View(Protocol):
    """One class and one YAML make a view. `needs`, out of `module`, as for explainers."""

    def look(self, predictor: Predictor, inputs: Inputs) -> tuple[Predictor, Inputs]:
        """The same samples with another `x`, and a predictor that takes it."""
        ...


@dataclass(frozen=True)
class InputView:
    """The input itself."""

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
        module = _module(predictor, inputs, "channels")
        n_channels = _channels(module, self.layer, inputs)
        gated = TorchPredictor(Gated(module, self.layer), predictor.n_outputs)
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


@dataclass(frozen=True)
class Activations:
    """What one layer gives; the rest of the network is the model.

    Every explainer and metric then works on this layer: integrated gradients become layer
    integrated gradients, input times gradient becomes activation times gradient.

    Attributes:
        layer: its name, as `module.named_modules()` gives it.
    """

    needs: ClassVar[tuple[str, ...]] = ("module",)
    layer: str = "features.0"

    def look(self, predictor: Predictor, inputs: Inputs) -> tuple[Predictor, Inputs]:
        """`x` is `[N, *L]`; its units are channels, or the neurons of a layer without places.

        The input moves to the context, where it is never perturbed: what leads past the layer stays
        as it is. The background are the activations of the background rows. Raises Unsupported
        where there is no such layer, or one that is not called once.
        """
        module, domain = _module(predictor, inputs, "activations"), inputs.domain
        x = _activations(module, self.layer, inputs.x, inputs.context)
        background = _activations(module, self.layer, domain.background, domain.context)
        scale = background.std(0, correction=0)
        channels = torch.arange(x.shape[1]).view(-1, *[1] * (x.dim() - 2))
        there = Domain(
            background=background,
            scale=torch.where(scale > 0, scale, 1.0),
            labels=domain.labels,
            context={**domain.context, "input": domain.background},
        )
        seen = Inputs(
            x=x,
            units=shared_units(channels.expand(x.shape[1:]), len(x)),
            index=inputs.index,
            domain=there,
            context={**inputs.context, "input": inputs.x},
        )
        return TorchPredictor(Continued(module, self.layer), predictor.n_outputs), seen


class Continued(nn.Module):
    """`x [B, *L]` stands in for the output of a layer while `network` runs on `input`."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network = network
        self.layer = layer

    def forward(self, x: Tensor, input: Tensor, **context: Tensor) -> Tensor:
        def stand_in(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            # A copy, for the next layer may overwrite what it is given.
            return x.clone()

        # Before other hooks, so that they see what the network goes on with.
        part = self.network.get_submodule(self.layer)
        with part.register_forward_hook(stand_in, prepend=True):
            out: Tensor = self.network(input, **context)
        return out


def _module(predictor: Predictor, inputs: Inputs, view: str) -> nn.Module:
    if predictor.module is None:
        raise Unsupported(f"view {view} needs a torch module; this model has none")
    if "input" in inputs.context:
        raise Unsupported(f"view {view} stores x as context 'input'; that name is taken")
    return predictor.module


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
    context = {name: value[:1] for name, value in inputs.context.items()}
    seen = _given(module, layer, inputs.x[:1], context)
    if not seen or not isinstance(seen[0], Tensor) or seen[0].dim() < 2:
        raise Unsupported(f"layer {layer!r} gives no tensor [B, channels, ...] that can be gated")
    return seen[0].shape[1]


@torch.no_grad()
def _activations(module: nn.Module, layer: str, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
    """`[N, *S] -> [N, *L]`: what the layer gives, in blocks that are filled up as batches are."""
    rows = torch.arange(len(x) + -len(x) % ROW_BLOCK).clamp(max=len(x) - 1)
    parts = []
    for some in rows.split(16 * ROW_BLOCK):
        here = {name: value[some] for name, value in context.items()}
        seen = _given(module, layer, x[some], here)
        if len(seen) != 1:
            raise Unsupported(
                f"layer {layer!r} is called {len(seen)} times; view activations needs one"
            )
        if not isinstance(seen[0], Tensor) or not seen[0].is_floating_point():
            raise Unsupported(f"layer {layer!r} gives no tensor of numbers that can be explained")
        if seen[0].dim() < 2 or len(seen[0]) != len(some):
            raise Unsupported(f"layer {layer!r} gives {list(seen[0].shape)}: no row per sample")
        parts.append(seen[0])
    return torch.cat(parts)[: len(x)]


def _given(module: nn.Module, layer: str, x: Tensor, context: Mapping[str, Tensor]) -> list[Any]:
    """What the layer gives, call by call, while the module runs."""
    layers = dict(module.named_modules())
    if not layer or layer not in layers:
        names = [name for name in layers if name]
        raise Unsupported(f"the model has no layer {layer!r}; {suggest(layer, names)}")
    seen: list[Any] = []

    def keep(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        # A copy, for the next layer may overwrite what it is given.
        seen.append(output.clone() if isinstance(output, Tensor) else output)

    with layers[layer].register_forward_hook(keep):
        module(x, **context)
    return seen
