"""One explanation per hidden layer: what each of its neurons adds to the output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core.baselines import references
from xai_bench.core.calls.model_outputs import gradient_rows
from xai_bench.explainers.layerwise.layer_gradients import slopes_at
from xai_bench.explainers.layerwise.quadrature import added, nodes, steps
from xai_bench.explainers.layerwise.recording import ForwardRecord, forward, observe
from xai_bench.explainers.layerwise.spatial import (
    sequence_layer,
    spatial_layer,
    spread_over_places,
)
from xai_bench.explainers.stated_rows import OneBackwardPass
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng


@dataclass(frozen=True)
class LayerActivation(OneBackwardPass):
    """Activation analysis: the output of a neuron times the gradient of the target output there.

    `layers` has every hidden layer. The explanation of x is that of `layer`, by default the last
    convolution with its activation: channels added up, in the size of x. Without convolutions it is
    that of the last recurrent or attention layer, step by step. Shrikumar+ 2016.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "convolution")
    paper: ClassVar[str] = "Shrikumar+ 2016, arXiv:1605.01713 (at a hidden layer)"
    version: ClassVar[int] = 2

    layer: str | None = None

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """With `layers`, name -> `[B, *L]`; raises `Unsupported` where none lies over x."""
        record = observe(model, inputs, targets, layer=self.layer)
        # Input times gradient, one layer further in: the first-order change from an activation of
        # 0.
        layers = {name: record.layers[name] * record.slopes[name] for name in record.hidden()}
        return over_x(layers, record, inputs, self.layer)


@dataclass(frozen=True)
class LayerIntegratedGradients:
    """Integrated gradients on the straight line between a layer's outputs for the reference and for
    x, with the input itself held at x.

    `layers` has every hidden layer; the explanation of x is that of `layer`, as in layer
    activation. `budget` bounds the rows per sample, which all layers and references share: one for
    x, one per reference, and as many steps per layer and reference as that leaves.
    Sundararajan+ 2017.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "convolution")
    paper: ClassVar[str] = "Sundararajan+ 2017, arXiv:1703.01365 (at a hidden layer)"
    version: ClassVar[int] = 2

    baseline: Baseline
    layer: str | None = None
    budget: int = 256

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """With `layers`, name -> `[B, *L]`, which add up to the change of the output on the line.

        Raises `Unsupported` where no layer lies over x, or the budget leaves none a step.
        """
        record = observe(model, inputs, targets, layer=self.layer)
        at = references(self.baseline, inputs, rng=rng).unbind(1)
        starts = [forward(model, inputs.with_x(x), targets, layer=self.layer).layers for x in at]
        names = record.hidden()
        # Each layer has a line of its own: unlike conductance, no pass serves two layers.
        n_steps = steps(self.budget - 1 - len(starts), len(names) * len(starts))
        layers = {}
        for name in names:
            start = torch.stack([outputs[name] for outputs in starts], dim=1)
            layers[name] = _along(
                model, inputs, targets, name, (record.layers[name], start), n_steps
            )
        return over_x(layers, record, inputs, self.layer)


def over_x(
    layers: dict[str, Tensor], record: ForwardRecord, inputs: Inputs, layer: str | None
) -> Explanation:
    """The explanation of all layers, and of x by the one that lies over it, channels added up."""
    if layer in record.sequences or not (record.convolutions or layer):
        name, axis = sequence_layer(record, inputs, layer)
        return Explanation(spread_over_places(layers[name].sum(2), inputs, axis), layers=layers)
    name = spatial_layer(record, inputs, layer)
    return Explanation(spread_over_places(layers[name].sum(1), inputs), layers=layers)


def _along(
    model: Model,
    inputs: Inputs,
    targets: Tensor,
    layer: str,
    lines: tuple[Tensor, Tensor],
    n_steps: int,
) -> Tensor:
    """`[B, *L]`: integrated gradients on the lines from `[B, R, *L]` to `[B, *L]`."""
    ends, starts = lines
    total = torch.zeros_like(ends)
    width = max(gradient_rows(model) // len(inputs), 1)
    for weights, points, differences in nodes(ends, starts, n_steps, width):
        k = points.shape[1]
        flat = inputs.stacked(inputs.x[:, None].expand(-1, k, *inputs.x.shape[1:]))
        slopes = slopes_at(model, flat, targets.repeat_interleave(k), layer, points.flatten(0, 1))
        total = added(total, weights, slopes * differences.flatten(0, 1))
    return total
