"""The same explainer, random numbers and targets, where layers of the model have other weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xai_bench.core.seeds import Seeds
from xai_bench.types import Case, Model, Unsupported

_SUMS = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.MultiheadAttention, nn.RNNBase)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class RandomisedMap:
    """`[B, *S]`: the map at x where every parameter of `layers` is drawn anew; `()` is none.

    The model itself is never touched, and its copies share all weights that stay and all weights
    that are drawn, so that any number of copies takes the memory of one more model. Costs one
    explanation per sample.

    Attributes:
        layers: names out of `layer_names`.
        draw: names the draw of the weights, which are the same for all explainers and seeds.
    """

    shared: ClassVar[bool] = False
    layers: tuple[str, ...]
    draw: int = 0

    def measure(self, case: Case) -> Tensor:
        if not self.layers:
            return case.attribution
        return case.explain(case.inputs, model=randomised(case, self.layers, self.draw))


def randomised(case: Case, layers: Sequence[str], draw: int = 0) -> Model:
    """The model with other weights in these layers, made once per explainer and cell."""
    key = (RandomisedMap, tuple(layers), draw)
    if key not in case.cell:
        module = _module(case.model)
        stand_ins = {id(p): p for p in module.parameters()}
        for name in layers:
            stand_ins |= _drawn_once(case, name, module.get_submodule(name), draw)
        case.cell[key] = copy.deepcopy(case.model, stand_ins)
    made: Model = case.cell[key]
    return made


def layer_names(model: Model) -> list[str]:
    """The modules that hold parameters themselves, from output to input.

    The order is that in which the network lists its parts. Raises `Unsupported` where there are
    no parameters.
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


def _drawn_once(case: Case, name: str, layer: nn.Module, draw: int) -> dict[int, nn.Parameter]:
    key = (RandomisedMap, name, draw)
    if key not in case.cell:
        case.cell[key] = drawn_anew(layer, Seeds(draw).number("randomised", name))
    stand_ins: dict[int, nn.Parameter] = case.cell[key]
    return stand_ins


def drawn_anew(layer: nn.Module, seed: int) -> dict[int, nn.Parameter]:
    """`id` of each parameter that the layer holds itself -> another one in its place.

    Weighted sums: uniform in `+-1 / sqrt(fan_in)`, weights and biases. Embeddings: standard normal.
    Normalisations: about 1 (scale) and 0 (shift), with deviation 0.02. All else, such as class
    tokens: normal with deviation 0.02.
    """
    generator = torch.Generator().manual_seed(seed)
    stand_ins = {}
    for name, old in layer.named_parameters(recurse=False):
        new = _value(layer, name, old, generator).to(old)
        assert not torch.equal(new, old) or old.numel() == 0, f"{name} was drawn as it was"
        stand_ins[id(old)] = nn.Parameter(new, requires_grad=old.requires_grad)
    return stand_ins


def _value(layer: nn.Module, name: str, old: nn.Parameter, generator: torch.Generator) -> Tensor:
    if isinstance(layer, _SUMS):
        first = next(p for p in layer.parameters(recurse=False) if p.dim() > 1)
        bound = 1 / math.sqrt(first[0].numel())
        uniform = torch.rand(old.shape, dtype=torch.float64, generator=generator)
        return bound * (2 * uniform - 1)
    normal = torch.randn(old.shape, dtype=torch.float64, generator=generator)
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        return normal
    centre = 1.0 if isinstance(layer, _NORMS) and name == "weight" else 0.0
    return centre + 0.02 * normal
