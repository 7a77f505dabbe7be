"""What an evaluation yields: per-sample scores, and an outcome for every explainer and metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # what is finished is told by digests alone, without waiting for torch
    from torch import Tensor

    from xai_bench.types import Explanation, Kind

Status = Literal["ok", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`skipped` and `failed` carry one sentence; `trace` is the traceback of a failure."""

    status: Status = "ok"
    reason: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class TextUnits:
    """The explained samples as text, a string for each unit of each of the `N` samples.

    Attributes:
        words: the units' texts, in their order.
        marked: which of them people call the evidence, where somebody looked; else None.
    """

    words: tuple[tuple[str, ...], ...]
    marked: tuple[tuple[bool, ...], ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """What a transformer attends to in one sample of `T` tokens.

    Attributes:
        tokens: their texts.
        weights: `[L, H, T, T]`, by layer and head; row `i` holds what place `i` gathers of each.
        rollout: `[T, T]`, through all layers.
    """

    tokens: tuple[str, ...]
    weights: Tensor
    rollout: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One metric of one explainer. `values [N]` float64, NaN where unscored; empty unless ok.

    `key` is the content address: the metric's configuration and version.
    """

    metric: str
    key: str
    category: str
    higher_is_better: bool
    reproducible: bool
    values: Tensor
    outcome: Outcome = Outcome()


@dataclass(frozen=True, slots=True, eq=False)
class ExplainerResult:
    """One explainer in one cell: its explanation of all samples, and all their scores.

    Attributes:
        explainer: its name, the YAML key.
        key: the content address of the explanation: the explainer's configuration and version.
        config: the explainer's resolved configuration.
        index: `[N]` long, the join key of the per-sample scores.
        explanation: of all `N` samples, or None unless ok.
        scores: by metric name.
        regime: under which it competes in a study, e.g. `paper defaults` or `budget 100 rows`.
        tuning: how its settings were found, where they were tuned.
        measured: probe -> name -> `[N, ...]`, what metrics measured on the way and is kept to be
            drawn, such as removal curves.
    """

    explainer: str
    key: str
    kind: Kind
    category: str
    config: Mapping[str, Any]
    index: Tensor
    explanation: Explanation | None = None
    scores: Mapping[str, Scores] = field(default_factory=dict)
    outcome: Outcome = Outcome()
    regime: str = ""
    tuning: Mapping[str, Any] | None = None
    measured: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The outputs of a cell's model for the explained samples, with targets and labels.

    Attributes:
        outputs: `[N, C]` logits of a classifier, `[N, 1]` values of a regressor.
        targets: `[N]` what is explained, as chosen by the cell's target.
        labels: `[N]` true classes or values.
        class_names: empty for regression.
    """

    outputs: Tensor
    targets: Tensor
    labels: Tensor
    class_names: tuple[str, ...] = ()

    @property
    def probabilities(self) -> Tensor:
        """`[N, C]` float64, of a classifier."""
        return self.outputs.double().softmax(1)


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One (data, model, seed, view, target, baselines): what every explanation in it shares.

    Attributes:
        key: the content address.
        data, model, view, target, baseline_explain, baseline_measure: names, as in `conf/`.
        config: the part of the resolved configuration that the key is a hash of.
        fingerprint: of the data.
        model_scores: of the model on its test part, e.g. `accuracy`.
        history: one mapping of numbers per training epoch.
        environment: versions, threads, processor, git commit.
        groups: sensitive column -> `[N]` long codes of the evaluated samples.
        group_names: sensitive column -> name of each code.
        outcome: skipped or failed where the model itself could not be had.
    """

    key: str
    data: str
    model: str
    seed: int
    view: str
    target: str
    baseline_explain: str
    baseline_measure: str
    config: Mapping[str, Any]
    fingerprint: str = ""
    model_scores: Mapping[str, float] = field(default_factory=dict)
    history: tuple[Mapping[str, float], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    group_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    outcome: Outcome = Outcome()
