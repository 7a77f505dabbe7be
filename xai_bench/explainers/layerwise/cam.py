"""Class activation maps: the channels of a convolutional layer, weighted and added up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions
from xai_bench.core.baselines import references
from xai_bench.explainers.layerwise.recording import observe_layer, output_of_layer
from xai_bench.explainers.layerwise.spatial import enlarged, over_channels, spatial_layer
from xai_bench.explainers.stated_rows import OneBackwardPass
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng


@dataclass(frozen=True)
class _GradientCAM(OneBackwardPass, ABC):
    """Base of maps weighted by the gradient at the layer; a subclass states the weights.

    `layer` is a name; without one it is the last convolution with its activation.
    """

    layer: str | None = None

    @abstractmethod
    def weights(self, maps: Tensor, slopes: Tensor) -> Tensor:
        """The layer's output and the gradient there, `[B, C, *places]`, to weights of that shape or
        `[B, C, 1, ...]`.
        """

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """What is negative in the weighted sum over channels is cut off.

        Raises `Unsupported` where the layer does not lie over x.
        """
        observed = observe_layer(
            model,
            inputs,
            targets,
            layer=self.layer,
            choose=lambda record: spatial_layer(record, inputs, self.layer),
        )
        weights = self.weights(observed.output, observed.slope)
        return Explanation(_heat(weights, observed.output, inputs))


@dataclass(frozen=True)
class GradCAM(_GradientCAM):
    """Channels weighted by their mean gradient; what is negative in the sum is cut off.

    `layer` is a name; without one it is the last convolution with its activation. The map is
    enlarged to the size of x and shared evenly by the channels of x. Selvaraju+ 2017.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "convolution")
    paper: ClassVar[str] = "Selvaraju+ 2017, arXiv:1610.02391"
    version: ClassVar[int] = 2

    def weights(self, maps: Tensor, slopes: Tensor) -> Tensor:
        """The mean gradient of each channel."""
        return slopes.flatten(2).mean(2).view(_by_channel(maps))


@dataclass(frozen=True)
class GradCAMPlusPlus(_GradientCAM):
    """Channels weighted by their positive gradients, of which each place counts by a ratio of
    derivatives of the exponential of the output.

    With slope `g` and activation `A` the ratio is `g^2 / (2 g^2 + sum(A) g^3)`; the exponential
    itself, a factor of the whole map, is left out. Chattopadhay+ 2018.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "convolution")
    paper: ClassVar[str] = "Chattopadhay+ 2018, arXiv:1710.11063"
    version: ClassVar[int] = 2

    def weights(self, maps: Tensor, slopes: Tensor) -> Tensor:
        """The sum of ratio times positive gradient over the places of each channel."""
        mass = maps.flatten(2).sum(2).view(_by_channel(maps))
        # Of the exponential of the output: its second and third derivatives are powers of the slope
        # where the network is piecewise linear, up to a factor that cancels in the ratio.
        below = 2 * slopes**2 + mass * slopes**3
        # No slope, no weight: the ratio is 0 / 0 there.
        ratio = torch.where(below == 0, 0, slopes**2 / torch.where(below == 0, 1, below))
        return (ratio * slopes.relu()).flatten(2).sum(2).view(_by_channel(maps))


@dataclass(frozen=True)
class LayerCAM(_GradientCAM):
    """Every place of every channel weighted by its own positive gradient. Jiang+ 2021."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "convolution")
    paper: ClassVar[str] = "Jiang+ 2021, doi:10.1109/TIP.2021.3089943"
    version: ClassVar[int] = 2

    def weights(self, maps: Tensor, slopes: Tensor) -> Tensor:
        """The positive gradients themselves."""
        return slopes.relu()


@dataclass(frozen=True)
class ScoreCAM:
    """Channels weighted by the softmax of the output for x masked by each of them.

    A channel, enlarged and scaled to 0 .. 1, is the mask; what it hides becomes the `baseline`,
    which is 0 in the paper. Takes one row, and a row per channel and reference. Wang+ 2020.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("module", "convolution")
    paper: ClassVar[str] = "Wang+ 2020, arXiv:1910.01279"
    version: ClassVar[int] = 2

    baseline: Baseline
    layer: str | None = None

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` where the layer does not lie over x."""
        maps = output_of_layer(
            model,
            inputs,
            targets,
            layer=self.layer,
            choose=lambda record: spatial_layer(record, inputs, self.layer),
        )
        starts = references(self.baseline, inputs, rng=rng)
        scores = maps.new_zeros(maps.shape[:2], dtype=torch.float64)
        for some in torch.arange(maps.shape[1]).split(max(model.max_rows // len(inputs), 1)):
            masks = _masks(maps[:, some], inputs.x)
            for start in starts.unbind(1):
                points = start[:, None] + masks * (inputs.x - start)[:, None]
                scores[:, some] += coalitions.values_at(model, inputs, targets, points)
        scores = scores / starts.shape[1]
        # The paper subtracts the output at the baseline first: a constant, which the softmax drops.
        return Explanation(_heat(scores.softmax(1).to(maps).view(_by_channel(maps)), maps, inputs))


def _by_channel(maps: Tensor) -> tuple[int, ...]:
    """The shape `[B, C, 1, ...]` of one weight per channel."""
    return (*maps.shape[:2], *[1] * (maps.dim() - 2))


def _heat(weights: Tensor, maps: Tensor, inputs: Inputs) -> Tensor:
    """`[B, *S]`: the positive part of the weighted sum over channels, in the size of x."""
    # As in the papers: what lowers the output is not shown, so the map says nothing against a
    # class.
    return over_channels((weights * maps).sum(1).relu(), inputs)


def _masks(maps: Tensor, x: Tensor) -> Tensor:
    """`[B, k, *places] -> [B, k, 1, *S[1:]]`: each channel in the size of x, from 0 to 1."""
    large = enlarged(maps.flatten(0, 1), x.shape[2:])
    ends = (end(large.flatten(1), 1) for end in (torch.amin, torch.amax))
    low, high = (end.view(-1, *[1] * (large.dim() - 1)) for end in ends)
    # A channel that is the same everywhere hides everything.
    masks = (large - low) / torch.where(high > low, high - low, 1)
    return masks.view(*maps.shape[:2], 1, *x.shape[2:])
