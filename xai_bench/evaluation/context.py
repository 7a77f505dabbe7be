"""What an evaluation takes: configured explainers and metrics, and the context they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xai_bench.core.seeds import Seeds
from xai_bench.core.tokens import widths
from xai_bench.evaluation.cached_model import CachedModel
from xai_bench.evaluation.guard import Copies
from xai_bench.types import Domain, Explainer, Inputs, Metric, Model, ModelVariants, Rng


@dataclass(frozen=True, eq=False)
class ConfiguredExplainer:
    """An explainer under its name.

    Attributes:
        name: the YAML key.
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
    """The model, samples and settings that all explainers of a cell share.

    Attributes:
        inputs: the whole evaluation split, `[N, *S]`, with `index` equal to `arange(N)`.
        targets: `[N]`, the second argument of `model.target_output`, e.g. class indices.
        groups: sensitive column -> `[N]` long codes.
        labels: `[N]` true labels.
        rationale: `[N, *S]` bool, the elements that people call the evidence.
        variants: other models, for metrics that retrain or randomise.
        batch_size: rows explained at a time; changes speed and memory only.
        threads: those of torch in which everything is computed; None leaves them as they are.
        strict: the first failure is raised with its traceback.
        shared: batch number -> cache of the probes that do not depend on the explainer.
        copies: of what all batches share, to put it back where a component wrote into it.
        domains: by identity, those that are on the device of the network, too.
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
    threads: int | None = None
    strict: bool = False
    shared: dict[int, dict[Any, Any]] = field(default_factory=dict)
    copies: Copies = field(default_factory=Copies)
    domains: dict[int, tuple[Domain, Domain]] = field(default_factory=dict)

    @cached_property
    def cached_model(self) -> Model:
        """The model that metrics are given: it computes every different row of tokens once."""
        return CachedModel.of(self.model, self.copies)

    def batches(self) -> tuple[Tensor, ...]:
        """The row numbers of each batch, long, at most `batch_size` each.

        Texts of one width are together, so that a model is called with one shape at a time.
        """
        rows, length = torch.arange(len(self.inputs)), self.inputs.context.get("length")
        if self.inputs.domain.symbols is None or length is None:
            return tuple(rows.split(self.batch_size))
        wide = widths(length)
        return tuple(
            batch for width in wide.unique() for batch in rows[wide == width].split(self.batch_size)
        )

    def stream(self, *names: str | int, inputs: Inputs) -> Rng:
        """The random stream of a named purpose, one row for each sample of `inputs`."""
        return self.seeds.stream(*names, samples=inputs.index)
