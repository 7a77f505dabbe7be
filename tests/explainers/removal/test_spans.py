"""Trees of neighbouring units: worked out by hand, and against Shapley values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xai_bench.certify import toy_worlds
from xai_bench.core.baselines import Constant
from xai_bench.explainers.removal.shapley import ExactShapley
from xai_bench.explainers.removal.spans import HierarchicalOcclusion, OwenValues, halves, spans
from xai_bench.types import Unsupported

ZERO = Constant(0.0)


class Product(nn.Module):
    """The product of two columns, and another column twice."""

    def __init__(self, one: int, other: int, alone: int) -> None:
        super().__init__()
        self.places = (one, other, alone)

    def forward(self, x: Tensor) -> Tensor:
        one, other, alone = self.places
        return (x[:, one] * x[:, other] + 2 * x[:, alone])[:, None]


def explained(explainer: Any, module: nn.Module, n_units: int = 4) -> list[float]:
    x = torch.ones(1, n_units, dtype=torch.float64)
    world = toy_worlds.world(module, x, torch.arange(n_units), toy_worlds.normal(8, n_units))
    found: list[float] = world.explain(explainer)[0].tolist()
    return found


def test_the_tree_of_five() -> None:
    assert halves((0, 5)) == ((0, 3), (3, 5))
    assert spans(5) == [
        (0, 5), (0, 3), (3, 5), (0, 2), (2, 3), (3, 4), (4, 5), (0, 1), (1, 2),
    ]  # fmt: skip
    assert [len(spans(n)) for n in range(1, 9)] == [2 * n - 1 for n in range(1, 9)]


@pytest.mark.parametrize(
    ("places", "hierarchical", "owen"),
    [
        # Two that are worth something together only, within one half: each gets a half of it.
        pytest.param((0, 1, 3), [0.5, 0.5, 0, 2], [0.5, 0.5, 0, 2], id="in one half"),
        # Across the middle, each half is worth 1/2; without unit 1 its half loses 1, so what the
        # two beside each other do beyond that, -1/2, is shared by both.
        pytest.param((1, 2, 3), [-0.25, 0.75, 0.75, 1.75], [0, 0.5, 0.5, 2], id="across"),
    ],
)
def test_an_interaction(
    places: tuple[int, int, int], hierarchical: list[float], owen: list[float]
) -> None:
    assert explained(HierarchicalOcclusion(ZERO), Product(*places)) == hierarchical
    assert explained(OwenValues(ZERO), Product(*places)) == pytest.approx(owen)


@pytest.mark.sample(3, others="slow")
@pytest.mark.parametrize("explainer", [HierarchicalOcclusion(ZERO), OwenValues(ZERO)])
@pytest.mark.parametrize("n_units", [1, 2, 3, 7, 13])
def test_attributions_add_up_and_the_rows_are_those_stated(explainer: Any, n_units: int) -> None:
    module = toy_worlds.seeded(nn.Sequential(nn.Linear(n_units, 5), nn.Tanh(), nn.Linear(5, 1)))
    x = toy_worlds.normal(3, n_units, seed=4)
    world = toy_worlds.world(module, x, torch.arange(n_units), toy_worlds.normal(8, n_units))
    whole, nothing = (
        world.model.target_output(world.inputs.with_x(p), world.targets) for p in (x, 0 * x)
    )
    torch.testing.assert_close(world.explain(explainer).sum(1), (whole - nothing).detach())
    assert explainer.coalitions(n_units).shape == (explainer.n_coalitions(n_units), n_units)
    if n_units <= 2 and isinstance(explainer, OwenValues):
        exact = world.explain(ExactShapley(ZERO))
        torch.testing.assert_close(world.explain(explainer), exact)


def test_owen_values_are_shapley_values_of_the_halves_and_in_the_halves() -> None:
    """Of four units: each half's total is its Shapley value in the game of the two halves."""
    module = toy_worlds.seeded(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)))
    x = toy_worlds.normal(3, 4, seed=4)
    world = toy_worlds.world(module, x, torch.arange(4), toy_worlds.normal(8, 4))
    pairs = toy_worlds.world(module, x, torch.tensor([0, 0, 1, 1]), toy_worlds.normal(8, 4))
    owen = world.explain(OwenValues(ZERO)).unflatten(1, (2, 2)).sum(2)
    halved = pairs.explain(ExactShapley(ZERO)).unflatten(1, (2, 2)).sum(2)
    torch.testing.assert_close(owen, halved)


def test_too_many_units_are_refused_with_a_way_out() -> None:
    with pytest.raises(Unsupported, match="set max_units=4, or take hierarchical_occlusion"):
        explained(OwenValues(ZERO, max_units=3), Product(0, 1, 2))


def test_coalitions_are_counted_without_being_built() -> None:
    """Of pixels there are so many that building them would not end; `2 (U^2 + 2) / 3` by hand."""
    assert OwenValues(ZERO).n_coalitions(4096) == 2 * (4096**2 + 2) // 3


def test_owen_values_take_as_many_units_as_they_say() -> None:
    found = explained(OwenValues(ZERO, max_units=4), Product(0, 1, 2))
    assert found == pytest.approx([0.5, 0.5, 2, 0])
    with pytest.raises(Unsupported, match="set max_units=4"):
        explained(OwenValues(ZERO, max_units=3), Product(0, 1, 2))
