"""The scalar that is explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.data.bundle import Task
from xai_bench.types import Column, Unsupported


class OutputColumn:
    """A target that is one column of the outputs, given by `targets`."""

    follows_output: ClassVar[bool] = True
    column_of: ClassVar[Column] = "outputs"

    def select(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`[B, C], [B] -> [B]`: the column `targets[b]` of row b."""
        return outputs.gather(1, targets[:, None])[:, 0]


@dataclass(frozen=True)
class PredictedLogit(OutputColumn):
    """The logit of the class the model predicts; of a regressor, its output."""

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """`[B, C] -> [B]`: the predicted class."""
        return outputs.argmax(1)


@dataclass(frozen=True)
class PredictedProbability(OutputColumn):
    """The softmax probability of the class the model predicts."""

    column_of: ClassVar[Column] = "probabilities"

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """`[B, C] -> [B]`: the predicted class. Raises `Unsupported` for a regression."""
        _require("classification", task, "predicted_probability")
        return outputs.argmax(1)

    def select(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`[B, C], [B] -> [B]`: the probability of the class `targets[b]`."""
        # After the softmax, all classes have a say in it: what speaks for another lowers this one.
        return super().select(outputs.softmax(1), targets)


@dataclass(frozen=True)
class FixedOutput(OutputColumn):
    """One output, the same for every sample: a class, or one value of a regressor of several."""

    index: int = 0

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """`[B]`: the index. Raises ValueError where the model has no such output."""
        if not 0 <= self.index < outputs.shape[1]:
            raise ValueError(
                f"target fixed_output has index {self.index}; the model has outputs 0 to "
                f"{outputs.shape[1] - 1}"
            )
        return torch.full((len(outputs),), self.index, dtype=torch.long)


@dataclass(frozen=True)
class TrueLabel(OutputColumn):
    """The logit of the true class, whatever the model predicts."""

    needs_labels: ClassVar[bool] = True

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """The true classes `[B]`. Raises `Unsupported` for a regression."""
        _require("classification", task, "true_label")
        return labels


@dataclass(frozen=True)
class RegressionOutput(OutputColumn):
    """The value a regressor predicts."""

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """`[B]` zeros: the one column. Raises `Unsupported` for a classification."""
        _require("regression", task, "regression_output")
        return torch.zeros(len(outputs), dtype=torch.long)


@dataclass(frozen=True)
class Loss:
    """The loss of one sample: cross-entropy of the true class, or the squared error."""

    # It falls where the output of the true class rises, so that a task's truth has the wrong sign.
    follows_output: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """The labels `[B]`; values in the type of the outputs, which tells them from classes."""
        return labels.to(outputs.dtype) if task == "regression" else labels

    def select(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`[B, C], [B] -> [B]`: the loss against classes or values."""
        if targets.is_floating_point():
            return (outputs[:, 0] - targets) ** 2
        return functional.cross_entropy(outputs, targets, reduction="none")


def _require(expected: Task, task: Task, name: str) -> None:
    if task != expected:
        raise Unsupported(f"target {name} needs {expected} data; this is {task}")
