"""The variants of a small model, as a cell has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.model_bundles import ignore
from xai_bench.data.bundle import Bundle
from xai_bench.models.base import Recipe
from xai_bench.models.fitting.cache import trained
from xai_bench.models.targets import PredictedLogit
from xai_bench.models.variants import TrainedVariants
from xai_bench.models.views import InputView


def variants_of(folder: Path, bundle: Bundle, recipe: Recipe, **changes: Any) -> TrainedVariants:
    """The model of seed 0 under the input view, trained into `folder`, and its variants."""
    config = {"name": type(recipe).__name__}
    explained = trained(recipe, config, bundle, seed=0, folder=folder, on_epoch=ignore)
    variants = TrainedVariants(
        recipe=recipe,
        config=config,
        bundle=bundle,
        seed=0,
        folder=folder,
        view=InputView(),
        target=PredictedLogit(),
        predictor=explained.predictor,
        n_background=8,
        max_rows=32,
    )
    return replace(variants, **changes)
