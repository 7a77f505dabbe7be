"""Who judges, and all that a judge may look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from xai_bench.types.explainers import Cost, Explanation, Kind
from xai_bench.types.inputs import Inputs, Rng
from xai_bench.types.models import Model

T = TypeVar("T")


T_co = TypeVar("T_co", covariant=True)


class Probe(Protocol[T_co]):
    """A measurement that metrics read. A frozen dataclass, so it is its own cache key.

    `shared` probes look at model and inputs only: one measurement serves every explainer.
    """

    shared: ClassVar[bool]

    def measure(self, case: Case) -> T_co:
        """What is measured of a case. Raises `Unsupported` where that cannot be."""
        ...


@runtime_checkable
class Recorded(Protocol):
    """The result of a probe that is kept in the store beside the scores, to be drawn."""

    def recorded(self) -> Mapping[str, Tensor]:
        """Name -> `[B, ...]`; names without a dot."""
        ...


class Explain(Protocol):
    """The explainer under test, asked again: `[B, *S]`, its map. See `Case.explain`."""

    def __call__(
        self,
        inputs: Inputs,
        *,
        repeat: int = 0,
        model: Model | None = None,
        targets: Tensor | None = None,
    ) -> Tensor: ...


class ModelVariants(Protocol):
    """Other models than the one explained, for metrics that retrain or randomise.

    Models are made once per cell, whatever asks for them and in whatever order.
    """

    @property
    def n_classes(self) -> int:
        """0 for regression."""
        ...

    def retrained(self, member: int) -> Model:
        """The same recipe on the same data with another seed, `member` 1, 2, ..."""
        ...

    def mislabelled(self) -> Model:
        """The same recipe on the same data with its training labels shuffled."""
        ...

    def degraded(self, train: Tensor, valid: Tensor) -> Model:
        """The same recipe and seed on other inputs: `train [N, *S]`, `valid [M, *S]`."""
        ...

    def degraded_all(self, parts: Sequence[tuple[Tensor, Tensor]]) -> list[Model]:
        """`degraded` for several pairs, which may be trained at the same time."""
        ...

    def split(self, name: str) -> tuple[Inputs, Tensor, Tensor]:
        """The whole `train`, `valid` or `test` part, its targets and its labels, in this view."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """All that a metric may look at for one batch and one explainer.

    Attributes:
        explanation: what the explainer returned, its attribution of the declared `kind`.
        rng: the metrics' stream. It does not know the explainer, so all face the same draws.
        explain: the same explainer at other inputs, `explain(inputs)`, with the random numbers of
            the explanation under test; `explain(inputs, repeat=1)` draws afresh, `model=other`
            explains another model, `targets=other` another scalar or samples of another split.
        standard_error, degrees_of_freedom, counterfactuals: as in `Explanation`, or None.
        truth: `[B, *S]` written-down attributions, or None.
        rationale: `[B, *S]` bool, where people or the task's maker say that the evidence lies.
        labels: `[B]` true labels, where known.
        groups: sensitive column -> `[B]` long codes.
        variants: other models, where the data and the recipe are at hand.
        shared, own: memory of this batch, for all explainers and for this one.
        cell: memory of this explainer over all batches.
    """

    model: Model
    inputs: Inputs
    targets: Tensor
    explanation: Explanation
    kind: Kind
    rng: Rng
    explain: Explain
    cost: Cost
    truth: Tensor | None = None
    rationale: Tensor | None = None
    labels: Tensor | None = None
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    variants: ModelVariants | None = None
    shared: dict[Any, Any] = field(default_factory=dict)
    own: dict[Any, Any] = field(default_factory=dict)
    cell: dict[Any, Any] = field(default_factory=dict)

    @property
    def attribution(self) -> Tensor:
        """`[B, *S]`, of the declared `kind`."""
        return self.explanation.attribution

    def with_attribution(self, attribution: Tensor) -> Case:
        """The same case with another attribution `[B, *S]`, and nothing measured of it yet."""
        explanation = replace(self.explanation, attribution=attribution)
        return replace(self, explanation=explanation, own={})

    def measure(self, probe: Probe[T]) -> T:
        """The probe's result, measured once: for all explainers where it is shared."""
        memory = self.shared if probe.shared else self.own
        if probe not in memory:
            memory[probe] = probe.measure(self)
        result: T = memory[probe]
        return result


class Metric(Protocol):
    """One class and one YAML make a metric; the YAML key is its name.

    Class attributes: `category` (the section in MLflow and in tables) and `higher_is_better`. What
    it says beyond that is optional, with the defaults of `Tags`: `needs`, `paper`, `version` and
    `reproducible` among them.
    """

    category: ClassVar[str]
    higher_is_better: ClassVar[bool]

    def score(self, case: Case) -> Tensor:
        """`[B]` float; NaN says that a sample cannot be scored. Never silently the best value."""
        ...
