"""Who explains, and what an explanation is and costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

from torch import Tensor

from xai_bench.types.inputs import Inputs, Rng
from xai_bench.types.models import Model

Kind = Literal["sensitivity", "contribution", "relevance", "ranking"]
"""What a number in an attribution means.

`sensitivity`: output change per unit of input (a gradient). `contribution`: a share of an output
change, so that attributions add up. `relevance`: an unsigned score. `ranking`: order only.
"""


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
        pairs: `[B, U, U]`, what pairs of units do together; NaN beyond a sample's own units.
        freedom: `[B]` degrees of freedom of the standard error, of which Student's quantile makes
            an interval; None where there are enough draws for the normal one.
    """

    attribution: Tensor
    standard_error: Tensor | None = None
    counterfactuals: Tensor | None = None
    layers: Mapping[str, Tensor] = field(default_factory=dict)
    pairs: Tensor | None = None
    freedom: Tensor | None = None


class Explainer(Protocol):
    """One class and one YAML make an explainer; the YAML key is its name.

    Class attributes: `kind`; `category`, its family; `needs`, out of `gradient` (a differentiable
    model), `module` (a torch module to hook), `truth`, and of what can be read of the model
    (`Readable`): `linear`, `trees`, or `glass_box`, which is either, terms of single elements or
    one tree; `paper`. Optional methods:
    `fit(model, background, *, rng) -> Explainer`, called once before the first explanation and
    timed apart (`Fitted`); `answer`, for those that have more to say (`Detailed`); `anytime`, for
    those that have a budget (`Anytime`); `rows(n_units, n_references=1) -> Rows | None`, the
    closed-form cost per sample. Optional class attribute: `search: Mapping[str, Range | Choice]`,
    the settings that may be tuned, never the budget.
    """

    kind: ClassVar[Kind]
    category: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    paper: ClassVar[str]
    version: ClassVar[int]

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        """`[B, *S]`: signed, detached and finite attributions of `target_output`."""
        ...


@runtime_checkable
class Fitted(Protocol):
    """An explainer with work to do once per model: a surrogate, a global importance."""

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> Explainer:
        """The explainer made ready; `rng` has one row. `self` stays as it was."""
        ...


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
