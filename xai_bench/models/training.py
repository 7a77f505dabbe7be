"""Training of small networks, with early stopping and the same bits every time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_bench.core.seeds import Seeds
from xai_bench.core.system.determinism import deterministic
from xai_bench.core.system.devices import CPU, computes_in_double
from xai_bench.data.bundle import Bundle, Split, Task
from xai_bench.models.base import OnEpoch, Predictor
from xai_bench.models.fitting.adamw import AdamW

History = tuple[Mapping[str, float], ...]
_CHUNK = 1024
"""Rows in one call when a whole part is predicted; bounds memory."""


class EarlyStopping:
    """The weights of the lowest validation loss, and whether it is time to stop.

    Args:
        patience: epochs without a lower loss after which training ends.
    """

    def __init__(self, network: nn.Module, patience: int) -> None:
        self.network, self.patience = network, patience
        # Epoch 0 are the initial weights, which stay where no loss is finite.
        self.n_epochs, self.best_epoch, self.best_loss = 0, 0, math.inf
        self.best = _copy(network)

    def ends_at(self, loss: float) -> bool:
        """Whether training ends after one more epoch, with this loss."""
        self.n_epochs += 1
        # A loss of NaN is never lower: an epoch without progress.
        if loss < self.best_loss:
            self.best_epoch, self.best_loss, self.best = self.n_epochs, loss, _copy(self.network)
            return False
        return self.n_epochs - self.best_epoch >= self.patience

    def restore(self, setting: str, learning_rate: float) -> None:
        """Give the network its best weights; `setting` is what a user would change.

        Raises ValueError where no loss was finite.
        """
        # With `max_epochs=0` no epoch has run, and nothing has diverged.
        if self.n_epochs and self.best_epoch == 0:
            raise ValueError(
                f"training diverged: the validation loss was never finite in {self.n_epochs} "
                f"epochs; lower {setting} (now {learning_rate})"
            )
        self.network.load_state_dict(self.best)


@dataclass(frozen=True)
class Training:
    """Adam with decoupled weight decay; the weights of the lowest validation loss are kept.

    Stops after `patience` epochs without a lower one. `max_epochs=0` leaves the network untrained.
    A network may have a `loss` of its own.
    Loshchilov & Hutter 2019, arXiv:1711.05101.
    """

    max_epochs: int = 60
    patience: int = 10
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4

    def fit(self, network: nn.Module, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> History:
        """Train in place, on the device of the bundle; per epoch `{epoch, train_loss, valid_loss,
        valid_score}`.

        Losses are cross-entropy or squared error, scores are accuracy or R2. Raises ValueError
        where the loss is never finite.
        """
        # A generator of its own, so that nothing drawn elsewhere changes the order of rows.
        order = torch.Generator().manual_seed(Seeds(seed).number("training", "order"))
        # Scores are in float64, which Apple's devices lack.
        device = bundle.device if computes_in_double(bundle.device) else CPU
        network.to(device)
        bundle = _on_device(bundle, device)
        optimiser = AdamW(network.parameters(), self.learning_rate, self.weight_decay)
        history: list[Mapping[str, float]] = []
        stopping = EarlyStopping(network, self.patience)
        with deterministic(device):
            for epoch in range(1, self.max_epochs + 1):
                train_loss = self._epoch(network, optimiser, bundle, order)
                valid_loss, score = _validate(network, bundle)
                history.append(_row(epoch, train_loss, valid_loss, score))
                on_epoch(history[-1])
                if stopping.ends_at(valid_loss):
                    break
        stopping.restore("model.training.learning_rate", self.learning_rate)
        return tuple(history)

    def _epoch(
        self,
        network: nn.Module,
        optimiser: AdamW,
        bundle: Bundle,
        order: torch.Generator,
    ) -> float:
        """One pass over the training rows; the mean loss on the way."""
        total, part = 0.0, bundle.train
        # Drawn on the CPU, so that the order is the same wherever the network is.
        for rows in torch.randperm(len(part), generator=order).split(self.batch_size):
            outputs = network(part.x[rows], **_context(part, rows))
            loss = _loss_of(network, outputs, part.y[rows], bundle.task)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            # By rows: the last batch of an epoch may be a small one.
            total += loss.item() * len(rows)
        return total / len(part)


@torch.no_grad()
def scores(predictor: Predictor, split: Split, task: Task) -> dict[str, float]:
    """Scores of a model on one part: `{accuracy, cross_entropy}`, or `{r2, mse}` of a regressor."""
    rows = torch.arange(len(split)).split(_CHUNK)
    outputs = torch.cat([predictor(split.x[r], _context(split, r)) for r in rows]).double()
    loss, score = _loss(outputs, split.y, task).item(), _score(outputs, split.y, task)
    if task == "classification":
        return {"accuracy": score, "cross_entropy": loss}
    return {"r2": score, "mse": loss}


def initialise(network: nn.Module, *, seed: int) -> None:
    """Draw every weight from a generator of its own.

    Weights and biases of sums are uniform in `+-1 / sqrt(fan_in)`, as PyTorch has them; embeddings
    are normal with deviation 0.1; normalisations start at 1 and 0. Raises ValueError for other
    layers.
    """
    generator = torch.Generator().manual_seed(Seeds(seed).number("training", "initial weights"))
    for name, layer in network.named_modules():
        parameters = list(layer.parameters(recurse=False))
        if isinstance(layer, nn.LayerNorm | nn.RMSNorm):
            layer.reset_parameters()
        elif isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight, 0.0, 0.1, generator=generator)
        elif parameters and not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            raise ValueError(
                f"layer {name!r} is a {type(layer).__name__}, whose weights cannot be initialised; "
                "linear layers, convolutions, embeddings and normalisations can"
            )
        else:
            # The weight comes first, and what one output takes of it are `fan_in` numbers.
            bound = 1 / math.sqrt(parameters[0][0].numel()) if parameters else 0.0
            for parameter in parameters:
                nn.init.uniform_(parameter, -bound, bound, generator=generator)


@torch.no_grad()
def _validate(network: nn.Module, bundle: Bundle) -> tuple[float, float]:
    part = bundle.valid
    batches = torch.arange(len(part)).split(_CHUNK)
    # No change of mode: no layer that `initialise` knows behaves differently in training.
    outputs = torch.cat([network(part.x[rows], **_context(part, rows)) for rows in batches])
    loss = _loss_of(network, outputs, part.y, bundle.task).item()
    return loss, _score(outputs, part.y, bundle.task)


def _on_device(bundle: Bundle, device: torch.device) -> Bundle:
    """With its training and validation rows there."""

    def there(part: Split) -> Split:
        context = {name: value.to(device) for name, value in part.context.items()}
        return replace(part, x=part.x.to(device), y=part.y.to(device), context=context)

    if device == CPU:
        return bundle
    return replace(bundle, train=there(bundle.train), valid=there(bundle.valid))


def _context(part: Split, rows: Tensor) -> dict[str, Tensor]:
    return {name: values[rows] for name, values in part.context.items()}


def _loss_of(network: nn.Module, outputs: Tensor, y: Tensor, task: Task) -> Tensor:
    """What is made small: the network's own loss where it has one."""
    own = getattr(network, "loss", None)
    loss: Tensor = own(outputs, y) if callable(own) else _loss(outputs, y, task)
    return loss


def _loss(outputs: Tensor, y: Tensor, task: Task) -> Tensor:
    if task == "classification":
        return functional.cross_entropy(outputs, y)
    # Not [B, 1] against [B], which would be broadcast to [B, B].
    return functional.mse_loss(outputs[:, 0], y.to(outputs))


def _score(outputs: Tensor, y: Tensor, task: Task) -> float:
    """Accuracy, or R2; NaN where all true values are the same."""
    if task == "classification":
        return (outputs.argmax(1) == y).double().mean().item()
    y = y.double()
    # Against the mean of this part: R2 compares with the best constant here.
    spread = (y - y.mean()).square().sum()
    error = (outputs[:, 0].double() - y).square().sum()
    return (1 - error / spread).item() if spread > 0 else math.nan


def _row(epoch: int, train_loss: float, valid_loss: float, score: float) -> Mapping[str, float]:
    return {
        "epoch": epoch,
        "train_loss": train_loss,
        "valid_loss": valid_loss,
        "valid_score": score,
    }


def _copy(network: nn.Module) -> dict[str, Tensor]:
    # A state dict shares its memory with the weights, which move on.
    return {name: value.clone() for name, value in network.state_dict().items()}
