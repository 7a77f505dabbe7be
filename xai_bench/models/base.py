"""From anything that predicts to the one scalar per sample that is explained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from xai_bench.data.bundle import Bundle, Task
from xai_bench.models.structure import read
from xai_bench.types import ROW_BLOCK, Column, Inputs, Structure, Unsupported


class Predictor(Protocol):
    """`x [B, *S]` and context to `[B, C]`: logits of a classifier, values of a regressor."""

    @property
    def differentiable(self) -> bool: ...

    @property
    def module(self) -> nn.Module | None: ...

    @property
    def n_outputs(self) -> int: ...

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor: ...


@runtime_checkable
class ReadablePredictor(Protocol):
    """A predictor whose inside can be read."""

    def structure(self, column: Column) -> Structure | None:
        """How its outputs or probabilities come about; None where there is nothing to read.

        Raises `Unsupported` where it is told of the other of the two only.
        """
        ...


class Target(Protocol):
    """Which scalar is explained.

    One that is a column of the outputs, or of their softmax, says so in the class attribute
    `column_of`: what is read of a model's inside is true of such a scalar only.
    """

    @property
    def follows_output(self) -> bool:
        """Whether it rises with the output of the explained class: a task's truth then applies."""
        ...

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """`[B, C], [B] -> [B]`: what `select` needs to know per sample, fixed before explaining."""
        ...

    def select(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`[B, C], [B] -> [B]`: the scalar."""
        ...


@dataclass(frozen=True, eq=False)
class Trained:
    """A predictor and how it came to be: one mapping of numbers per epoch, and final scores."""

    predictor: Predictor
    history: tuple[Mapping[str, float], ...] = ()


OnEpoch = Callable[[Mapping[str, float]], None]


class Recipe(Protocol):
    """One class and one YAML make a model.

    Class attributes: `differentiable`, whether its predictors have gradients; `trains`, False where
    there is nothing to train and so nothing to keep. Optional: `gives`, which of `linear`, `trees`
    and `glass_box` explainers find inside, so that others are known beforehand to be skipped; and
    those of `Tags`, of which `version` is raised whenever the same configuration yields other
    weights.
    """

    differentiable: ClassVar[bool]
    trains: ClassVar[bool]

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        """Fit on `bundle.train`. Raises `Unsupported` where the model cannot take such data."""
        ...

    def save(self, predictor: Predictor, folder: Path) -> None:
        """Write the weights, without pickle."""
        ...

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        """Read what `save` wrote."""
        ...


@dataclass(frozen=True, eq=False)
class TorchPredictor:
    """A torch module called as `module(x, **context)`, in evaluation mode, with frozen weights."""

    module: nn.Module
    n_outputs: int
    differentiable: bool = True

    def __post_init__(self) -> None:
        self.module.eval().requires_grad_(requires_grad=False)

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        out: Tensor = self.module(x, **context)
        return out[:, None] if out.dim() == 1 else out

    def structure(self, column: Column) -> Structure | None:
        structure = read(self.module)
        if structure is not None and column == "probabilities":
            raise Unsupported(
                "what this model adds up are logits, and a probability is explained: "
                "use target=predicted_logit"
            )
        return structure


@dataclass(frozen=True, eq=False)
class Explained:
    """A predictor, a target and a bound on rows: what explainers and metrics call `Model`."""

    predictor: Predictor
    target: Target
    max_rows: int = 512

    @property
    def differentiable(self) -> bool:
        return self.predictor.differentiable

    @property
    def module(self) -> nn.Module | None:
        return self.predictor.module

    @property
    def n_outputs(self) -> int:
        return self.predictor.n_outputs

    def outputs(self, inputs: Inputs) -> Tensor:
        n_samples, spare = len(inputs), -len(inputs) % ROW_BLOCK
        out = self.predictor(
            _padded(inputs.x, spare), {k: _padded(v, spare) for k, v in inputs.context.items()}
        )
        return out[:n_samples]

    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        return self.target.select(self.outputs(inputs), targets)

    def structure(self) -> Structure | None:
        if not isinstance(self.predictor, ReadablePredictor):
            return None
        column: Column | None = getattr(self.target, "column_of", None)
        if column is None:
            raise Unsupported(
                "what is read of a model tells its outputs or probabilities, and another scalar is "
                "explained: use target=predicted_logit or target=predicted_probability"
            )
        return self.predictor.structure(column)


def _padded(rows: Tensor, spare: int) -> Tensor:
    if spare == 0:
        return rows
    return torch.cat([rows, rows[-1:].detach().expand(spare, *rows.shape[1:])])
