"""Other models than the one explained: trained by the same recipe, on other data or from other
seeds, and stored like any trained model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from xai_bench.core.seeds import Seeds
from xai_bench.data.bundle import Bundle, Split
from xai_bench.models.base import Explained, Predictor, Recipe, Target, prepared_for
from xai_bench.models.fitting.cache import trained
from xai_bench.models.fitting.parallel import train_in_parallel
from xai_bench.models.views import InputView, View
from xai_bench.types import Inputs, Model, Unsupported

T = TypeVar("T")
_PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class TrainedVariants:
    """The `ModelVariants` of a cell, made from the data and the recipe of the explained model.

    Attributes:
        config: the recipe's resolved configuration.
        folder: where trained models are stored.
        predictor: the explained model, before the view.
        n_workers: processes that train at the same time; changes speed only.
        cache: variants and parts that were made before.
    """

    recipe: Recipe
    config: Mapping[str, Any]
    bundle: Bundle
    seed: int
    folder: Path
    view: View
    target: Target
    predictor: Predictor
    n_background: int
    max_rows: int
    n_workers: int = 1
    cache: dict[Any, Any] = field(default_factory=dict)

    @property
    def n_classes(self) -> int:
        """The number of classes; 0 for a regression."""
        return len(self.bundle.class_names)

    def retrained(self, member: int) -> Model:
        """The model trained from another seed, one per `member`."""
        seed = Seeds(self.seed).number("lab", "retrained", member)
        return self._once(("retrained", member), lambda: self._trained(self.bundle, seed))

    def mislabelled(self) -> Model:
        """The model trained on shuffled labels.

        The shuffled training part is also its validation part: nothing learnt from random labels
        holds for other rows, so early stopping on those would stop at once.
        """
        return self._once("mislabelled", lambda: self._trained(self._shuffled(), self.seed))

    def degraded(self, train: Tensor, valid: Tensor) -> Model:
        """The model trained on other values `[N, *S]` of the same rows.

        Raises `Unsupported` where `x` is not what the model is trained on.
        """
        return self._trained(self._with(train, valid), self.seed)

    def degraded_all(self, parts: Sequence[tuple[Tensor, Tensor]]) -> list[Model]:
        """One `degraded` model for each pair of training and validation values.

        Raises `Unsupported` where `x` is not what the model is trained on.
        """
        bundles = [self._with(train, valid) for train, valid in parts]
        # Into the cache alone, from which each model is then read in its turn.
        if self.n_workers > 1 and self.recipe.trains:
            train_in_parallel(
                self.recipe, self.config, bundles, self.seed, self.folder, self.n_workers
            )
        return [self._trained(bundle, self.seed) for bundle in bundles]

    def _with(self, train: Tensor, valid: Tensor) -> Bundle:
        if not isinstance(self.view, InputView):
            raise Unsupported("retraining on other inputs needs view=inputs")
        bundle = self.bundle
        return replace(
            bundle, train=replace(bundle.train, x=train), valid=replace(bundle.valid, x=valid)
        )

    def split(self, name: str) -> tuple[Inputs, Tensor, Tensor]:
        """Inputs under the view, targets and labels of `train`, `valid` or `test`.

        Raises ValueError for another name.
        """
        if name not in _PARTS:
            raise ValueError(f"the data has no part {name!r}; it has {', '.join(_PARTS)}")
        return self._once(("split", name), lambda: self._part(getattr(self.bundle, name)))

    def _once(self, key: Any, make: Callable[[], T]) -> T:
        if key not in self.cache:
            self.cache[key] = make()
        value: T = self.cache[key]
        return value

    def _shuffled(self) -> Bundle:
        part = self.bundle.train
        generator = torch.Generator().manual_seed(Seeds(self.seed).number("lab", "labels"))
        part = replace(part, y=part.y[torch.randperm(len(part), generator=generator)])
        return replace(self.bundle, train=part, valid=part)

    def _trained(self, bundle: Bundle, seed: int) -> Model:
        if not self.recipe.trains:
            raise Unsupported("retraining needs a model that is trained here; this one comes ready")
        model = trained(
            self.recipe,
            self.config,
            bundle,
            seed=seed,
            folder=self.folder,
            on_epoch=lambda row: None,
        )
        # One sample is enough to make the predictor of the view; its inputs are not used.
        predictor, _ = self.view.look(model.predictor, bundle.evaluation(1, self.n_background))
        return Explained(predictor, self.target, self.max_rows)

    @torch.no_grad()
    def _part(self, part: Split) -> tuple[Inputs, Tensor, Tensor]:
        rows = torch.arange(len(part))
        domain = self.bundle.domain(self.n_background)
        original = Inputs(part.x, part.units, rows, domain, part.context)
        predictor, inputs = self.view.look(self.predictor, prepared_for(self.target, original))
        model = Explained(predictor, self.target, self.max_rows)
        outputs = torch.cat([model.outputs(inputs.take(r)) for r in rows.split(self.max_rows)])
        targets = self.target.choose(outputs, part.y, self.bundle.task)
        return (
            # What a task states of its output says nothing about a loss.
            inputs if self.target.follows_output else inputs.without_truth(),
            targets,
            part.y,
        )
