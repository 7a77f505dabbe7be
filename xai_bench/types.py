"""The vocabulary of `xai_bench`. This module imports nothing else of the package.

Letters used for shapes everywhere: `B` samples in a batch, `*S` the shape of one input, `U` units,
`K` coalitions or perturbations, `R` references of a baseline, `C` model outputs, `N` rows of data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

Kind = Literal["sensitivity", "contribution", "relevance", "ranking"]
"""What a number in an attribution means.

`sensitivity`: output change per unit of input (a gradient). `contribution`: a share of an output
change, so that attributions add up. `relevance`: an unsigned score. `ranking`: order only.
"""

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Unsupported(Exception):
    """A component cannot do what was asked, for a stated reason: it is skipped, not failed."""


class Rng(Protocol):
    """Keyed random numbers: row `b` of a draw depends on sample `b` and the stream's name alone.

    Stateless: the same call returns the same numbers. Ask `child` for an independent stream. Every
    element depends on its own multi-index only, so a draw of `n` is a prefix of a draw of `2n`.
    """

    def child(self, *names: str | int) -> Rng: ...

    def take(self, rows: Tensor) -> Rng:
        """The streams of the samples at `rows` (long `[M]`)."""
        ...

    def uniform(self, *shape: int) -> Tensor:
        """`[B, *shape]` float64 in the open interval (0, 1)."""
        ...

    def normal(self, *shape: int) -> Tensor:
        """`[B, *shape]` float64, standard normal."""
        ...

    def integers(self, high: int, *shape: int) -> Tensor:
        """`[B, *shape]` long in `[0, high)`."""
        ...


class Law(Protocol):
    """A normal distribution that `x` is known to follow."""

    @property
    def mean(self) -> Tensor: ...

    @property
    def covariance(self) -> Tensor: ...


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """What is known of the space that `x` lives in, the same for every batch.

    Attributes:
        background: `[N, *S]` training rows: what means, marginal draws and surrogates are made of.
        scale: `[*S]` standard deviation of each element, 1 where it does not vary.
        labels: `[N]` true labels of the background rows, where known.
        truth: written-down attributions, `(inputs, targets) -> [B, *S]`, where known.
        context: name -> `[N, ...]`, what the model needs beside each background row.
        law: the distribution of x, where it is known: `mean [F]`, `covariance [F, F]`.
        sensitive: `[*S]` bool, the elements that stand for sensitive columns, where there are any.
    """

    background: Tensor
    scale: Tensor
    labels: Tensor | None = None
    truth: Callable[[Inputs, Tensor], Tensor] | None = None
    context: Mapping[str, Tensor] = field(default_factory=dict)
    law: Law | None = None
    sensitive: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """One batch of what is explained.

    Attributes:
        x: `[B, *S]` float, the tensor that attributions live on.
        units: `[B, *S]` long, the unit of each element, dense per sample from 0; -1 is padding. A
            broadcast view (stride 0 over `B`) where all samples agree.
        index: `[B]` long, row in the evaluation split: the join key of every score.
        context: name -> `[B, ...]`, passed to the model as it is and never perturbed.
        domain: what is known of the whole space.
    """

    x: Tensor
    units: Tensor
    index: Tensor
    domain: Domain
    context: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def with_x(self, x: Tensor) -> Inputs:
        """The same samples at other points, `[B, *S]`."""
        return replace(self, x=x)

    def take(self, rows: Tensor) -> Inputs:
        """The samples at `rows` (long `[M]`), in that order."""
        shared = self.units.stride(0) == 0 and len(self) > 0
        units = self.units[:1].expand(len(rows), *self.units.shape[1:])
        return Inputs(
            x=self.x[rows],
            units=units if shared else self.units[rows],
            index=self.index[rows],
            domain=self.domain,
            context={name: value[rows] for name, value in self.context.items()},
        )

    def stacked(self, points: Tensor) -> Inputs:
        """`points [B, K, *S]` as one batch of `B * K` rows, sample by sample."""
        n_samples, n_points = points.shape[:2]
        rows = torch.arange(n_samples).repeat_interleave(n_points)
        return replace(self.take(rows), x=points.flatten(0, 1))


@runtime_checkable
class Model(Protocol):
    """A model seen as one scalar per sample. `max_rows` bounds what any engine builds at once."""

    @property
    def differentiable(self) -> bool: ...

    @property
    def module(self) -> nn.Module | None:
        """For methods that hook layers; every call still goes through `outputs`."""
        ...

    @property
    def n_outputs(self) -> int: ...

    @property
    def max_rows(self) -> int: ...

    def outputs(self, inputs: Inputs) -> Tensor:
        """`[B, C]`: logits of a classifier, values of a regressor."""
        ...

    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """`[B]`: the scalar that is explained."""
        ...


class Baseline(Protocol):
    """What an absent unit is replaced by. A frozen dataclass, so that it can be part of a key."""

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        """`[B, R, *S]`: `R` stand-ins per sample; results are means over them."""
        ...


@runtime_checkable
class Imputer(Protocol):
    """A baseline whose stand-ins depend on what is kept: conditional draws, inpainting."""

    @property
    def n_references(self) -> int: ...

    def impute(self, inputs: Inputs, kept: Tensor, *, rng: Rng) -> Tensor:
        """`kept [B, K, U] -> [B, K, R, *S]`: x with the absent units replaced."""
        ...


class Explainer(Protocol):
    """One class and one YAML make an explainer; the YAML key is its name.

    Class attributes: `kind`; `category`, its family; `needs`, out of `gradient` (a differentiable
    model), `module` (a torch module to hook) and `truth`; `paper`. Optional methods:
    `fit(model, background, *, rng) -> Explainer`, called once before the first explanation and
    timed apart (`Fitted`); `answer`, for those that have more to say (`Detailed`); `anytime`, for
    those that have a budget (`Anytime`); `rows(n_units, n_references=1) -> Rows | None`, the
    closed-form cost per sample.
    """

    kind: ClassVar[Kind]
    category: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    paper: ClassVar[str]
    version: ClassVar[int]

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        """`[B, *S]`: signed, detached and finite attributions of `target_output`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """All that an explainer has to say of a batch, where that is more than an attribution.

    Attributes:
        attribution: `[B, *S]`, signed, detached and finite.
        standard_error: `[B, *S]`, of an attribution that is an estimate from random draws; pooled
            over a unit like the attribution, it is the standard error of the unit's credit.
        counterfactuals: `[B, M, *S]`, up to `M` inputs with another prediction; NaN where fewer
            were found.
        layers: layer name -> `[B, ...]`, one explanation per layer.
    """

    attribution: Tensor
    standard_error: Tensor | None = None
    counterfactuals: Tensor | None = None
    layers: Mapping[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Detailed(Protocol):
    """An explainer with more to say than an attribution; its `explain` is `answer().attribution`.

    Who asks for an answer need not ask `explain`: both take the same rows.
    """

    def answer(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Answer: ...


@runtime_checkable
class Anytime(Protocol):
    """An explainer whose answer at a small budget is a first part of the work for a larger one."""

    @property
    def budget(self) -> int:
        """Model rows per sample."""
        ...

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Answer]:
        """One answer per budget (ascending), in one run: each as if its budget were the only one.

        When an answer is given, no more rows were spent than its budget.
        """
        ...


@runtime_checkable
class Fitted(Protocol):
    """An explainer with work to do once per model: a surrogate, a global importance."""

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> Explainer:
        """The explainer made ready; `rng` has one row. `self` stays as it was."""
        ...


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows per sample sent forward through the model, and back through it."""

    forward: int
    gradient: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Cost:
    """What one explanation of a batch took.

    Attributes:
        forward_rows, gradient_rows: `[B]` rows per sample, counted.
        seconds: `[B]` wall time, the batch's time shared evenly.
        peak_bytes: `[B]` highest resident memory above the start of the call; NaN where unknown.
        fit_seconds, fit_rows: what the explainer's one-off `fit` took, for the whole cell.
    """

    forward_rows: Tensor
    gradient_rows: Tensor
    seconds: Tensor
    peak_bytes: Tensor
    fit_seconds: float = 0.0
    fit_rows: int = 0


class Probe(Protocol[T_co]):
    """A measurement that metrics read. A frozen dataclass, so it is its own cache key.

    `shared` probes look at model and inputs only: one measurement serves every explainer.
    """

    shared: ClassVar[bool]

    def measure(self, case: Case) -> T_co: ...


class Explain(Protocol):
    def __call__(
        self,
        inputs: Inputs,
        *,
        repeat: int = 0,
        model: Model | None = None,
        targets: Tensor | None = None,
    ) -> Tensor: ...


class Lab(Protocol):
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

    def split(self, name: str) -> tuple[Inputs, Tensor, Tensor]:
        """The whole `train`, `valid` or `test` part, its targets and its labels, in this view."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """All that a metric may look at for one batch and one explainer.

    Attributes:
        attribution: `[B, *S]`, of the declared `kind`.
        rng: the metrics' stream. It does not know the explainer, so all face the same draws.
        explain: the same explainer at other inputs, `explain(inputs)`, with the random numbers of
            the explanation under test; `explain(inputs, repeat=1)` draws afresh, `model=other`
            explains another model, `targets=other` another scalar or samples of another split.
        standard_error, counterfactuals: as in `Answer`, or None.
        truth: `[B, *S]` written-down attributions, or None.
        rationale: `[B, *S]` bool, where people or the task's maker say that the evidence lies.
        labels: `[B]` true labels, where known.
        groups: sensitive column -> `[B]` long codes.
        lab: other models, where the data and the recipe are at hand.
        shared, own: memory of this batch, for all explainers and for this one.
        cell: memory of this explainer over all batches.
    """

    model: Model
    inputs: Inputs
    targets: Tensor
    attribution: Tensor
    kind: Kind
    rng: Rng
    explain: Explain
    cost: Cost
    standard_error: Tensor | None = None
    counterfactuals: Tensor | None = None
    truth: Tensor | None = None
    rationale: Tensor | None = None
    labels: Tensor | None = None
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    lab: Lab | None = None
    shared: dict[Any, Any] = field(default_factory=dict)
    own: dict[Any, Any] = field(default_factory=dict)
    cell: dict[Any, Any] = field(default_factory=dict)

    def measure(self, probe: Probe[T]) -> T:
        """The probe's result, measured once: for all explainers where it is shared."""
        memory = self.shared if probe.shared else self.own
        if probe not in memory:
            memory[probe] = probe.measure(self)
        result: T = memory[probe]
        return result


class Metric(Protocol):
    """One class and one YAML make a metric; the YAML key is its name.

    Class attributes: `category` (the section in MLflow and in tables); `higher_is_better`; `needs`,
    out of `truth` and `groups`; `paper`; `version`, raised whenever numbers change; `reproducible`,
    False for what a clock or the operating system says.
    """

    category: ClassVar[str]
    higher_is_better: ClassVar[bool]
    needs: ClassVar[tuple[str, ...]]
    paper: ClassVar[str]
    version: ClassVar[int]
    reproducible: ClassVar[bool]

    def score(self, case: Case) -> Tensor:
        """`[B]` float; NaN says that a sample cannot be scored. Never silently the best value."""
        ...
