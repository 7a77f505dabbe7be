"""Integrated gradients, told by where they flow: through which layer, and which neuron."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core.baselines import references
from xai_bench.explainers.layerwise.layer_gradients import slopes_through
from xai_bench.explainers.layerwise.layers import over_x
from xai_bench.explainers.layerwise.quadrature import added, nodes, steps
from xai_bench.explainers.layerwise.recording import Seen, observe
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


@dataclass(frozen=True)
class Layerwise:
    """Integrated gradients of x, and in `layers` the conductance of every hidden layer: the same
    change of the output, told by the neurons it flows through.

    What a neuron conducts is its gradient times its rate of change, added up on the line from
    reference to input. Where all paths lead through a layer, its neurons conduct what the elements
    of x are credited with, exactly and for any `budget` (rows per sample). Dhamdhere+ 2018.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Sundararajan+ 2017; Dhamdhere+ 2018, arXiv:1805.12233"

    baseline: Baseline
    budget: int = 32

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`layers`: name -> `[B, *L]`."""
        starts = references(self.baseline, inputs, rng=rng)
        flow = _flow(model, inputs, targets, starts, steps(self.budget, starts.shape[1]))
        return Explanation(flow.credits, layers=flow.layers)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        n_rows = self.budget // n_references * n_references
        return Rows(n_rows, n_rows)


@dataclass(frozen=True)
class LayerConductance:
    """What each neuron of a convolutional layer conducts on the line from reference to input.

    `layers` has every hidden layer. The explanation of x is that of `layer`, by default the last
    convolution with its activation: channels added up, laid over x. `budget` bounds the rows per
    sample. Dhamdhere+ 2018.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Dhamdhere+ 2018, arXiv:1805.12233"

    baseline: Baseline
    layer: str | None = None
    budget: int = 32

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`layers`: name -> `[B, *L]`."""
        starts = references(self.baseline, inputs, rng=rng)
        n_steps = steps(self.budget, starts.shape[1])
        flow = _flow(model, inputs, targets, starts, n_steps, self.layer)
        return over_x(flow.layers, flow.seen, inputs, self.layer)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        n_rows = self.budget // n_references * n_references
        return Rows(n_rows, n_rows)


@dataclass(frozen=True)
class NeuronConductance:
    """What of integrated gradients flows through one neuron of a layer.

    Attributions add up to what the neuron conducts. `layer` is by default the last hidden one.
    `neuron` is its place in the layer, such as `[3]`, or `[3, 0, 1]` of channels; `[3]` of channels
    is the whole channel; without one, it is the neuron that conducts most. Half of the `budget`
    (rows per sample) goes to find it: to the conductance of every hidden layer, which `layers` has.
    Dhamdhere+ 2018.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Dhamdhere+ 2018, arXiv:1805.12233"

    baseline: Baseline
    layer: str | None = None
    neuron: Sequence[int] | None = None
    budget: int = 64

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`layers`: name -> `[B, *L]`, what each neuron of each hidden layer conducts."""
        starts = references(self.baseline, inputs, rng=rng)
        n_steps = steps(self.budget, 2 * starts.shape[1])
        flow = _flow(model, inputs, targets, starts, n_steps, self.layer)
        name = self.layer or flow.seen.hidden()[-1]
        neurons = _neurons(flow.layers[name], self.neuron)
        found = torch.zeros_like(inputs.x)
        for weights, points, ways in _nodes(model, inputs, starts, n_steps):
            k = points.shape[1]
            slopes = slopes_through(
                model,
                inputs.stacked(points),
                targets.repeat_interleave(k),
                name,
                neurons.repeat_interleave(k, dim=0),
            )
            found = added(found, weights, slopes * ways.flatten(0, 1))
        return Explanation(found, layers=flow.layers)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        n_rows = self.budget // (2 * n_references) * 2 * n_references
        return Rows(n_rows, n_rows)


@dataclass(frozen=True, eq=False)
class _Flow:
    """Integrated gradients `[B, *S]`, the conductances of each hidden layer, and one pass."""

    credits: Tensor
    layers: dict[str, Tensor]
    seen: Seen


def _flow(
    model: Model,
    inputs: Inputs,
    targets: Tensor,
    starts: Tensor,
    n_steps: int,
    layer: str | None = None,
) -> _Flow:
    credits, layers, seen = torch.zeros_like(inputs.x), dict[str, Tensor](), None
    for weights, points, ways in _nodes(model, inputs, starts, n_steps):
        direction = ways.flatten(0, 1)
        seen = observe(
            model,
            inputs.stacked(points),
            targets.repeat_interleave(points.shape[1]),
            layer=layer,
            direction=direction,
        )
        credits = added(credits, weights, seen.gradient * direction)
        for name in seen.hidden():
            conducted = seen.slopes[name] * seen.rates[name]
            before = layers.get(name, conducted.new_zeros(len(inputs), *conducted.shape[1:]))
            layers[name] = added(before, weights, conducted)
    assert seen is not None, "there is at least one node"
    return _Flow(credits, layers, seen)


def _nodes(
    model: Model, inputs: Inputs, starts: Tensor, n_steps: int
) -> Iterator[tuple[Sequence[float], Tensor, Tensor]]:
    return nodes(inputs.x, starts, n_steps, max(model.max_rows // len(inputs), 1))


def _neurons(conducted: Tensor, neuron: Sequence[int] | None) -> Tensor:
    """`[B, *L]`: 1 at the neuron asked for, or at the one that conducts most, and 0 elsewhere."""
    chosen = torch.zeros_like(conducted)
    if neuron is None:
        best = conducted.flatten(1).argmax(1, keepdim=True)
        return chosen.flatten(1).scatter(1, best, 1.0).view(conducted.shape)
    shape = conducted.shape[1:]
    if len(neuron) > len(shape) or any(
        not 0 <= place < size for place, size in zip(neuron, shape, strict=False)
    ):
        raise Unsupported(
            f"there is no neuron {list(neuron)} in a layer of shape {list(shape)}; give a place "
            "in each axis, counted from 0"
        )
    chosen.movedim(0, -1)[tuple(neuron)] = 1
    return chosen
