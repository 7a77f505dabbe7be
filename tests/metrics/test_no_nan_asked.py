"""No metric and no explainer asks a model at NaN: many estimators refuse it with an error."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from tests.support.components import able, all_of, component, ready
from xai_bench.models.base import TorchPredictor
from xai_bench.types import Unsupported


class Strict(nn.Module):
    """A network that refuses NaN, as a support vector machine does."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        if x.isnan().any():
            raise ValueError("Input X contains NaN")
        out: Tensor = self.network(x)
        return out


def strict_world() -> toy_worlds.World:
    world = toy_worlds.tabular()
    module = world.model.module
    assert module is not None
    predictor = TorchPredictor(Strict(module), world.model.n_outputs)
    return replace(world, model=replace(world.model, predictor=predictor))


@pytest.mark.sample(4)
@pytest.mark.sample(4, others="slow")
@all_of("explainer", able("tabular"))
def test_no_explainer_asks_a_model_at_nan(name: str) -> None:
    world = strict_world()
    try:
        explained = ready(name, world).explain(
            world.model, world.inputs, world.targets, rng=world.rng
        )
    except Unsupported as reason:
        pytest.skip(str(reason))
    assert explained.attribution.isfinite().all()


MAPS = {
    "all the same": lambda x: torch.ones_like(x),
    "nothing": lambda x: torch.zeros_like(x),
    "one unit": lambda x: torch.zeros_like(x).index_fill(1, torch.tensor([0]), 1.0),
    "all negative": lambda x: -torch.ones_like(x),
}


@pytest.mark.sample(6, others="slow")
@all_of("metric")
def test_degenerate_maps_never_reach_a_model_as_nan(name: str) -> None:
    world, metric = strict_world(), component("metric", name)
    explainer = component("explainer", "gradient")
    for make in MAPS.values():
        try:
            scores = metric.score(world.case(make(world.inputs.x), explainer=explainer))
        except Unsupported:
            continue
        assert scores.shape == (len(world.inputs),)
