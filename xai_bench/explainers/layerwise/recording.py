"""What the layers of a network do while it answers: outputs, gradients, rates of change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from xai_bench.core.calls.layer_outputs import SEQUENCES
from xai_bench.core.calls.model_outputs import row_batches
from xai_bench.core.calls.row_gradients import row_gradients
from xai_bench.core.spelling import suggest
from xai_bench.explainers.gradient.engine import require_gradient, require_path
from xai_bench.explainers.layerwise.tape import (
    CONVOLUTION,
    Tape,
    is_function,
    recorded,
    split_call,
)
from xai_bench.types import Inputs, Model, Unsupported


@dataclass(frozen=True, eq=False)
class ForwardRecord:
    """One pass through a network, layer by layer in the order of their calls.

    Functions that stand for a layer, such as `relu(x)`, are layers: `relu()`. A layer that is
    called several times is one for each call: `act (call 2)`. Of layers that hold others only the
    one that was named is recorded.

    Attributes:
        outputs: `[B]`, the target output.
        gradient: `[B, *S]`, its gradient at x.
        layers: name -> `[B, *L]`, the output of the layer.
        slopes: name -> `[B, *L]`, the gradient of the target output with respect to it.
        rates: name -> `[B, *L]`, the derivative of the layer's output along the direction.
        last: the layers whose output is the network's, but for the one that was named.
        convolutions: the names of the convolutions, in the order of their calls.
        axes: the shape, such as `[H, W]`, of the input of the first of them; that of x where it is
            x with a margin.
        sequences: the names of the recurrent and attention layers, in the order of their calls.
        modules: name -> the layer; of a function one that does the same.
    """

    outputs: Tensor
    gradient: Tensor
    layers: Mapping[str, Tensor]
    slopes: Mapping[str, Tensor]
    rates: Mapping[str, Tensor]
    last: frozenset[str]
    convolutions: tuple[str, ...]
    axes: tuple[int, ...]
    sequences: tuple[str, ...] = ()
    modules: Mapping[str, nn.Module] = field(default_factory=dict)

    def hidden(self) -> list[str]:
        """The layers between x and the output that do more than pass on or reshape.

        Raises `Unsupported` where there are none.
        """
        names = [name for name in self.layers if name not in self.last]
        if not names:
            raise Unsupported("this network has no hidden layer that comes between x and output")
        return names


def observe(
    model: Model,
    inputs: Inputs,
    targets: Tensor,
    *,
    layer: str | None = None,
    direction: Tensor | None = None,
) -> ForwardRecord:
    """One pass forward and back, at most `max_rows` rows at a time.

    `layer` is a name that must be among what is recorded; `direction [B, *S]` is that of the rates.
    Raises `Unsupported` where the layer is not recorded, and where there is no torch module or no
    gradient.
    """
    module = differentiable(model, layer)
    with recorded(module, layer) as tape:
        parts = [
            _pass(tape, model, inputs.take(r), targets[r], _rows(direction, r))
            for r in row_batches(model, len(inputs), gradient=True)
        ]
    return _joined(parts, tape, layer)


@dataclass(frozen=True, eq=False)
class LayerRecord:
    """One layer: its output and the gradient of the target output there, `[B, *L]` each."""

    output: Tensor
    slope: Tensor


def observe_layer(
    model: Model,
    inputs: Inputs,
    targets: Tensor,
    *,
    layer: str | None,
    choose: Callable[[ForwardRecord], str],
) -> LayerRecord:
    """As `observe`, of the one layer that is chosen; the way back ends there.

    Where an output is overwritten later, or has no part in the network's, it takes `observe`.
    """
    module = differentiable(model, layer)
    parts: list[tuple[Tensor, Tensor]] = []
    with recorded(module, layer, copies=False) as tape:
        for rows in row_batches(model, len(inputs), gradient=True):
            part = _slope_at_one(tape, model, inputs.take(rows), targets[rows], (layer, choose))
            if part is None:
                break
            parts.append(part)
        else:
            return LayerRecord(*(torch.cat(several) for several in zip(*parts, strict=True)))
    record = observe(model, inputs, targets, layer=layer)
    name = choose(record)
    return LayerRecord(record.layers[name], record.slopes[name])


def _slope_at_one(
    tape: Tape,
    model: Model,
    inputs: Inputs,
    targets: Tensor,
    chosen: tuple[str | None, Callable[[ForwardRecord], str]],
) -> tuple[Tensor, Tensor] | None:
    """Output and slope of the layer; None where they cannot be had without copies."""
    tape.clear()
    x, n_samples = inputs.x.detach().clone().requires_grad_(), len(inputs)
    with torch.enable_grad():
        outputs = model.target_output(inputs.with_x(x), targets)
    require_path(outputs)
    calls = tape.named()
    layers = {name: c.output[:n_samples].detach() for name, c in calls.items()}
    named, choose = chosen
    depends = {name: layers[name] for name, call in calls.items() if call.output.requires_grad}
    if named is not None and named not in depends:
        return None
    call = calls[choose(_joined([(outputs.detach(), x, depends, {}, {})], tape, named))]
    if not call.is_intact:
        return None
    (slope,) = _slopes(outputs, [call.output])
    return None if slope is None else (call.output[:n_samples].detach(), slope[:n_samples])


@torch.no_grad()
def forward(
    model: Model, inputs: Inputs, targets: Tensor, *, layer: str | None = None
) -> ForwardRecord:
    """One pass forward; without gradients, slopes or rates."""
    module = network(model, layer)
    parts: list[_Part] = []
    with recorded(module, layer) as tape:
        for rows in row_batches(model, len(inputs)):
            tape.clear()
            outputs = model.target_output(inputs.take(rows), targets[rows])
            layers = {name: output[: len(rows)] for name, output in tape.layers().items()}
            parts.append((outputs, inputs.x[rows], layers, {}, {}))
    return _joined(parts, tape, layer)


@torch.no_grad()
def output_of_layer(
    model: Model,
    inputs: Inputs,
    targets: Tensor,
    *,
    layer: str | None,
    choose: Callable[[ForwardRecord], str],
) -> Tensor:
    """`[B, *L]`: as `forward`, of the one layer that is chosen, without keeping the others."""
    module, parts = network(model, layer), list[Tensor]()
    with recorded(module, layer, copies=False) as tape:
        for rows in row_batches(model, len(inputs)):
            tape.clear()
            outputs = model.target_output(inputs.take(rows), targets[rows])
            calls = tape.named()
            layers = {name: call.output[: len(rows)] for name, call in calls.items()}
            name = choose(_joined([(outputs, inputs.x[rows], layers, {}, {})], tape, layer))
            if not calls[name].is_intact:
                break
            parts.append(layers[name])
        else:
            return torch.cat(parts)
    return forward(model, inputs, targets, layer=layer).layers[name]


def network(model: Model, layer: str | None = None) -> nn.Module:
    """The module to hook, which has a part of that name.

    Raises `Unsupported` where it has none, or there is no module.
    """
    if model.module is None:
        raise Unsupported("layers are recorded in a torch module, and this model has none")
    names = [name for name, _ in model.module.named_modules() if name]
    if layer is not None and split_call(layer)[0] not in names and not is_function(layer):
        raise Unsupported(f"the network has no layer {layer!r}; {suggest(layer, names)}")
    return model.module


def differentiable(model: Model, layer: str | None = None) -> nn.Module:
    """The same, of a model that has gradients; raises `Unsupported` where it has none."""
    require_gradient(model)
    return network(model, layer)


_Part = tuple[Tensor, Tensor, dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]


def _pass(
    tape: Tape, model: Model, inputs: Inputs, targets: Tensor, direction: Tensor | None
) -> _Part:
    """The same as `_one_pass`, by slower kernels where the usual ones have no rates."""
    try:
        return _one_pass(tape, model, inputs, targets, direction)
    except NotImplementedError:
        with _unfused():
            try:
                return _one_pass(tape, model, inputs, targets, direction)
            except NotImplementedError as error:
                raise Unsupported(f"this network has no forward derivative: {error}") from error


@contextmanager
def _unfused() -> Iterator[None]:
    """Recurrent layers and attention by kernels that have a forward derivative."""
    kernels: Any = torch.backends.mkldnn
    fused, flash = kernels.enabled, torch.backends.cuda.flash_sdp_enabled()
    try:
        kernels.enabled = False
        torch.backends.cuda.enable_flash_sdp(False)  # of the CPU's attention, too
        yield
    finally:
        kernels.enabled = fused
        torch.backends.cuda.enable_flash_sdp(flash)


def _one_pass(
    tape: Tape, model: Model, inputs: Inputs, targets: Tensor, direction: Tensor | None
) -> _Part:
    """Outputs, gradient, layers, slopes and rates; without layers that do not depend on x, or that
    the output does not depend on.
    """
    tape.clear()
    x, n_samples = inputs.x.detach().clone().requires_grad_(), len(inputs)
    # Forward mode beside backward mode: rates of all neurons along one direction in a single pass,
    # where backward mode alone would take one for each neuron.
    with torch.enable_grad(), forward_ad.dual_level():
        point = x if direction is None else forward_ad.make_dual(x, direction)
        outputs = model.target_output(inputs.with_x(point), targets)
        layers = {name: output for name, output in tape.layers().items() if output.requires_grad}
        tangents = {} if direction is None else layers
        rates = {n: forward_ad.unpack_dual(output).tangent for n, output in tangents.items()}
    require_path(outputs)
    # The empty name stands for x itself, which no layer can have.
    slopes = dict(zip(("", *layers), _slopes(outputs, [x, *layers.values()]), strict=True))
    used = [name for name in layers if slopes[name] is not None]
    return (
        outputs.detach(),
        torch.where(inputs.units < 0, 0, _or_zero(slopes[""], x)),
        {name: layers[name][:n_samples].detach() for name in used},
        {name: _or_zero(slopes[name], layers[name])[:n_samples] for name in used},
        {n: _or_zero(rates[n], layers[n])[:n_samples].detach() for n in used if n in rates},
    )


def _rows(values: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if values is None else values[rows]


def _slopes(outputs: Tensor, at: Sequence[Tensor]) -> Sequence[Tensor | None]:
    return row_gradients(outputs, at, allow_unused=True)


def _or_zero(value: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if value is None else value


def _joined(parts: Sequence[_Part], tape: Tape, layer: str | None) -> ForwardRecord:
    outputs, gradients, *maps = zip(*parts, strict=True)
    layers, slopes, rates = (
        several[0]
        if len(several) == 1
        else {name: torch.cat([part[name] for part in several]) for name in several[0]}
        for several in maps
    )
    if layer is not None and layer not in layers:
        n_calls = tape.n_calls(layer)
        raise Unsupported(
            f"layer {layer!r} is called {n_calls} times; layer-wise explanation needs one call"
            if n_calls != 1
            else f"layer {layer!r} gives no rows of numbers that depend on x"
        )
    calls = tape.named()
    # Kinds of the layers that were called, not of those that the network holds.
    convolutions, sequences = (
        [name for name in layers if isinstance(calls[name].layer, kinds)]
        for kinds in (CONVOLUTION, SEQUENCES)
    )
    return ForwardRecord(
        outputs=torch.cat(outputs),
        gradient=torch.cat(gradients),
        layers=layers,
        slopes=slopes,
        rates=rates,
        last=tape.last_names() - {layer},
        convolutions=tuple(convolutions),
        axes=calls[convolutions[0]].axes if convolutions else (),
        sequences=tuple(sequences),
        modules={name: calls[name].layer for name in layers},
    )
