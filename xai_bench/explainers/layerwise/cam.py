"""Class activation maps: the channels of a convolutional layer, weighted and added up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions
from xai_bench.core.baselines import references
from xai_bench.explainers.layerwise.recording import forward, observe
from xai_bench.explainers.layerwise.spatial import enlarged, laid_over, spatial_layer
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng, Rows


@dataclass(frozen=True)
class GradCAM:
    """Channels weighted by their mean gradient; what is negative in the sum is cut off.

    `layer` is a name; without one it is the last convolution with its activation. The map is
    enlarged to the size of x and shared evenly by the channels of x. Selvaraju+ 2017.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Selvaraju+ 2017, arXiv:1610.02391"

    layer: str | None = None

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        maps, slopes = _maps(model, inputs, targets, self.layer)
        return Explanation(_heat(slopes.flatten(2).mean(2).view(_weights(maps)), maps, inputs))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class GradCAMPlusPlus:
    """Channels weighted by their positive gradients, of which each place counts by a ratio of
    derivatives of the exponential of the output.

    With slope `g` and activation `A` the ratio is `g^2 / (2 g^2 + sum(A) g^3)`; the exponential
    itself, a factor of the whole map, is left out. Chattopadhay+ 2018.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Chattopadhay+ 2018, arXiv:1710.11063"

    layer: str | None = None

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        maps, slopes = _maps(model, inputs, targets, self.layer)
        mass = maps.flatten(2).sum(2).view(_weights(maps))
        below = 2 * slopes**2 + mass * slopes**3
        share = torch.where(below == 0, 0, slopes**2 / torch.where(below == 0, 1, below))
        weights = (share * slopes.relu()).flatten(2).sum(2)
        return Explanation(_heat(weights.view(_weights(maps)), maps, inputs))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class LayerCAM:
    """Every place of every channel weighted by its own positive gradient. Jiang+ 2021."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Jiang+ 2021, doi:10.1109/TIP.2021.3089943"

    layer: str | None = None

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        maps, slopes = _maps(model, inputs, targets, self.layer)
        return Explanation(_heat(slopes.relu(), maps, inputs))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class ScoreCAM:
    """Channels weighted by the softmax of what the model says of x seen through each of them.

    A channel, enlarged and scaled to 0 .. 1, lets x through; `baseline` is what lies behind it, of
    which the paper's is 0. Takes one row, and a row per channel and reference. Wang+ 2020.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("module",)
    paper: ClassVar[str] = "Wang+ 2020, arXiv:1910.01279"

    baseline: Baseline
    layer: str | None = None

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        seen = forward(model, inputs, targets, layer=self.layer)
        maps = seen.layers[spatial_layer(seen, inputs, self.layer)]
        starts = references(self.baseline, inputs, rng=rng)
        scores = torch.zeros(maps.shape[:2], dtype=torch.float64)
        for some in torch.arange(maps.shape[1]).split(max(model.max_rows // len(inputs), 1)):
            prepare_cell = _opened(maps[:, some], inputs.x)
            for behind in starts.unbind(1):
                points = behind[:, None] + prepare_cell * (inputs.x - behind)[:, None]
                scores[:, some] += coalitions.values_at(model, inputs, targets, points)
        scores = scores / starts.shape[1]
        return Explanation(_heat(scores.softmax(1).to(maps).view(_weights(maps)), maps, inputs))


def _maps(
    model: Model, inputs: Inputs, targets: Tensor, layer: str | None
) -> tuple[Tensor, Tensor]:
    """`[B, C, *places]` twice: the layer's output and the gradient there."""
    seen = observe(model, inputs, targets, layer=layer)
    name = spatial_layer(seen, inputs, layer)
    return seen.layers[name], seen.slopes[name]


def _weights(maps: Tensor) -> tuple[int, ...]:
    """The shape `[B, C, 1, ...]` of one weight per channel."""
    return (*maps.shape[:2], *[1] * (maps.dim() - 2))


def _heat(weights: Tensor, maps: Tensor, inputs: Inputs) -> Tensor:
    return laid_over((weights * maps).sum(1).relu(), inputs)


def _opened(maps: Tensor, x: Tensor) -> Tensor:
    """`[B, k, *places] -> [B, k, 1, *S[1:]]`: each channel in the size of x, from 0 to 1."""
    large = enlarged(maps.flatten(0, 1), x.shape[2:])
    ends = (end(large.flatten(1), 1) for end in (torch.amin, torch.amax))
    low, high = (end.view(-1, *[1] * (large.dim() - 1)) for end in ends)
    # A channel that is the same everywhere lets nothing through.
    prepare_cell = (large - low) / torch.where(high > low, high - low, 1)
    return prepare_cell.view(*maps.shape[:2], 1, *x.shape[2:])
