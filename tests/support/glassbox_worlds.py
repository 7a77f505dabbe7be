"""Worlds whose models can be read: linear, additive, a tree, forests; float64 throughout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tests.support import toy_worlds
from tests.support.model_bundles import bundle, ignore
from xai_bench.data.bundle import Bundle
from xai_bench.models.additive import Additive
from xai_bench.models.base import Explained, Recipe
from xai_bench.models.sklearn import Linear, RandomForest
from xai_bench.models.targets import PredictedLogit, PredictedProbability
from xai_bench.models.trees import GradientBoosting, Tree

LOGIT, PROBABILITY = PredictedLogit(), PredictedProbability()
FOREST = RandomForest(n_estimators=5, max_depth=5)
BOOSTING = GradientBoosting(n_rounds=6, max_leaves=8, min_samples_leaf=5)


def columns(n: int = 300, seed: int = 0) -> Tensor:
    """Six columns that depend on each other; 3 and 4 are steps."""
    x = toy_worlds.normal(n, 6, seed=seed)
    x[:, 1] += 0.8 * x[:, 0]
    x[:, 3:5] = (x[:, 3:5] * 2).round() / 2
    return x


def classes(n_classes: int) -> Bundle:
    x = columns()
    score = x[:, 0] * x[:, 1] + x[:, 2].sin() + 0.5 * x[:, 3]
    inner = torch.arange(1, n_classes).double() / n_classes
    return bundle(x, torch.bucketize(score, score.quantile(inner)), n_classes=n_classes)


def values() -> Bundle:
    x = columns()
    return bundle(x, 5 + x[:, 0] * x[:, 1] + 2 * x[:, 2].sin() + x[:, 5])


def world_of(
    recipe: Recipe, data: Bundle, target: Any = LOGIT, *, grouped: bool = False, n: int = 9
) -> toy_worlds.World:
    """Trained, with 20 background rows; `grouped`: columns 3, 4 and 0 are one unit."""
    predictor = recipe.train(data, seed=0, on_epoch=ignore).predictor
    inputs = data.evaluation(n, 20)
    if grouped:
        units = torch.tensor([0, 1, 2, 0, 0, 3])
        inputs = replace(inputs, units=units.expand(len(inputs), 6))
    model = Explained(predictor, target, max_rows=1 << 14)
    with torch.no_grad():
        targets = target.choose(model.outputs(inputs), torch.zeros(n).long(), data.task)
    return toy_worlds.World(model, inputs, targets)


TREES = {
    "tree_logit": lambda **k: world_of(Tree(), classes(3), LOGIT, **k),
    "tree_probability": lambda **k: world_of(Tree(max_depth=6), classes(2), PROBABILITY, **k),
    "tree_value": lambda **k: world_of(Tree(), values(), LOGIT, **k),
    "forest_probability": lambda **k: world_of(FOREST, classes(3), PROBABILITY, **k),
    "forest_value": lambda **k: world_of(FOREST, values(), LOGIT, **k),
    "boosting_binary": lambda **k: world_of(BOOSTING, classes(2), LOGIT, **k),
    "boosting_three": lambda **k: world_of(BOOSTING, classes(3), LOGIT, **k),
    "boosting_value": lambda **k: world_of(BOOSTING, values(), LOGIT, **k),
}
"""Models of trees, and the scalar that they add up to."""

GLASS = {
    "linear_logit": lambda **k: world_of(Linear(), classes(3), LOGIT, **k),
    "linear_binary": lambda **k: world_of(Linear(), classes(2), LOGIT, **k),
    "linear_value": lambda **k: world_of(Linear(), values(), LOGIT, **k),
    "additive_logit": lambda **k: world_of(Additive(), classes(3), LOGIT, **k),
    "additive_value": lambda **k: world_of(Additive(), values(), LOGIT, **k),
    **{name: TREES[name] for name in ("tree_logit", "tree_probability", "tree_value")},
}
"""Models that are their own explanation."""
