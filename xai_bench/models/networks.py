"""Small networks that are trained here: a multi-layer perceptron and a convolutional network.

Both are one `nn.Sequential` with the parts `features`, `flatten` and `head`, whose nonlinearities
are modules used once, so that layer-wise methods can hook every one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from typing import ClassVar

import torch
from torch import nn

from xai_bench.data.bundle import Bundle, Split
from xai_bench.models.base import OnEpoch, TorchPredictor, Trained
from xai_bench.models.fitting.weights import NetworkRecipe, allocate, sequence
from xai_bench.models.training import Training, initialise
from xai_bench.types import Unsupported


class TrainedNetwork(NetworkRecipe):
    """A network that is trained by gradient descent, as `training` says."""

    gives: ClassVar[tuple[str, ...]] = ()
    training: Training

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        """Draw the initial weights and fit them to the training part.

        A regressor is fitted to standardised values, so that one learning rate serves all data; its
        last layer then absorbs the scale, and the outputs are in the data's own units.
        """
        network = self.network(bundle)
        initialise(allocate(network, bundle), seed=seed)
        centre, spread = _target_scale(bundle)
        scaled = _scaled(bundle, centre, spread)
        history = self.training.fit(network, scaled, seed=seed, on_epoch=on_epoch)
        # After the early stopping, whose losses are those of the standardised values.
        _absorb_scale(network.get_submodule("head"), centre, spread)
        return Trained(TorchPredictor(network, bundle.n_outputs), history)


@dataclass(frozen=True)
class MLP(TrainedNetwork):
    """Fully connected layers with ReLU between them; any input is flattened."""

    hidden: Sequence[int] = (64, 64)
    training: Training = field(default_factory=Training)

    def network(self, bundle: Bundle) -> nn.Sequential:
        """Raises `Unsupported` for data whose model needs more than x."""
        _require_no_context(bundle, "mlp")
        sizes = [bundle.train.x[0].numel(), *self.hidden]
        with torch.device("meta"):
            layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(sizes)]
            parts = {
                "flatten": nn.Flatten(),
                "features": nn.Sequential(*chain.from_iterable(layers)),
                "head": nn.Linear(sizes[-1], bundle.n_outputs),
            }
        return sequence(parts)


@dataclass(frozen=True)
class CNN(TrainedNetwork):
    """Blocks of 3x3 convolution, ReLU and 2x2 max-pooling, then one linear layer; images only."""

    needs: ClassVar[tuple[str, ...]] = ("image",)
    channels: Sequence[int] = (16, 32)
    training: Training = field(default_factory=Training)

    def network(self, bundle: Bundle) -> nn.Sequential:
        """Raises `Unsupported` for data that are no images, or images too small to be halved."""
        _require_no_context(bundle, "cnn")
        n_channels, height, width = _image_shape(bundle, n_halvings=len(self.channels))
        shrink = 2 ** len(self.channels)
        sizes = [n_channels, *self.channels]
        with torch.device("meta"):
            blocks = [
                (nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
                for a, b in pairwise(sizes)
            ]
            # Each pooling rounds down, which together is one division that rounds down.
            flat = sizes[-1] * (height // shrink) * (width // shrink)
            parts = {
                "features": nn.Sequential(*chain.from_iterable(blocks)),
                "flatten": nn.Flatten(),
                "head": nn.Linear(flat, bundle.n_outputs),
            }
        return sequence(parts)


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


def _target_scale(bundle: Bundle) -> tuple[float, float]:
    """Mean and standard deviation of the training values; 0 and 1 for classes."""
    if bundle.task == "classification":
        return 0.0, 1.0
    y = bundle.train.y.double()
    # A constant target has no spread, and any number but 0 leaves it finite.
    return y.mean().item(), y.std(correction=0).item() or 1.0


def _scaled(bundle: Bundle, centre: float, spread: float) -> Bundle:
    if bundle.task == "classification":
        return bundle

    def scaled(part: Split) -> Split:
        return replace(part, y=(part.y.double() - centre) / spread)

    # Not the test part, which no training reads.
    return replace(bundle, train=scaled(bundle.train), valid=scaled(bundle.valid))


@torch.no_grad()
def _absorb_scale(head: nn.Module, centre: float, spread: float) -> None:
    """Change the layer so that its output is `centre + spread * output`."""
    for parameter in head.parameters():
        # The bias as well: what is scaled is the whole output, before the centre is added.
        parameter.mul_(spread)
    head.get_parameter("bias").add_(centre)
