"""Standard errors tell how far off the estimates are: against exact values and against repeats."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.explainers.gradient.test_methods import world_of
from tests.explainers.removal.test_shapley import asked
from tests.support import toy_worlds
from xai_bench.core import cooperative_games, units
from xai_bench.core.baselines import Constant
from xai_bench.core.seeds import Seeds
from xai_bench.explainers.removal.banzhaf import Banzhaf
from xai_bench.explainers.removal.interactions import ShapleyInteractions
from xai_bench.explainers.removal.occlusion import LeaveOneOut
from xai_bench.explainers.removal.shapley import ExactShapley, KernelSHAP, PermutationShapley
from xai_bench.metrics.truth.calibration import IntervalCoverage
from xai_bench.types import Explanation, Unsupported

torch.set_num_threads(1)
ZERO = Constant(0.0)
N = 300


def roomy(world: toy_worlds.World) -> toy_worlds.World:
    return toy_worlds.World(replace(world.model, max_rows=1 << 16), world.inputs, world.targets)


def smooth() -> toy_worlds.World:
    """Ten units in a small tanh network."""
    w, v = toy_worlds.normal(10, 6, seed=5) / 10**0.5, toy_worlds.normal(6, seed=6)
    return world_of(lambda x: (2 * x @ w).tanh() @ v, toy_worlds.normal(N, 10, seed=7).tolist())


def kinked() -> toy_worlds.World:
    """Eleven units in a small ReLU network."""
    w, v = toy_worlds.normal(11, 16, seed=9) / 3, toy_worlds.normal(16, seed=10)
    return world_of(lambda x: (x @ w).relu() @ v, toy_worlds.normal(N, 11, seed=11).tolist())


def gated() -> toy_worlds.World:
    """Six units that count as far as six others open a gate."""
    w, v = toy_worlds.normal(6, seed=12), toy_worlds.normal(6, seed=13)
    game = lambda x: (x[:, :6] @ w) * (x[:, 6:] @ v).sigmoid()  # noqa: E731
    return world_of(game, toy_worlds.normal(N, 12, seed=14).tolist())


TASKS = {"smooth": smooth, "kinked": kinked, "gated": gated}


def banzhaf_values(table: Tensor) -> Tensor:
    """`[B, 2^U] -> [B, U]`: the mean with a unit less the mean without it."""
    member = cooperative_games.all_coalitions((table.shape[1] - 1).bit_length()).double()
    return 2 * table @ (2 * member - 1) / table.shape[1]


@cache
def task(name: str) -> tuple[toy_worlds.World, Tensor, Tensor]:
    """The world, its exact Shapley values and its exact Banzhaf values."""
    world = roomy(TASKS[name]())
    kept = cooperative_games.all_coalitions(world.inputs.x.shape[1])
    points = kept * world.inputs.x[:, None]
    flat = world.inputs.stacked(points)
    table = world.model.target_output(flat, world.targets.repeat_interleave(len(kept)))
    table = table.view(points.shape[:2])
    return world, cooperative_games.shapley_values(table), banzhaf_values(table)


def pairs_of_orders(n_pairs: int, n_units: int) -> int:
    return 2 + 2 * (n_units - 1) * n_pairs


@pytest.mark.sample(4)
@pytest.mark.slow
@pytest.mark.parametrize("name", list(TASKS))
@pytest.mark.parametrize("estimator", [PermutationShapley, KernelSHAP, Banzhaf])
def test_95_percent_intervals_cover_95_percent(estimator, name, record_property):
    """Student's are right for means of 16 pairs of orders, normal ones of 128 coalitions, and more.

    They are not where a unit's gain is rare: the maximum of many inputs, which one of them decides
    in a few orders only, needs more orders than that.
    """
    world, shapley, banzhaf = task(name)
    exact = banzhaf if estimator is Banzhaf else shapley
    budgets = (128, 256, 512)
    if estimator is PermutationShapley:
        budgets = tuple(pairs_of_orders(n, exact.shape[1]) for n in (16, 60, 100))
    found = torch.stack([inside(estimator(ZERO), world, exact, budgets, s) for s in range(4)])
    assert found[0].numel() >= 3000 * len(budgets)
    for budget, coverage in zip(budgets, found.mean((0, 2, 3)).tolist(), strict=True):
        record_property(f"coverage at {budget}", coverage)
        assert 0.93 <= coverage <= 0.97, (budget, coverage)


@pytest.mark.sample(3)
@pytest.mark.sample(6, others="slow")
@pytest.mark.parametrize(
    ("estimator", "budgets"),
    [(KernelSHAP, (28, 34, 40, 48, 64, 96)), (Banzhaf, (48, 56, 72, 96))],
)
@pytest.mark.parametrize("name", list(TASKS))
def test_intervals_are_not_too_narrow_near_the_smallest_budget(estimator, name, budgets):
    """Where an error is stated; where it is not, the degrees of freedom are 0."""
    world, shapley, banzhaf = task(name)
    exact = (banzhaf if estimator is Banzhaf else shapley)[:40]
    few = toy_worlds.World(world.model, world.inputs.take(torch.arange(40)), world.targets[:40])
    found = torch.stack([inside(estimator(ZERO), few, exact, budgets, s) for s in range(6)])
    for budget, held in zip(budgets, found.unbind(1), strict=True):
        stated = ~held.isnan()
        assert not stated.any() or held[stated].mean() >= 0.93, budget
    assert (~found[:, -3:].isnan()).all()


def inside(explainer, world, exact, budgets, seed) -> Tensor:
    """`[budgets, B, U]`: 1 where the interval holds the exact value, NaN where there is none; a
    design for each seed.
    """
    rng = Seeds(seed).stream("explain", samples=world.inputs.index)
    found = explainer.anytime(world.model, world.inputs, world.targets, budgets, rng=rng)
    within = [
        torch.where(a.standard_error.isnan(), torch.nan, (a.attribution - exact).abs() <= half)
        for a in found
        for half in [wide(a) * a.standard_error]
    ]
    return torch.stack(within).double()


def wide(answer: Explanation) -> Tensor:
    """`[B, 1]` or `[]`: half of an interval at 95 %, in errors."""
    degrees_of_freedom = (
        torch.tensor([1e9]) if answer.degrees_of_freedom is None else answer.degrees_of_freedom
    )
    return torch.from_numpy(stats.t.ppf(0.975, degrees_of_freedom.numpy()))[:, None]


@pytest.mark.parametrize(
    ("explainer", "n_units"),
    [
        (PermutationShapley(ZERO, 602), 11),
        (KernelSHAP(ZERO, 256), 9),
        (KernelSHAP(ZERO, 512), 14),
        (Banzhaf(ZERO, 256), 9),
        (Banzhaf(ZERO, 512), 14),
    ],
)
def test_the_error_is_the_spread_over_repeats(explainer, n_units):
    w = toy_worlds.normal(n_units, 6, seed=5) / n_units**0.5
    v, x = toy_worlds.normal(6, seed=6), toy_worlds.normal(1, n_units, seed=7)
    world = roomy(world_of(lambda x: (2 * x @ w).tanh() @ v, x.expand(400, -1).tolist()))
    answer = explainer.explain(world.model, world.inputs, world.targets, rng=world.rng)
    spread = answer.attribution.std(0)
    # 400 repeats know their own spread to 3.5 %.
    assert torch.allclose(answer.standard_error.square().mean(0).sqrt(), spread, rtol=0.15)
    ratio = answer.standard_error.square().mean(0).sqrt() / spread
    assert ratio.mean().item() == pytest.approx(1, abs=0.07)


def test_four_times_the_draws_halve_the_error():
    world = roomy(smooth())
    wide = toy_worlds.World(world.model, world.inputs.take(torch.arange(50)), world.targets[:50])
    budgets = (pairs_of_orders(40, 10), pairs_of_orders(160, 10))
    found = PermutationShapley(ZERO).anytime(
        wide.model, wide.inputs, wide.targets, budgets, rng=wide.rng
    )
    few, many = (answer.standard_error.mean() for answer in found)
    assert (few / many).item() == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("estimator", [KernelSHAP, Banzhaf])
def test_nothing_is_left_to_err_where_all_coalitions_are_asked(estimator):
    world = toy_worlds.text()  # samples of three to six units
    at = lambda budget: estimator(ZERO, budget).explain(  # noqa: E731
        world.model, world.inputs, world.targets, rng=world.rng
    )
    assert not at(64).standard_error.any()
    some = at(32).standard_error.flatten(1).abs().sum(1) > 0
    assert some.tolist() == [True, False, False, False], "only six units have more than 32"


def test_too_few_draws_tell_no_error():
    world = toy_worlds.linear([1.0] * 14, n=2)
    for explainer in (PermutationShapley(ZERO, 28), KernelSHAP(ZERO, 28), KernelSHAP(ZERO, 30)):
        answer = explainer.explain(world.model, world.inputs, world.targets, rng=world.rng)
        assert answer.attribution.isfinite().all()
        assert answer.standard_error.isnan().all()


def test_errors_are_spread_like_credits():
    world = toy_worlds.tabular()  # the fourth unit has three elements
    explainer = KernelSHAP(ZERO, 20)
    answer = explainer.explain(world.model, world.inputs, world.targets, rng=world.rng)
    third = answer.standard_error[:, 3:6]
    assert torch.equal(third, third[:, :1].expand(-1, 3))
    kept = asked(explainer, 20, world)
    stays = units.kept_elements(kept, world.inputs.units)
    flat = world.inputs.stacked(torch.where(stays, world.inputs.x[:, None], 0))
    values = world.model.target_output(flat, world.targets.repeat_interleave(20)).view(-1, 20)
    errors = torch.cat(
        [explainer.solve(k, v[None]).errors for k, v in zip(kept, values, strict=True)]
    )
    assert torch.allclose(units.pool(answer.standard_error, world.inputs.units), errors)
    assert (errors > 0).all()


def test_what_is_not_drawn_has_no_error():
    for explainer in (ExactShapley(ZERO), LeaveOneOut(ZERO)):
        world = toy_worlds.linear([1.0, 2.0])
        found = explainer.explain(world.model, world.inputs, world.targets, rng=world.rng)
        assert found.standard_error is None


# The metric


def test_interval_coverage_by_hand():
    # Worth 1, 2, 3, 4; off by 0, 1, 2, 3 at errors of 1: two of four are within 1.96.
    world = toy_worlds.linear([1.0, 2.0, 3.0, 4.0])
    off = torch.tensor([1.0, 1.0, 5.0, 7.0]).double().expand(3, 4)
    case = toy_worlds.stating(world.case(off), standard_error=torch.ones(3, 4).double())
    assert torch.equal(IntervalCoverage(ZERO).score(case), torch.full((3,), 0.5).double())
    unknown = torch.tensor([1.0, torch.nan, 1.0, torch.nan]).double().expand(3, 4)
    case = toy_worlds.stating(case, standard_error=unknown)
    assert torch.equal(IntervalCoverage(ZERO).score(case), torch.full((3,), 0.5).double())
    case = toy_worlds.stating(case, standard_error=torch.full((3, 4), torch.nan).double())
    assert IntervalCoverage(ZERO).score(case).isnan().all()
    # 2 and 3 errors off are inside at a confidence of 99.9 %: 3.29 errors.
    case = toy_worlds.stating(case, standard_error=torch.ones(3, 4).double())
    assert torch.equal(IntervalCoverage(ZERO, 0.999).score(case), torch.ones(3).double())


def test_few_draws_make_wide_intervals():
    # Off by 0, 1, 2, 3 errors: inside are 12.7, 3.18, 2.36 and 1.96 of them.
    world = toy_worlds.linear([1.0, 2.0, 3.0, 4.0], n=4)
    off = torch.tensor([1.0, 1.0, 5.0, 7.0]).double().expand(4, 4)
    case = toy_worlds.stating(world.case(off), standard_error=torch.ones(4, 4).double())
    case = toy_worlds.stating(
        case, degrees_of_freedom=torch.tensor([1.0, 3.0, 7.0, torch.inf]).double()
    )
    assert IntervalCoverage(ZERO).score(case).tolist() == [1, 1, 0.75, 0.5]


@pytest.mark.parametrize("sampler", [PermutationShapley(ZERO, 100), ShapleyInteractions(ZERO, 100)])
def test_freedom_is_told_of_every_sample_in_any_company(sampler):
    """Also of one whose units are too few for anything to be drawn."""
    units_of = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 1, 1, 1], [0, 1, 2, 3, 4]])
    found = toy_worlds.linear([1.0, 2.0, 3.0, 4.0, 5.0], n=3)
    world = toy_worlds.World(found.model, replace(found.inputs, units=units_of), found.targets)

    def degrees_of_freedom(some: toy_worlds.World) -> list[float]:
        return sampler.explain(
            some.model, some.inputs, some.targets, rng=some.rng
        ).degrees_of_freedom.tolist()

    whole = degrees_of_freedom(world)
    drawn = (100 - 2) // 8 - 1 if isinstance(sampler, PermutationShapley) else 48
    assert whole == [torch.inf, whole[1], drawn]
    assert [degrees_of_freedom(world.take(torch.tensor([row])))[0] for row in range(3)] == whole


def test_an_error_belongs_to_a_unit_not_to_its_elements():
    # One unit of two elements, worth 3, said to be worth 5, off by 0.6 + 0.6.
    found = toy_worlds.linear([1.0, 2.0])
    inputs = replace(found.inputs, units=torch.zeros(3, 2, dtype=torch.long))
    world = toy_worlds.World(found.model, inputs, found.targets)
    case = world.case(torch.full((3, 2), 2.5).double())
    score = lambda size: IntervalCoverage(ZERO).score(  # noqa: E731
        toy_worlds.stating(case, standard_error=torch.full((3, 2), size).double())
    )
    assert score(0.6).tolist() == [1, 1, 1]
    assert score(0.5).tolist() == [0, 0, 0]


def test_interval_coverage_declines_what_has_no_errors():
    case = toy_worlds.stating(
        toy_worlds.tabular().case(toy_worlds.tabular().inputs.x), standard_error=None
    )
    with pytest.raises(Unsupported, match="no standard error"):
        IntervalCoverage(ZERO).score(case)


@pytest.mark.slow
def test_estimators_are_scored_near_their_confidence():
    world, *_ = task("smooth")
    for estimator in (PermutationShapley, KernelSHAP):
        scores = []
        for seed in range(4):
            rng = Seeds(seed).stream("explain", samples=world.inputs.index)
            found = estimator(ZERO, 512).explain(world.model, world.inputs, world.targets, rng=rng)
            case = toy_worlds.stating(
                world.case(found.attribution),
                standard_error=found.standard_error,
                degrees_of_freedom=found.degrees_of_freedom,
            )
            scores.append(IntervalCoverage(ZERO).score(case))
        assert torch.cat(scores).mean().item() == pytest.approx(0.95, abs=0.02)
