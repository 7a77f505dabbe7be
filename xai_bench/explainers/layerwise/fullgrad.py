"""The output of a network of ReLUs, split into what comes from x and from each bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xai_bench.explainers.layerwise.recording import ForwardRecord, observe
from xai_bench.explainers.layerwise.spatial import enlarged, over_channels, spatial_layer
from xai_bench.explainers.precision import allowed_gap, cancelled, precision_hint
from xai_bench.explainers.stated_rows import OneBackwardPass
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Unsupported

INPUT = "(input)"
"""The name of the term of x itself, which no layer can have."""


@dataclass(frozen=True)
class FullGrad(OneBackwardPass):
    """Input times gradient, and bias times gradient at every place of every layer.

    These terms, which `Explanation.layers` holds, add up to the output; `Unsupported` is raised
    where they miss it by more than `tolerance`, relative to their size. The map is the sum of their
    sizes over the input and all layers that lie over x, each layer scaled to 0 .. 1. Batch
    normalisation has a bias, too: its output for 0. Srinivas & Fleuret 2019.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "layerwise"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "convolution")
    paper: ClassVar[str] = "Srinivas & Fleuret 2019, arXiv:1905.00780"
    version: ClassVar[int] = 2

    tolerance: float = 1e-3

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """With `layers`, the signed terms: `(input)` of x itself, and one per layer with a bias.

        Raises `Unsupported` where the terms do not add up, or no layer lies over x.
        """
        record = observe(model, inputs, targets)
        spatial_layer(record, inputs, None)
        terms = {INPUT: inputs.x.detach() * record.gradient, **_bias_terms(record)}
        self._check(terms, record.outputs)
        heat = _heat(terms[INPUT], inputs)
        for name in _over_x(record, inputs):
            # Layers without a bias have no term.
            if name in terms:
                heat = heat + _heat(terms[name], inputs)
        return Explanation(over_channels(heat, inputs), layers=terms)

    def _check(self, terms: dict[str, Tensor], outputs: Tensor) -> None:
        parts = torch.cat([term.flatten(1) for term in terms.values()], dim=1).double()
        gap = (parts.sum(1) - outputs).abs()
        # Terms that cancel leave the rounding of their size behind.
        rounding = cancelled(outputs.dtype) * parts.abs().sum(1)
        allowed = allowed_gap(self.tolerance, outputs.dtype) * (parts.abs().sum(1) + outputs.abs())
        n_off = int((gap > allowed + rounding).sum())
        if n_off:
            raise Unsupported(
                f"FullGrad's terms miss the output in {n_off} of {len(gap)} samples: it needs a "
                "network of ReLUs whose biases belong to layers, and a logit as target"
                f"{precision_hint(outputs.dtype)}"
            )


def _bias_terms(record: ForwardRecord) -> dict[str, Tensor]:
    """Layer -> `[B, *L]`, bias times gradient, where there is a bias."""
    biases = {name: _bias(record.modules[name], record.layers[name]) for name in record.layers}
    return {name: bias * record.slopes[name] for name, bias in biases.items() if bias is not None}


def _bias(layer: nn.Module, output: Tensor) -> Tensor | None:
    """What the layer adds whatever its input, in a shape to be multiplied with its output; None
    where that is nothing.
    """
    if isinstance(layer, nn.Linear):
        return layer.bias
    per_channel = (1, -1, *[1] * (output.dim() - 2))
    if isinstance(layer, nn.modules.conv._ConvNd):
        return None if layer.bias is None else layer.bias.view(per_channel)
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
        centre, spread = layer.running_mean, (layer.get_buffer("running_var") + layer.eps).sqrt()
        weight, bias = (1, 0) if layer.weight is None else (layer.weight, layer.bias)
        # In evaluation mode the norm is affine; with the statistics of a batch it would mix
        # samples.
        return (bias - weight * centre / spread).view(per_channel)
    return None


def _over_x(record: ForwardRecord, inputs: Inputs) -> list[str]:
    """The layers from the first convolution on whose places lie over those of x."""
    order = list(record.layers)
    later = order[order.index(record.convolutions[0]) :]
    return [name for name in later if record.layers[name].dim() == inputs.x.dim()]


def _heat(term: Tensor, inputs: Inputs) -> Tensor:
    """`[B, C, *places] -> [B, *S[1:]]`: sizes from 0 to 1, enlarged, channels added up."""
    # The paper's postprocessing: sizes, from 0 to 1 in each layer, so that no layer's scale
    # decides.
    size = term.abs().flatten(1)
    low, high = size.amin(1, keepdim=True), size.amax(1, keepdim=True)
    scaled = ((size - low) / torch.where(high > low, high - low, 1)).view(term.shape)
    return enlarged(scaled.sum(1), inputs.x.shape[2:])
