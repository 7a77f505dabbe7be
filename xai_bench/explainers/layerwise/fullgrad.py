"""The output of a network of ReLUs, told apart into what comes from x and from each bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xai_bench.explainers.layerwise.recording import Seen, differentiable, observe
from xai_bench.explainers.layerwise.spatial import enlarged, laid_over, spatial_layer
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported

INPUT = "(input)"
"""The name of the term of x itself, which no layer can have."""


@dataclass(frozen=True)
class FullGrad:
    """Input times gradient, and bias times gradient at every place of every layer.

    These terms, which `answer` gives per layer, add up to the output; `Unsupported` is raised where
    they miss it by more than `tolerance`, relative to their size. The map is the sum of their sizes
    over the input and all layers that lie over x, each layer scaled to 0 .. 1. Batch normalisation
    has a bias, too: what it answers to 0. Srinivas & Fleuret 2019.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Srinivas & Fleuret 2019, arXiv:1905.00780"

    tolerance: float = 1e-3

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`layers` holds the signed terms: `(input)` of x itself, and one per layer with a bias."""
        module = differentiable(model)
        seen = observe(model, inputs, targets)
        spatial_layer(seen, inputs, None)
        terms = {INPUT: inputs.x.detach() * seen.gradient, **_bias_terms(seen, module)}
        self._check(terms, seen.outputs)
        heat = _heat(terms[INPUT], inputs)
        for name in _over_x(seen, inputs):
            if name in terms:
                heat = heat + _heat(terms[name], inputs)
        return Explanation(laid_over(heat, inputs), layers=terms)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)

    def _check(self, terms: dict[str, Tensor], outputs: Tensor) -> None:
        parts = torch.cat([term.flatten(1) for term in terms.values()], dim=1).double()
        gap = (parts.sum(1) - outputs).abs()
        rounding = 100 * torch.finfo(outputs.dtype).eps * parts.abs().sum(1)
        n_off = int((gap > self.tolerance * (parts.abs().sum(1) + outputs.abs()) + rounding).sum())
        if n_off:
            raise Unsupported(
                f"FullGrad's terms miss the output in {n_off} of {len(gap)} samples: it needs a "
                "network of ReLUs whose biases belong to layers, and a logit as target"
            )


def _bias_terms(seen: Seen, module: nn.Module) -> dict[str, Tensor]:
    """Layer -> `[B, *L]`, bias times gradient, where there is a bias."""
    biases = {name: _bias(module.get_submodule(name), seen.layers[name]) for name in seen.layers}
    return {name: bias * seen.slopes[name] for name, bias in biases.items() if bias is not None}


def _bias(layer: nn.Module, output: Tensor) -> Tensor | None:
    """What the layer adds whatever comes in, in a shape to be multiplied with its output."""
    if isinstance(layer, nn.Linear):
        return layer.bias
    per_channel = (1, -1, *[1] * (output.dim() - 2))
    if isinstance(layer, nn.modules.conv._ConvNd):
        return None if layer.bias is None else layer.bias.view(per_channel)
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
        centre, spread = layer.running_mean, (layer.get_buffer("running_var") + layer.eps).sqrt()
        weight, bias = (1, 0) if layer.weight is None else (layer.weight, layer.bias)
        return (bias - weight * centre / spread).view(per_channel)
    return None


def _over_x(seen: Seen, inputs: Inputs) -> list[str]:
    """The layers from the first convolution on whose places lie over those of x."""
    order = list(seen.layers)
    behind = order[order.index(seen.convolutions[0]) :]
    return [name for name in behind if seen.layers[name].dim() == inputs.x.dim()]


def _heat(term: Tensor, inputs: Inputs) -> Tensor:
    """`[B, C, *places] -> [B, *S[1:]]`: sizes from 0 to 1, enlarged, channels added up."""
    size = term.abs().flatten(1)
    low, high = size.amin(1, keepdim=True), size.amax(1, keepdim=True)
    scaled = ((size - low) / torch.where(high > low, high - low, 1)).view(term.shape)
    return enlarged(scaled.sum(1), inputs.x.shape[2:])
