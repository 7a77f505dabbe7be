"""Weights of torch modules as safetensors files."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from torch import nn

from xai_bench.data.bundle import Bundle
from xai_bench.models.base import Predictor, TorchPredictor

FILE = "weights.safetensors"


def write_weights(predictor: Predictor, folder: Path) -> None:
    """Write the state dict of the predictor's module into the folder."""
    if predictor.module is None:
        raise ValueError(f"{type(predictor).__name__} has no torch module whose weights to save")
    state = {name: value.contiguous() for name, value in predictor.module.state_dict().items()}
    safetensors.torch.save_file(state, folder / FILE)


def read_weights(network: nn.Module, bundle: Bundle, folder: Path) -> TorchPredictor:
    """Give a network on the meta device the saved weights."""
    allocate(network, bundle).load_state_dict(safetensors.torch.load_file(folder / FILE))
    return TorchPredictor(network, bundle.n_outputs)


def allocate(network: nn.Module, bundle: Bundle) -> nn.Module:
    """Memory for the weights of a network on the meta device, of the data's floating type."""
    return network.to(bundle.train.x.dtype).to_empty(device="cpu")
