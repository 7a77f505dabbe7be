"""The probes of random sets, neighbours and exact Shapley values: values by hand, and rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import permutations

import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.core import coalitions, cooperative_games, units
from xai_bench.core.baselines import Constant, Marginal
from xai_bench.core.cost import Metered
from xai_bench.metrics.probes.neighbours import Neighbours
from xai_bench.metrics.probes.removal import random_subsets
from xai_bench.metrics.probes.removal.exact import ExactShapley
from xai_bench.metrics.probes.removal.random_subsets import CoalitionValues
from xai_bench.types import Explanation, Inputs, Model, Rng, Unsupported


def some(world: toy_worlds.World) -> Tensor:
    return torch.zeros_like(world.inputs.x)


@dataclass(frozen=True)
class Cubes:
    """`x^3` in every element: an explanation whose bits do not depend on its batch."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(torch.where(inputs.units < 0, 0, inputs.x * inputs.x * inputs.x))


# Games


def by_orders(table: Tensor) -> Tensor:
    """Shapley values of one game as the mean gain over all orders of arrival, one by one."""
    n_units = (len(table) - 1).bit_length()
    orders = list(permutations(range(n_units)))
    total = torch.zeros(n_units, dtype=torch.float64)
    for order in orders:
        kept = 0
        for unit in order:
            total[unit] += table[kept | 1 << unit] - table[kept]
            kept |= 1 << unit
    return total / len(orders)


Value = Callable[[bool, bool, bool], float]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(lambda a, b, c: a and b and c, [1 / 3, 1 / 3, 1 / 3], id="all needed"),
        pytest.param(lambda a, b, c: a ^ b, [0, 0, 0], id="exclusive or; c is a dummy"),
        pytest.param(lambda a, b, c: 4 * a - 2 * b, [4, -2, 0], id="additive"),
        pytest.param(lambda a, b, c: c and (a or b), [1 / 6, 1 / 6, 2 / 3], id="glove game"),
        pytest.param(lambda a, b, c: 2 * a + 3 * (b and c), [2, 1.5, 1.5], id="one interaction"),
        pytest.param(lambda a, b, c: 7, [0, 0, 0], id="constant"),
    ],
)
def test_shapley_values_of_known_games(value: Value, expected: list[float]) -> None:
    table = torch.tensor(
        [[float(value(*row)) for row in cooperative_games.all_coalitions(3).tolist()]]
    )
    assert cooperative_games.shapley_values(table)[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("n_units", [1, 2, 3, 5])
def test_shapley_values_are_the_mean_over_all_orders(n_units: int) -> None:
    table = toy_worlds.normal(3, 2**n_units)
    expected = torch.stack([by_orders(row) for row in table])
    torch.testing.assert_close(cooperative_games.shapley_values(table), expected)
    total = table[:, -1] - table[:, 0]
    torch.testing.assert_close(cooperative_games.shapley_values(table).sum(1), total)


def test_the_first_coalitions_are_those_of_the_first_units() -> None:
    small, large = cooperative_games.all_coalitions(3), cooperative_games.all_coalitions(5)
    assert torch.equal(large[:8, :3], small)
    assert not large[:8, 3:].any()
    assert not large[0].any()
    assert large[-1].all()
    assert len(large.unique(dim=0)) == 32


# Exact Shapley values


def test_exact_shapley_of_a_linear_model() -> None:
    """`w (x - mean reference)`, for the references are averaged."""
    world = toy_worlds.linear([4.0, -3.0, 2.0, 0.0], x=toy_worlds.normal(5, 4))
    shapley = ExactShapley(Marginal(7)).measure(world.case(some(world)))
    weight = torch.tensor([4.0, -3.0, 2.0, 0.0])
    assert shapley.difference_from_reference is not None
    torch.testing.assert_close(shapley.values, weight * shapley.difference_from_reference)
    assert (shapley.values[:, 3] == 0).all(), "a dummy gets exactly 0"


@pytest.mark.parametrize("where", ["tabular", "text", "series", "gates"])
def test_exact_shapley_values_add_up_and_cost_the_closed_form(where: str) -> None:
    world = toy_worlds.WORLDS[where]()
    metered = Metered(world.model)
    probe = ExactShapley(Constant(0.3))
    shapley = probe.measure(replace(world.case(some(world)), model=metered))
    n_units = units.width(world.inputs.units)
    assert metered.usage.rows.forward == len(world.inputs) * 2**n_units
    ends = torch.stack([torch.zeros(n_units), torch.ones(n_units)]).bool()
    kept = ends.expand(len(world.inputs), -1, -1)
    value = coalitions.values(
        world.model, world.inputs, world.targets, kept, Constant(0.3), rng=world.rng
    )
    torch.testing.assert_close(shapley.values.sum(1), value[:, 1] - value[:, 0])
    assert (shapley.values[~units.present(world.inputs.units)] == 0).all()


def test_exact_shapley_values_of_too_many_units_are_unsupported() -> None:
    world = toy_worlds.image()
    with pytest.raises(Unsupported, match=r"16 units take 65536 coalitions.*max_units=12"):
        ExactShapley(Constant()).measure(world.case(some(world)))


# Random sets


@pytest.mark.parametrize("where", list(toy_worlds.WORLDS))
def test_random_sets_have_their_size_and_stay_inside_the_sample(where: str) -> None:
    world = toy_worlds.WORLDS[where]()
    drops = CoalitionValues(Constant(), n_draws=20).measure(world.case(some(world)))
    size = (units.count(world.inputs.units) * 0.2).round().clamp(min=1)
    assert torch.equal(drops.removed.sum(2).double(), size[:, None].expand(-1, 20).double())
    assert not drops.removed[~units.present(world.inputs.units)[:, None].expand(-1, 20, -1)].any()


@pytest.mark.parametrize("n_units", [1, 2])
def test_random_sets_of_small_inputs_are_one_unit(n_units: int) -> None:
    world = toy_worlds.linear([1.0] * n_units)
    drops = CoalitionValues(Constant(), n_draws=20).measure(world.case(some(world)))
    assert (drops.removed.sum(2) == 1).all()


def test_every_set_is_equally_likely() -> None:
    """Two of five units: ten pairs, each a tenth of 20000 draws."""
    world = toy_worlds.linear([1.0] * 5, n=20)
    drops = CoalitionValues(Constant(), 1000, 0.4).measure(world.case(some(world)))
    code = (drops.removed * 2 ** torch.arange(5)).sum(2)
    share = code.flatten().bincount() / code.numel()
    assert (share > 0).sum() == 10
    assert share[share > 0].sub(0.1).abs().max() < 4 * (0.1 * 0.9 / code.numel()) ** 0.5


def test_samples_draw_their_own_sets_and_fewer_draws_are_the_first_of_more() -> None:
    world = toy_worlds.linear([1.0] * 12, n=2)
    few = CoalitionValues(Constant(), 5).measure(world.case(some(world))).removed
    more = CoalitionValues(Constant(), 9).measure(world.case(some(world))).removed
    assert torch.equal(more[:, :5], few)
    assert not torch.equal(few[0], few[1])


def test_random_sets_made_a_sample_at_a_time_have_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = toy_worlds.text()
    values = torch.rand(len(world.inputs), units.width(world.inputs.units)).double()
    at_once = CoalitionValues(Constant(), 20).measure(world.case(some(world)))
    sums = at_once.total_removed(values)
    monkeypatch.setattr(random_subsets, "_MOST_CELLS", 1)
    one_by_one = CoalitionValues(Constant(), 20).measure(world.case(some(world)))
    assert torch.equal(one_by_one.removed, at_once.removed)
    assert torch.equal(one_by_one.drop, at_once.drop)
    assert torch.equal(one_by_one.total_removed(values), sums)


def test_the_drop_of_a_linear_model_is_what_was_removed() -> None:
    weight = [4.0, 3.0, 2.0, 1.0, -5.0, 0.5]
    world = toy_worlds.linear(weight)
    drops = CoalitionValues(Constant(), 30, 0.4).measure(world.case(some(world)))
    torch.testing.assert_close(drops.drop, drops.removed.double() @ torch.tensor(weight).double())


def test_rows_of_random_sets_are_those_of_the_closed_form() -> None:
    world = toy_worlds.tabular()
    metered = Metered(world.model)
    case = replace(world.case(some(world)), model=metered)
    CoalitionValues(Marginal(3), n_draws=10).measure(case)
    assert metered.usage.rows.forward == len(world.inputs) * (1 + 10 * 3)


# Neighbours


@pytest.mark.parametrize("where", list(toy_worlds.WORLDS))
def test_neighbours_stay_within_the_radius_and_leave_padding_alone(where: str) -> None:
    world = toy_worlds.WORLDS[where]()
    case = world.case(some(world), explainer=Cubes())
    near = Neighbours(radius=0.2, n_draws=6).measure(case)
    step = (near.points - world.inputs.x[:, None]) / world.inputs.domain.scale
    real = (world.inputs.units >= 0)[:, None].expand_as(step)
    assert (step[~real] == 0).all()
    assert step[real].abs().max() <= 0.2 + 1e-9
    assert step[real].min() < -0.1 < 0.1 < step[real].max(), "both ways"
    expected = torch.where(real, near.points**3, 0)
    torch.testing.assert_close(near.attributions, expected)


def test_neighbours_are_scaled_by_the_data() -> None:
    world = toy_worlds.linear([1.0, 1.0], n=200)
    domain = replace(world.inputs.domain, scale=torch.tensor([1.0, 100.0]))
    world = toy_worlds.World(world.model, replace(world.inputs, domain=domain), world.targets)
    near = Neighbours(0.1, 4).measure(world.case(some(world), explainer=Cubes()))
    step = (near.points - 1).abs().amax((0, 1))
    assert step[0] == pytest.approx(0.1, rel=0.02)
    assert step[1] == pytest.approx(10, rel=0.02)
