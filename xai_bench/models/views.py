"""What `x` is: the input itself, gates on parts of the model, or the output of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from xai_bench.core.calls.layer_outputs import output_of, with_output
from xai_bench.core.spelling import suggest
from xai_bench.data.bundle import shared_units
from xai_bench.models.base import Predictor, RelaxablePredictor, TorchPredictor
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
        """Predictor and inputs, unchanged."""
        return predictor, inputs


@dataclass(frozen=True)
class EmbeddingView:
    """The word embeddings of a text, in place of the ids of its tokens.

    Every explainer and metric then works between words, too; units stay what they are.
    """

    def look(self, predictor: Predictor, inputs: Inputs) -> tuple[Predictor, Inputs]:
        """`x` is `[N, T, D]`. Raises Unsupported where there are no tokens or no embeddings."""
        if not isinstance(predictor, RelaxablePredictor) or not inputs.domain.discrete:
            raise Unsupported("view embeddings needs token ids and a model that embeds them")
        return predictor, predictor.relaxed(inputs)


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
        n_channels = _channels(predictor, self.layer, inputs)
        gated = TorchPredictor(
            Gated(module, self.layer), predictor.n_outputs, dtype=_dtype(predictor)
        )
        return gated, _gates(inputs, n_channels)


class WithLayerOutput(nn.Module):
    """`network` on `input`, with the output of one of its layers changed by `x`."""

    first: ClassVar[bool] = False
    """Whether the change comes before the hooks of others, so that they see it."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network = network
        self.layer = layer

    def changed(self, x: Tensor, output: Tensor) -> Tensor:
        """What the layer's `output` is replaced by."""
        raise NotImplementedError

    def forward(self, x: Tensor, input: Tensor, **context: Tensor) -> Tensor:
        """`[B, ...]` and the original input -> the outputs `[B, C]` of the network."""

        def change(layer: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            value = output_of(layer, output)
            return None if value is None else with_output(layer, output, self.changed(x, value))

        # By name, so that a deep copy with other weights changes its own layer.
        part = self.network.get_submodule(self.layer)
        with part.register_forward_hook(change, prepend=self.first):
            out: Tensor = self.network(input, **context)
        return out


class Gated(WithLayerOutput):
    """`x [B, C]` multiplies the channels of a layer while `network` runs on `input`."""

    def changed(self, x: Tensor, output: Tensor) -> Tensor:
        """Every channel times its gate."""
        # [B, C] -> [B, C, 1, ...]
        return output * x.reshape(*x.shape, *[1] * (output.dim() - 2))


@dataclass(frozen=True)
class Activations:
    """The output of one layer; the rest of the network is the model.

    Every explainer and metric then works on this layer: integrated gradients become layer
    integrated gradients, input times gradient becomes activation times gradient.

    Attributes:
        layer: its name, as `module.named_modules()` gives it.
    """

    needs: ClassVar[tuple[str, ...]] = ("module",)
    layer: str = "features.0"

    def look(self, predictor: Predictor, inputs: Inputs) -> tuple[Predictor, Inputs]:
        """`x` is `[N, *L]`; its units are channels, or the neurons of a fully connected layer.

        The input moves to the context, where it is never perturbed: connections that skip the layer
        keep their values. The background rows become their activations. Raises Unsupported where
        there is no such layer, or one that is not called once.
        """
        module, domain = _module(predictor, inputs, "activations"), inputs.domain
        x = _activations(predictor, self.layer, inputs.x, inputs.context)
        background = _activations(predictor, self.layer, domain.background, domain.context)
        # Below, 1 for a neuron that is the same in every row: steps in its unit stay finite.
        scale = background.std(0, correction=0)
        channels = torch.arange(x.shape[1]).view(-1, *[1] * (x.dim() - 2))
        activations = Domain(
            background=background,
            scale=torch.where(scale > 0, scale, 1.0),
            labels=domain.labels,
            context={**domain.context, "input": domain.background},
        )
        inputs_of_rest = Inputs(
            x=x,
            units=shared_units(channels.expand(x.shape[1:]), len(x)),
            index=inputs.index,
            domain=activations,
            context={**inputs.context, "input": inputs.x},
        )
        rest = Continued(module, self.layer)
        dtype = _dtype(predictor)
        return TorchPredictor(rest, predictor.n_outputs, dtype=dtype), inputs_of_rest


class Continued(WithLayerOutput):
    """`x [B, *L]` replaces the output of a layer while `network` runs on `input`."""

    first: ClassVar[bool] = True

    def changed(self, x: Tensor, output: Tensor) -> Tensor:
        """A copy of x, because the next layer may write into its input."""
        return x.clone()


def _dtype(predictor: Predictor) -> torch.dtype | None:
    """The type in which a network is asked, where that is not the one of x."""
    return predictor.dtype if isinstance(predictor, TorchPredictor) else None


def _module(predictor: Predictor, inputs: Inputs, view: str) -> nn.Module:
    if predictor.module is None:
        raise Unsupported(f"view {view} needs a torch module; this model has none")
    if "input" in inputs.context:
        raise Unsupported(f"view {view} stores x as context 'input'; that name is taken")
    return predictor.module


def _gates(inputs: Inputs, n_channels: int) -> Inputs:
    ones = inputs.x.new_ones(n_channels)
    # A channel is absent where its gate is 0, whatever the baseline of the input is.
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
def _channels(predictor: Predictor, layer: str, inputs: Inputs) -> int:
    """How many channels the output of the layer has, for the first sample."""
    context = {name: value[:1] for name, value in inputs.context.items()}
    outputs = _layer_outputs(predictor, layer, inputs.x[:1], context)
    if not outputs or not isinstance(outputs[0], Tensor) or outputs[0].dim() < 2:
        raise Unsupported(f"layer {layer!r} gives no tensor [B, channels, ...] that can be gated")
    return outputs[0].shape[1]


@torch.no_grad()
def _activations(
    predictor: Predictor, layer: str, x: Tensor, context: Mapping[str, Tensor]
) -> Tensor:
    """`[N, *S] -> [N, *L]`: the output of the layer, in blocks padded as every batch is.

    Raises Unsupported where the layer is not called once, or gives no row of numbers per sample.
    """
    # Padding repeats the last row: kernels round differently for few rows.
    padded = torch.arange(len(x) + -len(x) % ROW_BLOCK).clamp(max=len(x) - 1)
    parts = []
    for rows in padded.split(16 * ROW_BLOCK):
        block_context = {name: value[rows] for name, value in context.items()}
        outputs = _layer_outputs(predictor, layer, x[rows], block_context)
        if len(outputs) != 1:
            raise Unsupported(
                f"layer {layer!r} is called {len(outputs)} times; view activations needs one"
            )
        [output] = outputs
        if not isinstance(output, Tensor) or not output.is_floating_point():
            raise Unsupported(f"layer {layer!r} gives no tensor of numbers that can be explained")
        if output.dim() < 2 or len(output) != len(rows):
            raise Unsupported(f"layer {layer!r} gives {list(output.shape)}: no row per sample")
        parts.append(output)
    return torch.cat(parts)[: len(x)]


def _layer_outputs(
    predictor: Predictor, layer: str, x: Tensor, context: Mapping[str, Tensor]
) -> list[Any]:
    """The outputs of the layer, one per call, while the network runs on x; given where x is."""
    assert predictor.module is not None, "who asks for a layer has looked for a module"
    layers = dict(predictor.module.named_modules())
    if not layer or layer not in layers:
        names = [name for name in layers if name]
        raise Unsupported(f"the model has no layer {layer!r}; {suggest(layer, names)}")
    outputs: list[Any] = []

    def keep(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        # A copy, because the next layer may write into its input.
        value = output_of(layer, output)
        dtype = None if _dtype(predictor) is None else x.dtype
        outputs.append(output if value is None else value.clone().to(x.device, dtype))

    # One call of the module, which a predictor of tokens splits by length.
    whole = predictor
    if not isinstance(predictor, TorchPredictor):
        whole = TorchPredictor(predictor.module, predictor.n_outputs)
    with layers[layer].register_forward_hook(keep):
        whole(x, context)
    return outputs
