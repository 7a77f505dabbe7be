"""The scalar that is explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.data.bundle import Task
from xai_bench.types import Column, Unsupported


@dataclass(frozen=True)
class PredictedLogit:
    """The logit of the class the model predicts; of a regressor, its output."""

    follows_output: ClassVar[bool] = True
    column_of: ClassVar[Column] = "outputs"

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        return outputs.argmax(1)

    def select(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return _column(outputs, targets)


@dataclass(frozen=True)
class PredictedProbability:
    """The softmax probability of the class the model predicts."""

    follows_output: ClassVar[bool] = True
    column_of: ClassVar[Column] = "probabilities"

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        _require("classification", task, "predicted_probability")
        return outputs.argmax(1)

    def select(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return _column(outputs.softmax(1), targets)


@dataclass(frozen=True)
class TrueLabel:
    """The logit of the true class, whatever the model predicts."""

    follows_output: ClassVar[bool] = True
    column_of: ClassVar[Column] = "outputs"

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        _require("classification", task, "true_label")
        return labels

    def select(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return _column(outputs, targets)


@dataclass(frozen=True)
class RegressionOutput:
    """The value a regressor predicts."""

    follows_output: ClassVar[bool] = True
    column_of: ClassVar[Column] = "outputs"

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        _require("regression", task, "regression_output")
        return torch.zeros(len(outputs), dtype=torch.long)

    def select(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return _column(outputs, targets)


@dataclass(frozen=True)
class Loss:
    """The loss of one sample: cross-entropy of the true class, or the squared error."""

    follows_output: ClassVar[bool] = False

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        return labels.to(outputs.dtype) if task == "regression" else labels

    def select(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            return (outputs[:, 0] - targets) ** 2
        return functional.cross_entropy(outputs, targets, reduction="none")


def _column(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.gather(1, targets[:, None])[:, 0]


def _require(expected: Task, task: Task, name: str) -> None:
    if task != expected:
        raise Unsupported(f"target {name} needs {expected} data; this is {task}")
