"""Maps of models whose layers have random weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xai_bench.core.seeds import Seeds
from xai_bench.metrics.common import once_per_cell
from xai_bench.types import Case, Model, Unsupported

_SUMS = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.MultiheadAttention, nn.RNNBase)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class RandomisedMap:
    """`[B, *S]`: the map at x of the model with every parameter of `layers` randomised.

    Explainer, random numbers and targets are the same. The model itself is never changed, and its
    copies share all weights that stay and all random weights, so that any number of copies takes
    the memory of one more model. Costs one explanation per sample.

    Attributes:
        layers: names out of `layer_names`; `()` is the model as it is.
        draw: the number of the draw of weights, which are the same for all explainers and seeds.
    """

    shared: ClassVar[bool] = False
    layers: tuple[str, ...]
    draw: int = 0

    def measure(self, case: Case) -> Tensor:
        """`[B, *S]`."""
        if not self.layers:
            return case.attribution
        return case.explain(case.inputs, model=randomised(case, self.layers, self.draw))


def randomised(case: Case, layers: Sequence[str], draw: int = 0) -> Model:
    """The model with random weights in these layers, made once per explainer and cell."""

    def make() -> Model:
        module = _module(case.model)
        # `deepcopy` takes what its memo holds in place of a copy: the weights that stay as they
        # are, and for the others one random draw that all copies share.
        memo = {id(p): p for p in module.parameters()}
        for name in layers:
            memo |= _weights_of(case, name, module.get_submodule(name), draw)
        return copy.deepcopy(case.model, memo)

    return once_per_cell(case, (RandomisedMap, tuple(layers), draw), make)


def layer_names(model: Model) -> list[str]:
    """The modules that hold parameters themselves, from output to input.

    The order is that in which the network lists its modules. Raises `Unsupported` for a model
    without a torch module, or without parameters.
    """
    named = _module(model).named_modules()
    names = [name for name, layer in named if list(layer.parameters(recurse=False))]
    if not names:
        raise Unsupported("randomising needs a model with parameters; this one has none")
    return names[::-1]


def _module(model: Model) -> nn.Module:
    if model.module is None:
        raise Unsupported("randomising needs a torch module; this model has none")
    return model.module


def _weights_of(case: Case, name: str, layer: nn.Module, draw: int) -> dict[int, nn.Parameter]:
    """The random weights of a layer, drawn once per explainer and cell."""
    # By the name of the layer: with one seed for all, layers of one shape would become equal.
    seed = Seeds(draw).number("randomised", name)
    return once_per_cell(case, (RandomisedMap, name, draw), lambda: random_weights(layer, seed))


def random_weights(layer: nn.Module, seed: int) -> dict[int, nn.Parameter]:
    """`id` of each parameter that the layer holds itself -> a random one in its place.

    Weighted sums: uniform in `+-1 / sqrt(fan_in)`, weights and biases. Embeddings: standard normal.
    Normalisations: about 1 (scale) and 0 (shift), with deviation 0.02. All others, such as class
    tokens: normal with deviation 0.02. Unlike initialisation, this changes every parameter, those
    of normalisations, too.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, old in layer.named_parameters(recurse=False):
        new = _value(layer, name, old, generator).to(old)
        assert not torch.equal(new, old) or old.numel() == 0, f"{name} was drawn as it was"
        weights[id(old)] = nn.Parameter(new, requires_grad=old.requires_grad)
    return weights


def _value(layer: nn.Module, name: str, old: nn.Parameter, generator: torch.Generator) -> Tensor:
    """Random numbers of the shape of `old`, float64, as `random_weights` says."""
    if isinstance(layer, _SUMS):
        # One bound for weights and biases, as torch initialises linear layers.
        first = next(p for p in layer.parameters(recurse=False) if p.dim() > 1)
        bound = 1 / math.sqrt(first[0].numel())
        uniform = torch.rand(old.shape, dtype=torch.float64, generator=generator)
        return bound * (2 * uniform - 1)
    normal = torch.randn(old.shape, dtype=torch.float64, generator=generator)
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        return normal
    centre = 1.0 if isinstance(layer, _NORMS) and name == "weight" else 0.0
    return centre + 0.02 * normal
