"""Who explains, and what an explanation is and costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

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
class Explanation:
    """What an explainer returns for a batch.

    Attributes:
        attribution: `[B, *S]`, signed, detached and finite.
        standard_error: `[B, *S]`, of an attribution that is an estimate from random draws; pooled
            over a unit like the attribution, it is the standard error of the unit's attribution.
        counterfactuals: `[B, M, *S]`, up to `M` inputs with another prediction; NaN where fewer
            were found.
        layers: layer name -> `[B, ...]`, one explanation per layer.
        interactions: `[B, U, U]`, what pairs of units do together; NaN beyond a sample's own units.
        degrees_of_freedom: `[B]`, of the standard error, whose Student quantile makes an interval;
            None where there are enough draws for the normal one.
    """

    attribution: Tensor
    standard_error: Tensor | None = None
    counterfactuals: Tensor | None = None
    layers: Mapping[str, Tensor] = field(default_factory=dict)
    interactions: Tensor | None = None
    degrees_of_freedom: Tensor | None = None

    def take(self, rows: Tensor) -> Explanation:
        """The explanation of the samples at `rows` (long `[M]`)."""
        return Explanation.from_tensors({k: v[rows] for k, v in self.tensors().items()})

    @staticmethod
    def cat(parts: Sequence[Explanation]) -> Explanation:
        """The explanations of all batches as one; what one of them lacks is left out.

        Samples of one batch may have fewer units than those of another: what is missing is NaN.
        """
        named = [part.tensors() for part in parts]
        shared = [name for name in named[0] if all(name in tensors for tensors in named)]
        return Explanation.from_tensors(
            {k: _cat([tensors[k] for tensors in named]) for k in shared}
        )

    def tensors(self) -> dict[str, Tensor]:
        """Name -> `[B, ...]` of all that is there; each layer under `layers/<name>`."""
        single = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "layers"}
        layers = {f"{_LAYERS}{name}": values for name, values in self.layers.items()}
        return {name: v for name, v in {**single, **layers}.items() if v is not None}

    @staticmethod
    def from_tensors(named: Mapping[str, Tensor]) -> Explanation:
        """The explanation whose `tensors` these are. Raises TypeError for other names."""
        layers = {k.removeprefix(_LAYERS): v for k, v in named.items() if k.startswith(_LAYERS)}
        single = {k: v for k, v in named.items() if not k.startswith(_LAYERS)}
        return Explanation(**single, layers=layers)


_LAYERS = "layers/"


def _cat(parts: Sequence[Tensor]) -> Tensor:
    """Along the samples, all other axes filled up with NaN to the longest."""
    shape = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    return torch.cat([_filled(part, shape) for part in parts])


def _filled(part: Tensor, shape: Sequence[int]) -> Tensor:
    spare = [n - have for n, have in zip(shape, part.shape[1:], strict=True)]
    if not any(spare):
        return part
    padding = [amount for n in reversed(spare) for amount in (0, n)]
    return functional.pad(part, padding, value=torch.nan)


class Explainer(Protocol):
    """One class and one YAML make an explainer; the YAML key is its name.

    Class attributes: `kind`; `category`, its family. What they say beyond that is optional, with
    the defaults of `Tags`: `needs`, `paper`, `version` and `search` among them. Optional methods:
    `fit(model, background, *, rng) -> Explainer`, called once before the first explanation and
    timed apart (`Fitted`); `anytime`, for those that have a budget (`Anytime`);
    `rows(n_units, n_references=1) -> Rows | None`, the closed-form cost per sample.
    """

    kind: ClassVar[Kind]
    category: ClassVar[str]

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Signed, detached and finite attributions of `target_output`, and what else is known."""
        ...


@runtime_checkable
class Fitted(Protocol):
    """An explainer with work to do once per model: a surrogate, a global importance."""

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> Explainer:
        """The explainer made ready; `rng` has one row. `self` stays as it was."""
        ...


@runtime_checkable
class Anytime(Protocol):
    """An explainer whose result at a small budget is a first part of the work for a larger one."""

    @property
    def budget(self) -> int:
        """Model rows per sample."""
        ...

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Explanation]:
        """One explanation per budget (ascending), in one run: each as if its budget were the only.

        When an explanation is given, no more rows were spent than its budget.
        """
        ...
