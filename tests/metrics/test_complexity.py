"""Effective complexity and floating-point operations: numbers by hand."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import pytest
import torch

from tests.support import toy_worlds
from xai_bench.core.baselines import Constant, Marginal
from xai_bench.core.cost import Metered
from xai_bench.metrics.complexity import EffectiveComplexity
from xai_bench.metrics.cost import ModelFlops
from xai_bench.metrics.fidelity.deletion import Deletion
from xai_bench.metrics.probes.flops import RowFlops
from xai_bench.types import Case, Cost, Unsupported

WEIGHT = [4.0, 3.0, 2.0, 1.0]
ZERO = Constant(0.0)


def enough(attribution: list[float], tolerance: float, weight: list[float] = WEIGHT) -> float:
    """`f = w . x` at 1 with baseline 0; four units are removed one after the other."""
    case = toy_worlds.linear(weight, n=1).case(torch.tensor([attribution]).double())
    return EffectiveComplexity(ZERO, tolerance).score(case).item()


@pytest.mark.parametrize(
    ("attribution", "tolerance", "expected"),
    [
        # of 10, the top one, two, three keep 4, 7 and 9
        pytest.param(WEIGHT, 0.05, 1, id="all"),
        pytest.param(WEIGHT, 0.1, 3 / 4, id="9 of 10"),
        pytest.param(WEIGHT, 0.3, 2 / 4, id="7 of 10"),
        pytest.param(WEIGHT, 0.6, 1 / 4, id="4 of 10"),
        pytest.param(WEIGHT, 1.0, 0, id="anything will do"),
        # worst first they keep 1, 3 and 6
        pytest.param([1, 2, 3, 4], 0.4, 3 / 4, id="reverse"),
        pytest.param([1e-9, 0, 0, 0], 0.6, 1 / 4, id="size does not matter"),
    ],
)
def test_effective_complexity(attribution: list[float], tolerance: float, expected: float) -> None:
    assert enough(attribution, tolerance) == expected


def test_overshooting_the_output_is_as_wrong_as_undershooting_it() -> None:
    """Of 4 + 3 - 2 - 1 = 4, the top one keeps 4, the top two 7: only the first is near."""
    weight = [4.0, 3.0, -2.0, -1.0]
    assert enough(weight, 0.1, weight) == 1 / 4
    assert enough([3.0, 4.0, -2.0, -1.0], 0.1, weight) == 1, "3, 7 and 6 are not"


def test_effective_complexity_of_a_map_of_zeros_or_a_constant_model_is_not_scored() -> None:
    assert isnan(enough([0.0] * 4, 0.1))
    assert isnan(enough(WEIGHT, 0.1, [0.0] * 4))


def test_effective_complexity_does_not_depend_on_the_batch() -> None:
    """D26: the same map beside one a thousand times as large."""
    world = toy_worlds.linear(WEIGHT, n=2)
    maps = torch.tensor([WEIGHT, [1000 * w for w in WEIGHT]]).double()
    assert EffectiveComplexity(ZERO).score(world.case(maps)).tolist() == [3 / 4, 3 / 4]


def test_effective_complexity_costs_no_rows_beside_the_removal_curves() -> None:
    world = toy_worlds.tabular()
    metered = Metered(world.model)
    case = replace(world.case(world.inputs.x), model=metered)
    Deletion(Marginal(2)).score(case)
    spent = metered.usage.rows
    EffectiveComplexity(Marginal(2)).score(case)
    assert metered.usage.rows == spent


# Operations


def spent(world: toy_worlds.World, forward: int, gradient: int) -> Case:
    one = torch.ones(len(world.inputs), dtype=torch.float64)
    cost = Cost(forward * one, gradient * one, one, one)
    return replace(world.case(world.inputs.x), cost=cost)


def test_operations_of_a_network_by_hand() -> None:
    """7 -> 12 -> 3: a multiplication and an addition per weight, forward; as many to go back."""
    world = toy_worlds.tabular()
    row = RowFlops().measure(world.case(world.inputs.x))
    assert (row.forward, row.gradient) == (2 * (7 * 12 + 12 * 3),) * 2
    scores = ModelFlops().score(spent(world, 3, 5))
    torch.testing.assert_close(scores, torch.full((6,), (3 + 5) * 240 / 1e6).double())


def test_operations_of_a_convolution_by_hand() -> None:
    """3 x 3 filters: 3 -> 4 channels at 8 x 8, 4 -> 6 at 4 x 4, then 6 -> 3."""
    world = toy_worlds.image()
    row = RowFlops().measure(world.case(world.inputs.x))
    assert row.forward == 2 * (3 * 4 * 9 * 64 + 4 * 6 * 9 * 16 + 6 * 3)


def test_operations_do_not_depend_on_the_batch() -> None:
    world = toy_worlds.text()
    whole = ModelFlops().score(spent(world, 2, 1))
    alone = ModelFlops().score(spent(world.take(torch.tensor([1])), 2, 1))
    assert torch.equal(whole[1:2], alone)


def test_counting_operations_leaves_no_trace() -> None:
    world = toy_worlds.tabular()
    module = world.model.module
    assert module is not None
    ModelFlops().score(spent(world, 1, 1))
    assert world.inputs.x.grad is None
    assert all(p.grad is None and not p.requires_grad for p in module.parameters())


def test_operations_of_a_model_without_a_module_are_unsupported() -> None:
    class BlackBox(Metered):
        module = None  # type: ignore[assignment]

    world = toy_worlds.tabular()
    with pytest.raises(Unsupported, match="this model has none"):
        ModelFlops().score(replace(spent(world, 1, 1), model=BlackBox(world.model)))
