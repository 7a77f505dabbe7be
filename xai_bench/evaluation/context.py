"""What an evaluation is given: configured explainers and metrics, and what they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xai_bench.core.seeds import Seeds
from xai_bench.types import Explainer, Inputs, Metric, Model, ModelVariants, Rng


@dataclass(frozen=True, eq=False)
class ConfiguredExplainer:
    """An explainer under its name.

    Attributes:
        key: the content address of its configuration and version.
        config: its resolved configuration.
        regime, tuning: as in `ExplainerResult`.
    """

    name: str
    explainer: Explainer
    key: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    regime: str = ""
    tuning: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class ConfiguredMetric:
    """A metric under its name; `key` is the content address of its configuration and version."""

    name: str
    metric: Metric
    key: str = ""


@dataclass(frozen=True, eq=False)
class EvaluationContext:
    """What all explainers of a cell share.

    Attributes:
        inputs: the whole evaluation split, `[N, *S]`, with `index` equal to `arange(N)`.
        targets: `[N]`, what `model.target_output` needs to know of each sample.
        groups: sensitive column -> `[N]` long codes.
        labels: `[N]` true labels; rationale: `[N, *S]` bool, where people see the evidence.
        variants: other models, for metrics that retrain or randomise.
        batch_size: rows explained at a time; changes speed and memory only.
        strict: let the first failure through with its traceback.
        shared: batch number -> what its shared probes measured.
    """

    model: Model
    inputs: Inputs
    targets: Tensor
    seeds: Seeds
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Tensor | None = None
    rationale: Tensor | None = None
    variants: ModelVariants | None = None
    batch_size: int = 64
    strict: bool = False
    shared: dict[int, dict[Any, Any]] = field(default_factory=dict)

    def batches(self) -> tuple[Tensor, ...]:
        """The rows of each batch."""
        return tuple(torch.arange(len(self.inputs)).split(self.batch_size))

    def stream(self, *names: str | int, inputs: Inputs) -> Rng:
        """The random numbers of a purpose, one row for each sample of `inputs`."""
        return self.seeds.stream(*names, samples=inputs.index)
