"""The probe of removal curves: its grid, its orders, its values and its rows."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil

import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.core import units
from xai_bench.core.baselines import Constant, Marginal
from xai_bench.core.cost import Metered
from xai_bench.metrics.probes.removal.curves import FRACTIONS, RemovalCurves, counts, grid

WEIGHT = [4.0, 3.0, 2.0, 1.0]


def signed(world: toy_worlds.World, seed: int = 5) -> Tensor:
    noise = toy_worlds.normal(*world.inputs.x.shape, seed=seed)
    return torch.where(world.inputs.units < 0, 0, noise)


def test_counts_are_rounded_up_exactly() -> None:
    n_units = torch.arange(1, 301)
    exact = [[ceil(Fraction(str(f)) * n) for f in FRACTIONS] for n in n_units.tolist()]
    assert counts(n_units, FRACTIONS).tolist() == exact
    assert counts(torch.tensor([100]), (0.07,)).item() == 7, "0.07 * 100 > 7 in floats"


@pytest.mark.parametrize(
    ("n_units", "expected"),
    [(1, {0, 1}), (2, {0, 1, 2}), (4, {0, 1, 2, 3, 4}), (10, set(range(11)))],
)
def test_the_grid_of_small_inputs_is_every_unit(n_units: int, expected: set[int]) -> None:
    assert set(grid(torch.tensor([n_units]), FRACTIONS)[0].tolist()) == expected


def test_the_grid_ascends_and_is_its_own_mirror_image() -> None:
    n_units = torch.arange(1, 200)
    removed = grid(n_units, FRACTIONS)
    assert (removed.diff(dim=1) >= 0).all()
    assert torch.equal(removed.flip(1), n_units[:, None] - removed)
    assert removed.shape[1] == 2 * (len(FRACTIONS) + 1), "the same width for every sample"


def test_linear_model_curves_by_hand() -> None:
    """The output is 4 + 3 + 2 + 1. Best first leaves 10 6 3 1 0; worst first 10 9 7 4 0."""
    world = toy_worlds.linear(WEIGHT, n=1)
    curves = RemovalCurves(Constant()).measure(world.case(torch.tensor([WEIGHT])))
    removed = torch.arange(5)[None]
    assert curves.at(curves.most_first, removed).tolist() == [[10, 6, 3, 1, 0]]
    assert curves.at(curves.least_first, removed).tolist() == [[10, 9, 7, 4, 0]]
    assert curves.area(curves.most_first).item() == pytest.approx((5 + 6 + 3 + 1) / 4)


def test_area_does_not_depend_on_the_number_of_steps() -> None:
    """A straight line has the same area on every grid."""
    for n_units in (1, 3, 7, 50):
        world = toy_worlds.linear([2.0] * n_units, n=1)
        curves = RemovalCurves(Constant()).measure(world.case(torch.ones(1, n_units)))
        assert curves.area(curves.most_first).item() == pytest.approx(n_units)


@pytest.mark.parametrize("where", list(toy_worlds.WORLDS))
def test_the_negative_of_a_map_has_the_curves_swapped_to_the_last_bit(where: str) -> None:
    world = toy_worlds.WORLDS[where]()
    attribution = signed(world)
    probe = RemovalCurves(Marginal(3))
    one = probe.measure(world.case(attribution))
    other = probe.measure(world.case(-attribution))
    assert torch.equal(one.most_first, other.least_first)
    assert torch.equal(one.least_first, other.most_first)


def test_ties_are_broken_alike_at_both_ends() -> None:
    world = toy_worlds.tabular()
    curves = RemovalCurves(Marginal(2)).measure(world.case(torch.zeros_like(world.inputs.x)))
    assert torch.equal(curves.most_first, curves.least_first)


def test_ties_do_not_reward_position() -> None:
    """A blank map removes each of four units first equally often: mean output after one is 7.5."""
    world = toy_worlds.linear(WEIGHT, n=2000)
    curves = RemovalCurves(Constant()).measure(world.case(torch.zeros(2000, 4)))
    after_one = curves.at(curves.most_first, torch.ones(2000, 1).long())
    assert after_one.mean().item() == pytest.approx(7.5, abs=4 * 1.12 / 2000**0.5)


@pytest.mark.parametrize("where", list(toy_worlds.WORLDS))
@pytest.mark.parametrize("n_references", [1, 3])
def test_rows_are_those_of_the_closed_form(where: str, n_references: int) -> None:
    world = toy_worlds.WORLDS[where]()
    metered = Metered(world.model)
    case = replace(world.case(signed(world)), model=metered)
    RemovalCurves(Marginal(n_references)).measure(case)
    n_points = grid(units.count(world.inputs.units), FRACTIONS).unique(dim=1).shape[1]
    per_sample = 1 + n_references * (2 * n_points - 3)
    assert metered.usage.rows.forward == len(world.inputs) * per_sample


def test_no_coalition_is_evaluated_twice() -> None:
    """Five units: ends, and one to four removed from either end, with one reference: 10 rows."""
    world = toy_worlds.tabular().take(torch.tensor([0]))
    metered = Metered(world.model)
    RemovalCurves(Constant()).measure(replace(world.case(signed(world)), model=metered))
    assert metered.usage.rows.forward == 10


def test_all_units_of_shorter_samples_are_removed() -> None:
    world = toy_worlds.text()
    case = world.case(signed(world))
    curves = RemovalCurves(Constant()).measure(case)
    assert torch.equal(curves.removed[:, -1], units.count(world.inputs.units))
    blank = world.inputs.with_x(torch.zeros_like(world.inputs.x))
    empty = world.model.target_output(blank, world.targets)
    assert torch.equal(curves.most_first[:, -1], empty)
    assert torch.equal(
        curves.most_first[:, 0], world.model.target_output(world.inputs, world.targets)
    )


def test_what_is_drawn_goes_from_nothing_removed_to_everything() -> None:
    world = toy_worlds.linear(WEIGHT)
    curves = world.case(signed(world)).measure(RemovalCurves(Constant(0.0)))
    drawn = curves.recorded()["removed"]
    assert torch.equal(drawn, curves.removed / 4)
    assert drawn[:, [0, -1]].tolist() == [[0.0, 1.0]] * 3
