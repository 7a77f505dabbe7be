"""Weights of torch modules as safetensors files, and what recipes of networks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
import torch
from torch import Tensor, nn

from xai_bench.data.bundle import Bundle
from xai_bench.models.base import Predictor, TorchPredictor

FILE = "weights.safetensors"


class NetworkRecipe(ABC):
    """A recipe whose predictor is a torch module that the data and the settings determine."""

    differentiable: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    @abstractmethod
    def network(self, bundle: Bundle) -> nn.Sequential:
        """The layers for this data, on the meta device: without memory for the weights."""

    def save(self, predictor: Predictor, folder: Path) -> None:
        """Write the weights as safetensors."""
        write_weights(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        """Read what `save` wrote."""
        return read_weights(self.network(bundle), bundle, folder)


def sequence(parts: Mapping[str, nn.Module]) -> nn.Sequential:
    """The parts of a network in order, under their names, by which layers are chosen."""
    return nn.Sequential(OrderedDict(parts))


def write_weights(predictor: Predictor, folder: Path) -> None:
    """Write the state dict of the predictor's module into the folder.

    Raises ValueError where there is no module.
    """
    if predictor.module is None:
        raise ValueError(f"{type(predictor).__name__} has no torch module whose weights to save")
    weights = predictor.module.state_dict()
    # safetensors refuses a tensor that does not lie in one piece.
    state = {name: value.contiguous().cpu() for name, value in weights.items()}
    safetensors.torch.save_file(state, folder / FILE)


def read_weights(network: nn.Module, bundle: Bundle, folder: Path) -> TorchPredictor:
    """Give a network on the meta device the saved weights."""
    return with_weights(network, bundle, safetensors.torch.load_file(folder / FILE))


def with_weights(
    network: nn.Module, bundle: Bundle, weights: Mapping[str, Tensor]
) -> TorchPredictor:
    """Give a network on the meta device these weights, in the data's floating type."""
    allocate(network, bundle).load_state_dict(weights)
    return TorchPredictor(network, bundle.n_outputs)


def allocate(network: nn.Module, bundle: Bundle) -> nn.Module:
    """Memory for the weights of a network on the meta device, of the data's floating type."""
    return materialise(network, bundle.train.x.dtype)


def materialise(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Replace what lies on the meta device by memory that is not yet set, of a floating type.

    `nn.Module.to_empty` does the same and loads an algebra of shapes for it.
    """
    # Tensors are told apart by identity, so that a weight of two layers stays one.
    made: dict[Tensor, Tensor] = {}
    for layer in network.modules():
        stored: tuple[dict[str, Any], ...] = (layer._parameters, layer._buffers)
        for own in stored:
            for name, value in own.items():
                if value is not None and value not in made:
                    made[value] = _empty(value, dtype)
                if value is not None:
                    own[name] = made[value]
    return network


def _empty(value: Tensor, dtype: torch.dtype) -> Tensor:
    kind = dtype if value.is_floating_point() else value.dtype
    memory = torch.empty(value.shape, dtype=kind)
    if isinstance(value, nn.Parameter):
        return nn.Parameter(memory, requires_grad=value.requires_grad)
    return memory
