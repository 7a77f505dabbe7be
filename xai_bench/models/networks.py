"""Small networks that are trained here: a multi-layer perceptron and a convolutional network.

Both are one `nn.Sequential` with the parts `features`, `flatten` and `head`, whose nonlinearities
are modules used once, so that layer-wise methods can hook every one of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from xai_bench.data.bundle import Bundle, Split
from xai_bench.models.base import OnEpoch, Predictor, TorchPredictor, Trained
from xai_bench.models.training import Training, initialise
from xai_bench.models.weights import allocate, read_weights, write_weights
from xai_bench.types import Unsupported


@dataclass(frozen=True)
class MLP:
    """Fully connected layers with ReLU between them; any input is flattened."""

    differentiable: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    gives: ClassVar[tuple[str, ...]] = ()
    hidden: Sequence[int] = (64, 64)
    training: Training = field(default_factory=Training)

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        return _train(self._network(bundle), bundle, self.training, seed, on_epoch)

    def save(self, predictor: Predictor, folder: Path) -> None:
        write_weights(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        return read_weights(self._network(bundle), bundle, folder)

    def _network(self, bundle: Bundle) -> nn.Sequential:
        _require_no_context(bundle, "mlp")
        sizes = [bundle.train.x[0].numel(), *self.hidden]
        with torch.device("meta"):
            layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(sizes)]
            named: OrderedDict[str, nn.Module] = OrderedDict(
                flatten=nn.Flatten(),
                features=nn.Sequential(*chain.from_iterable(layers)),
                head=nn.Linear(sizes[-1], bundle.n_outputs),
            )
        return nn.Sequential(named)


@dataclass(frozen=True)
class CNN:
    """Blocks of 3x3 convolution, ReLU and 2x2 max-pooling, then one linear layer; images only."""

    needs: ClassVar[tuple[str, ...]] = ("image",)
    differentiable: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    gives: ClassVar[tuple[str, ...]] = ()
    channels: Sequence[int] = (16, 32)
    training: Training = field(default_factory=Training)

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        return _train(self._network(bundle), bundle, self.training, seed, on_epoch)

    def save(self, predictor: Predictor, folder: Path) -> None:
        write_weights(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        return read_weights(self._network(bundle), bundle, folder)

    def _network(self, bundle: Bundle) -> nn.Sequential:
        _require_no_context(bundle, "cnn")
        colours, height, width = _image_shape(bundle, n_halvings=len(self.channels))
        shrink = 2 ** len(self.channels)
        sizes = [colours, *self.channels]
        with torch.device("meta"):
            blocks = [
                (nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
                for a, b in pairwise(sizes)
            ]
            flat = sizes[-1] * (height // shrink) * (width // shrink)
            named: OrderedDict[str, nn.Module] = OrderedDict(
                features=nn.Sequential(*chain.from_iterable(blocks)),
                flatten=nn.Flatten(),
                head=nn.Linear(flat, bundle.n_outputs),
            )
        return nn.Sequential(named)


def _require_no_context(bundle: Bundle, name: str) -> None:
    if bundle.train.context:
        raise Unsupported(
            f"{name} takes x alone, but this data comes with {sorted(bundle.train.context)}; "
            "bring your own network with model=checkpoint"
        )


def _image_shape(bundle: Bundle, n_halvings: int) -> tuple[int, int, int]:
    shape = list(bundle.train.x.shape[1:])
    if len(shape) != 3:
        raise Unsupported(f"cnn needs images [C, H, W]; rows of this data have shape {shape}")
    if min(shape[1:]) < 2**n_halvings:
        raise Unsupported(
            f"cnn halves images {n_halvings} times, so needs at least {2**n_halvings} pixels a "
            f"side; these have shape {shape}: set fewer model.channels"
        )
    return shape[0], shape[1], shape[2]


def _train(
    network: nn.Sequential, bundle: Bundle, training: Training, seed: int, on_epoch: OnEpoch
) -> Trained:
    """Give a network on the meta device weights, and fit them.

    A regressor is fitted to standardised values, so that one learning rate serves all data; its
    last layer then takes the scale in, and the network answers in the data's own units.
    """
    initialise(allocate(network, bundle), seed=seed)
    centre, spread = _target_scale(bundle)
    history = training.fit(network, _scaled(bundle, centre, spread), seed=seed, on_epoch=on_epoch)
    _absorb_scale(network.get_submodule("head"), centre, spread)
    return Trained(TorchPredictor(network, bundle.n_outputs), history)


def _target_scale(bundle: Bundle) -> tuple[float, float]:
    """Mean and standard deviation of the training values; 0 and 1 for classes."""
    if bundle.task == "classification":
        return 0.0, 1.0
    y = bundle.train.y.double()
    return y.mean().item(), y.std(correction=0).item() or 1.0


def _scaled(bundle: Bundle, centre: float, spread: float) -> Bundle:
    if bundle.task == "classification":
        return bundle

    def scaled(part: Split) -> Split:
        return replace(part, y=(part.y.double() - centre) / spread)

    return replace(bundle, train=scaled(bundle.train), valid=scaled(bundle.valid))


@torch.no_grad()
def _absorb_scale(head: nn.Module, centre: float, spread: float) -> None:
    """Make the layer answer `centre + spread * output`."""
    for parameter in head.parameters():
        parameter.mul_(spread)
    head.get_parameter("bias").add_(centre)
