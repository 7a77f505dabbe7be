"""Other models of a caller's recipe, for metrics that retrain.

Letters: `M` background rows, `*S` the shape of one sample in x.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from xai_bench.adapters.forms import Form
from xai_bench.adapters.samples import Brought
from xai_bench.adapters.targets import Known, OutputOfEach
from xai_bench.core.calls.model_outputs import own_outputs
from xai_bench.core.seeds import Seeds
from xai_bench.core.system.determinism import generators_as_before
from xai_bench.models.base import Explained, Predictor, TorchPredictor
from xai_bench.types import Inputs, Model, Unsupported

T = TypeVar("T")

_FIRST_IDS = {"train": 1_000_000_000, "valid": 2_000_000_000}
"""Where the sample ids of a part begin, so that no draw serves two samples."""


@dataclass(frozen=True, eq=False)
class Fitting:
    """The samples, the labels of the background as the caller has them, and what is explained."""

    inputs: Inputs
    labels: Any
    known: Known
    seed: int


@dataclass(frozen=True, eq=False)
class RecipeVariants:
    """Models that `recipe(x, y)` fits to the background rows and their labels; see `ModelVariants`.

    The background is both the training and the validation part, the samples are the test part.

    Attributes:
        predictor_of: a fitted model as a predictor of rows of x.
        given: the samples, whose domain holds the background and its labels.
        cache: models and parts that were made before.
    """

    recipe: Callable[[Any, Any], Any]
    predictor_of: Callable[[Any], Predictor]
    form: Form
    explained: Explained
    given: Fitting
    cache: dict[Any, Any] = field(default_factory=dict)

    @property
    def n_classes(self) -> int:
        """0 for a regression."""
        return self.explained.n_outputs if self.given.known.task == "classification" else 0

    def retrained(self, member: int) -> Model:
        """Fitted again, the global generators of torch, NumPy and Python seeded anew."""
        rows = self.given.inputs.domain.background
        return self._once(
            ("retrained", member), lambda: self._fitted(rows, self.given.labels, member)
        )

    def mislabelled(self) -> Model:
        """Fitted to shuffled labels."""
        rows = self.given.inputs.domain.background
        generator = torch.Generator().manual_seed(Seeds(self.given.seed).number("lab", "labels"))
        order = torch.randperm(len(rows), generator=generator)
        return self._once(
            "mislabelled", lambda: self._fitted(rows, _taken(self.given.labels, order), 0)
        )

    def degraded(self, train: Tensor, valid: Tensor) -> Model:
        """Fitted to other values `train [M, *S]` of the background rows."""
        return self._fitted(train, self.given.labels, 0)

    def degraded_all(self, parts: Sequence[tuple[Tensor, Tensor]]) -> list[Model]:
        """One `degraded` model for each pair, one after the other."""
        return [self.degraded(train, valid) for train, valid in parts]

    def split(self, name: str) -> tuple[Inputs, Tensor, Tensor]:
        """Inputs, targets and labels of `train` or `valid`, the background, or `test`.

        Raises ValueError for another name, `Unsupported` for samples without labels.
        """
        if name not in (*_FIRST_IDS, "test"):
            raise ValueError(f"the data has no part {name!r}; it has train, valid, test")
        return self._once(("split", name), lambda: self._part(name))

    def _part(self, name: str) -> tuple[Inputs, Tensor, Tensor]:
        inputs, labels = self.given.inputs, self.given.known.labels
        if name != "test":
            inputs, labels = _background(inputs, _FIRST_IDS[name]), inputs.domain.labels
        if labels is None:
            raise Unsupported("the samples have no labels: workbench(..., labels=)")
        return inputs, self._targets(inputs, labels), labels

    @torch.no_grad()
    def _targets(self, inputs: Inputs, labels: Tensor) -> Tensor:
        """As the samples have them; of rows that nobody chose a class for, their own class."""
        target = self.given.known.target
        if isinstance(target, OutputOfEach):
            return labels.long() if self.n_classes else torch.zeros(len(labels)).long()
        return target.choose(own_outputs(self.explained, inputs), labels, self.given.known.task)

    def _fitted(self, x: Tensor, labels: Any, member: int) -> Model:
        # Metrics ask where no gradients are kept, and a recipe trains.
        with (
            generators_as_before(Seeds(self.given.seed).number("recipe", member)),
            torch.enable_grad(),
        ):
            # A copy, because a recipe may scale its rows in place.
            made = self.recipe(self.form.decode(x.clone()), labels)
        predictor = self.predictor_of(made)
        if predictor.module is not None and predictor.module is self.explained.module:
            raise ValueError(
                "recipe= returned the model that is explained: make and fit a new one in each call"
            )
        with torch.no_grad():
            n_outputs = predictor(x[:2].clone(), {}).shape[1]
        if n_outputs != self.explained.n_outputs:
            raise ValueError(
                f"recipe= gave a model of {n_outputs} outputs, and the one that is explained has "
                f"{self.explained.n_outputs}"
            )
        if isinstance(predictor, TorchPredictor):
            predictor = replace(predictor, n_outputs=n_outputs)
        return replace(self.explained, predictor=predictor)

    def _once(self, key: Any, make: Callable[[], T]) -> T:
        if key not in self.cache:
            self.cache[key] = make()
        value: T = self.cache[key]
        return value


def variants_of(
    recipe: Callable[[Any, Any], Any] | None, own: Brought, explained: Explained, *, given: Fitting
) -> RecipeVariants | None:
    """None without a recipe. Raises ValueError for one without labels to fit to."""
    if recipe is None:
        return None
    if given.labels is None:
        raise ValueError(
            "recipe= fits models to the background rows, and these have no labels: give "
            "background_labels= beside background="
        )
    if own.predictor_of is None:
        raise ValueError("recipe= makes models of one kind, and this one is an ONNX file of inputs")
    return RecipeVariants(recipe, own.predictor_of, own.form, explained, given)


def _background(inputs: Inputs, first_id: int) -> Inputs:
    """The background rows as samples; what is written down of the samples is not known of them."""
    rows = inputs.domain.background
    taken = inputs.without_truth().take(torch.zeros(len(rows), dtype=torch.long))
    return replace(taken, x=rows, index=first_id + torch.arange(len(rows)))


def _taken(labels: Any, order: Tensor) -> Any:
    if isinstance(labels, Tensor):
        return labels[order]
    if hasattr(labels, "iloc"):  # a series of pandas keeps its type
        return labels.iloc[order.numpy()]
    return np.asarray(labels)[order.numpy()]
