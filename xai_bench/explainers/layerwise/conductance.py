"""Integrated gradients by where they flow: through which layer, and which neuron."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core.baselines import references
from xai_bench.core.calls.model_outputs import gradient_rows
from xai_bench.explainers.layerwise.layer_gradients import slopes_through
from xai_bench.explainers.layerwise.layers import over_x
from xai_bench.explainers.layerwise.quadrature import added, nodes, steps
from xai_bench.explainers.layerwise.recording import ForwardRecord, observe
from xai_bench.explainers.stated_rows import in_equal_shares
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


@dataclass(frozen=True)
class Layerwise:
    """Integrated gradients of x, and in `layers` the conductance of every hidden layer: the same
    change of the output, split by the neurons it flows through.

    What a neuron conducts is its gradient times its rate of change, added up on the line from
    reference to input. Where all paths lead through a layer, its neurons conduct together what is
    attributed to the elements of x, exactly and for any `budget` (rows per sample). Dhamdhere+
    2018.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "hidden_layer")
    paper: ClassVar[str] = "Sundararajan+ 2017; Dhamdhere+ 2018, arXiv:1805.12233"
    version: ClassVar[int] = 2

    baseline: Baseline
    budget: int = 32

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """With `layers`, name -> `[B, *L]`; raises `Unsupported` for too small a budget."""
        starts = references(self.baseline, inputs, rng=rng)
        flow = _flow(model, inputs, targets, starts, steps(self.budget, starts.shape[1]))
        return Explanation(flow.attribution, layers=flow.layers)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """As many points for every reference as the budget allows, forward and back."""
        spent = in_equal_shares(self.budget, n_references)
        return Rows(spent, spent)


@dataclass(frozen=True)
class LayerConductance:
    """What each neuron of a convolutional layer conducts on the line from reference to input.

    `layers` has every hidden layer. The explanation of x is that of `layer`, by default the last
    convolution with its activation: channels added up, in the size of x. `budget` bounds the rows
    per sample. Dhamdhere+ 2018.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "convolution")
    paper: ClassVar[str] = "Dhamdhere+ 2018, arXiv:1805.12233"
    version: ClassVar[int] = 2

    baseline: Baseline
    layer: str | None = None
    budget: int = 32

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """With `layers`, name -> `[B, *L]`; raises `Unsupported` where none lies over x."""
        starts = references(self.baseline, inputs, rng=rng)
        n_steps = steps(self.budget, starts.shape[1])
        flow = _flow(model, inputs, targets, starts, n_steps, self.layer)
        return over_x(flow.layers, flow.record, inputs, self.layer)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """As many points for every reference as the budget allows, forward and back."""
        spent = in_equal_shares(self.budget, n_references)
        return Rows(spent, spent)


@dataclass(frozen=True)
class NeuronConductance:
    """What of integrated gradients flows through one neuron of a layer.

    Attributions add up to what the neuron conducts. `layer` is by default the last hidden one.
    `neuron` is its place in the layer, such as `[3]`, or `[3, 0, 1]` of channels; `[3]` of channels
    is the whole channel; without one, it is the neuron that conducts most. Half of the `budget`
    (rows per sample) is spent to find it: on the conductance of every hidden layer, which `layers`
    has. Dhamdhere+ 2018.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "hidden_layer")
    paper: ClassVar[str] = "Dhamdhere+ 2018, arXiv:1805.12233"
    version: ClassVar[int] = 2
    breaks_axioms: ClassVar[tuple[str, ...]] = ("linearity",)  # each model has its own neuron

    baseline: Baseline
    layer: str | None = None
    neuron: Sequence[int] | None = None
    budget: int = 64

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """With `layers`, name -> `[B, *L]`, what each neuron of each hidden layer conducts.

        Raises `Unsupported` for too small a budget, or a neuron that there is not.
        """
        starts = references(self.baseline, inputs, rng=rng)
        # Two passes over the same points: which neuron conducts most is known after the first.
        n_steps = steps(self.budget, 2 * starts.shape[1])
        flow = _flow(model, inputs, targets, starts, n_steps, self.layer)
        name = self.layer or flow.record.hidden()[-1]
        neurons = _neurons(flow.layers[name], self.neuron)
        attribution = torch.zeros_like(inputs.x)
        for weights, points, differences in _nodes(model, inputs, starts, n_steps):
            k = points.shape[1]
            slopes = slopes_through(
                model,
                inputs.stacked(points),
                targets.repeat_interleave(k),
                name,
                neurons.repeat_interleave(k, dim=0),
            )
            attribution = added(attribution, weights, slopes * differences.flatten(0, 1))
        return Explanation(attribution, layers=flow.layers)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """Every point twice: to choose the neuron, and to see what flows through it."""
        spent = in_equal_shares(self.budget, 2 * n_references)
        return Rows(spent, spent)


@dataclass(frozen=True, eq=False)
class _Flow:
    """Integrated gradients `[B, *S]`, the conductances of each hidden layer, and one pass."""

    attribution: Tensor
    layers: dict[str, Tensor]
    record: ForwardRecord


def _flow(
    model: Model,
    inputs: Inputs,
    targets: Tensor,
    starts: Tensor,
    n_steps: int,
    layer: str | None = None,
) -> _Flow:
    attribution, layers, record = torch.zeros_like(inputs.x), dict[str, Tensor](), None
    for weights, points, differences in _nodes(model, inputs, starts, n_steps):
        direction = differences.flatten(0, 1)
        record = observe(
            model,
            inputs.stacked(points),
            targets.repeat_interleave(points.shape[1]),
            layer=layer,
            direction=direction,
        )
        # The same points serve x and every layer, so that what neurons conduct adds up to what
        # elements are attributed, whatever the error of the quadrature.
        attribution = added(attribution, weights, record.gradient * direction)
        for name in record.hidden():
            # Slope of the output by the neuron, times the neuron's rate of change on the line.
            conducted = record.slopes[name] * record.rates[name]
            before = layers.get(name, conducted.new_zeros(len(inputs), *conducted.shape[1:]))
            layers[name] = added(before, weights, conducted)
    assert record is not None, "there is at least one node"
    return _Flow(attribution, layers, record)


def _nodes(
    model: Model, inputs: Inputs, starts: Tensor, n_steps: int
) -> Iterator[tuple[Sequence[float], Tensor, Tensor]]:
    return nodes(inputs.x, starts, n_steps, max(gradient_rows(model) // len(inputs), 1))


def _neurons(conducted: Tensor, neuron: Sequence[int] | None) -> Tensor:
    """`[B, *L]`: 1 at the neuron chosen, or at the one that conducts most, and 0 elsewhere."""
    chosen = torch.zeros_like(conducted)
    if neuron is None:
        # Signed: what speaks most for the output, not what moves it most.
        best = conducted.flatten(1).argmax(1, keepdim=True)
        return chosen.flatten(1).scatter(1, best, 1.0).view(conducted.shape)
    shape = conducted.shape[1:]
    if len(neuron) > len(shape) or any(
        not 0 <= place < size for place, size in zip(neuron, shape, strict=False)
    ):
        raise Unsupported(
            f"found neuron {list(neuron)} for a layer of shape {list(shape)}; give a place in each "
            "axis, counted from 0"
        )
    chosen.movedim(0, -1)[tuple(neuron)] = 1
    return chosen
