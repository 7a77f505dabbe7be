"""Stability by hand: what the map, the model and the random numbers contribute to a score."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from xai_bench.core import units
from xai_bench.core.cost import Metered
from xai_bench.metrics.common import total
from xai_bench.metrics.probes.neighbours import (
    NeighbourOutputs,
    NeighbourRepresentations,
    Neighbours,
    representation,
)
from xai_bench.metrics.probes.repeats import RepeatedNeighbours
from xai_bench.metrics.stability import robustness, sensitivity, variance
from xai_bench.types import Case, Explanation, Inputs, Model, Rng, Unsupported

FOLLOWING = [
    robustness.RelativeOutputStability(),
    robustness.RelativeRepresentationStability(),
    robustness.OutputNormalisedSensitivity(),
    robustness.AdversarialFragility(),
]


@dataclass(frozen=True, eq=False)
class Scaled:
    """`weight * x + noise * fresh numbers`."""

    weight: Tensor
    noise: float = 0.0

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        attribution = self.weight * inputs.x + self.noise * rng.normal(*inputs.x.shape[1:])
        return Explanation(torch.where(inputs.units < 0, 0, attribution))


@dataclass(frozen=True, eq=False)
class Stuck:
    """The same map everywhere."""

    value: Tensor

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(self.value.expand_as(inputs.x))


def unit_scale(world: toy_worlds.World) -> toy_worlds.World:
    """Every element has deviation 1."""
    domain = replace(world.inputs.domain, scale=torch.ones_like(world.inputs.domain.scale))
    return toy_worlds.World(world.model, replace(world.inputs, domain=domain), world.targets)


def case_of(world: toy_worlds.World, explainer: Any) -> Case:
    return world.case(world.explain(explainer), explainer=explainer)


# The map alone


def test_average_sensitivity_is_the_mean_over_single_neighbours() -> None:
    world = unit_scale(toy_worlds.linear([1.0] * 4, n=20))
    case = case_of(world, Scaled(torch.ones(4)))
    mean = sensitivity.AverageSensitivity(0.3, 7).score(case)
    near = case.measure(Neighbours(0.3, 7))
    for row, points in enumerate(near.points):
        steps = [(point - 1).norm().item() / 2 for point in points]  # the map is x, of size 2
        assert mean[row].item() == pytest.approx(fmean(steps))
        largest = sensitivity.MaxSensitivity(0.3, 7).score(case)[row].item()
        assert largest == pytest.approx(max(steps))


def test_lipschitz_of_a_linear_map() -> None:
    """`a = c x` changes by c per step, over its size `2 c`: 1/2 wherever the neighbour lies."""
    world = unit_scale(toy_worlds.linear([1.0] * 4, n=5))
    for radius in (0.01, 1.0):
        scores = sensitivity.LocalLipschitz(radius).score(case_of(world, Scaled(3 * torch.ones(4))))
        torch.testing.assert_close(scores, torch.full((5,), 0.5).double())


def test_lipschitz_measures_steps_in_standard_deviations() -> None:
    """Ten times the unit of every column, map, step and deviation alike: nothing changes."""
    x = toy_worlds.normal(6, 4) + 2
    scores = []
    for unit in (1.0, 10.0):
        world = toy_worlds.world(
            toy_worlds.Linear(torch.ones(4)),
            unit * x,
            torch.arange(4),
            unit * toy_worlds.normal(32, 4, seed=1),
        )
        case = case_of(world, Scaled(torch.arange(1.0, 5)))
        scores.append(sensitivity.LocalLipschitz().score(case))
    torch.testing.assert_close(scores[0], scores[1])


def test_the_input_changes_by_at_least_epsilon_min() -> None:
    """`a = x`: both change by the same, so the ratio is 1, unless the input's change is raised."""
    world = unit_scale(toy_worlds.linear([1.0] * 4, n=5))
    case = case_of(world, Scaled(torch.ones(4)))
    bare = sensitivity.RelativeInputStability(1e-3, floor=0.0).score(case)
    torch.testing.assert_close(bare, torch.ones(5).double())
    near = case.measure(Neighbours(1e-3, 10))
    largest = (near.points - 1).flatten(2).norm(dim=2).amax(1)
    floored = sensitivity.RelativeInputStability(1e-3, floor=0.0, epsilon_min=1.0).score(case)
    torch.testing.assert_close(floored, largest)


# The map against the model


def test_a_map_that_ignores_its_input_is_stable_for_any_model() -> None:
    world = toy_worlds.tabular()
    case = case_of(world, Stuck(torch.arange(1.0, 8).double()))
    for metric in FOLLOWING:
        assert (metric.score(case) == 0).all(), metric


def test_without_a_neighbour_of_the_same_class_there_is_no_score() -> None:
    class Spike(nn.Module):
        """The first class at x = 1 alone."""

        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            away = (x - 1).abs().sum(1) + self.bias
            return torch.stack([1e-12 - away, torch.zeros(len(x))], dim=1).double()

    world = toy_worlds.world(
        Spike(), torch.ones(9, 8).double(), torch.arange(8), toy_worlds.normal(16, 8)
    )
    case = case_of(world, Scaled(torch.arange(1.0, 9)))
    for metric in FOLLOWING:
        assert metric.score(case).isnan().all() == (metric is not FOLLOWING[2]), metric


def test_relative_output_stability_by_hand() -> None:
    """One column, `f = 5 x`, `a = 3 x` at x = 1: the map changes by |d| of itself, f by 5 |d|."""
    world = unit_scale(toy_worlds.linear([5.0], n=4))
    case = case_of(world, Scaled(torch.tensor([3.0])))
    metric = robustness.RelativeOutputStability(epsilon_min=0.0)
    torch.testing.assert_close(metric.score(case), torch.full((4,), 1 / 5).double())
    # where the outputs' change counts as 1, the largest ratio is the largest |d|
    step = (case.measure(Neighbours()).points - 1).abs().amax((1, 2))
    floored = robustness.RelativeOutputStability(epsilon_min=1.0).score(case)
    torch.testing.assert_close(floored, step)


def test_relative_representation_stability_of_the_representation_itself() -> None:
    """The only layer is the first: the representation is x, and `a = 3 x` changes as x does."""
    x = toy_worlds.normal(6, 4).abs() + 1
    case = case_of(toy_worlds.linear([1.0, 2.0, 3.0, 4.0], x=x), Scaled(torch.tensor(3.0)))
    metric = robustness.RelativeRepresentationStability(floor=1e-9, epsilon_min=1e-9)
    torch.testing.assert_close(metric.score(case), torch.ones(6).double())


def test_the_representation_is_the_input_of_the_last_layer() -> None:
    world = toy_worlds.tabular()
    first, relu, head = world.model.module  # type: ignore[misc]
    hidden = representation(world.model, world.inputs)
    torch.testing.assert_close(hidden, relu(first(world.inputs.x)))
    torch.testing.assert_close(head(hidden), world.model.outputs(world.inputs))
    for name, other in toy_worlds.WORLDS.items():
        some = other()
        assert representation(some.model, some.inputs).shape[0] == len(some.inputs), name
        module = some.model.module
        assert module is not None
        assert not any(part._forward_pre_hooks for part in module.modules())


def test_the_representation_of_a_black_box_is_unsupported() -> None:
    class BlackBox(Metered):
        module = None  # type: ignore[assignment]

    world = toy_worlds.tabular()
    case = replace(case_of(world, Scaled(torch.tensor(1.0))), model=BlackBox(world.model))
    with pytest.raises(Unsupported, match="this model has none"):
        robustness.RelativeRepresentationStability().score(case)
    assert robustness.RelativeOutputStability().score(case).isfinite().all()


def test_ratios_are_bounded_on_a_nearly_flat_model() -> None:
    """The output changes by a millionth of what the map changes by: the floor of 1 % divides."""
    bias = unit_scale(toy_worlds.world(toy_worlds.Linear(torch.tensor([1e-6]).double(), bias=1.0),
                                 torch.ones(3, 1).double(), torch.arange(1),
                                 toy_worlds.normal(8, 1, seed=1)))  # fmt: skip
    explainer = Scaled(torch.tensor([3.0]))
    floored = robustness.OutputNormalisedSensitivity(epsilon_min=0.01).score(
        case_of(bias, explainer)
    )
    bare = robustness.OutputNormalisedSensitivity(epsilon_min=0.0).score(case_of(bias, explainer))
    assert (floored < 0.1 / 0.01).all()
    assert (bare > 1e5).all()


def test_sensitivity_over_that_of_the_model_by_hand() -> None:
    """`f = 5 x` and `a = 3 x`: both change by the same share. `a = x^2` by nearly twice it."""
    world = unit_scale(toy_worlds.linear([5.0], n=4))
    metric = robustness.OutputNormalisedSensitivity(radius=1e-4, epsilon_min=0.0)
    proportional = metric.score(case_of(world, Scaled(torch.tensor([3.0]))))
    torch.testing.assert_close(proportional, torch.ones(4).double())

    class Square:
        def explain(
            self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng
        ) -> Explanation:
            return Explanation(inputs.x * inputs.x)

    twice = metric.score(case_of(world, Square()))
    torch.testing.assert_close(twice, torch.full((4,), 2.0).double(), rtol=1e-3, atol=0)
    constant = unit_scale(toy_worlds.linear([0.0], n=4))
    assert metric.score(case_of(constant, Scaled(torch.tensor([3.0])))).isnan().all()


def test_fragility_is_the_worst_neighbours_loss() -> None:
    """Magnitudes 10 20 1 2 at x = 1: large steps exchange some, small steps none."""
    world = unit_scale(toy_worlds.linear([1.0] * 8, n=30))
    weight = torch.tensor([1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07]).double()
    case = case_of(world, Scaled(weight))
    near = case.measure(Neighbours(0.1, 10))
    scores = robustness.AdversarialFragility(0.1, 10).score(case)
    for row, maps in enumerate(near.attributions):
        tops = [set(a.abs().topk(2).indices.tolist()) for a in maps]
        lost = max(1 - len(top & {6, 7}) / 2 for top in tops)
        assert scores[row].item() == lost
    assert (scores > 0).any()
    assert (robustness.AdversarialFragility(1e-4).score(case_of(world, Scaled(weight))) == 0).all()
    whole = robustness.AdversarialFragility(0.1, 10, fraction=1.0).score(case)
    assert whole.isnan().all(), "the top is everything"


def test_ties_in_a_constant_map_are_not_fragile() -> None:
    case = case_of(toy_worlds.linear([1.0] * 8, n=30), Stuck(torch.ones(8).double()))
    assert (robustness.AdversarialFragility().score(case) == 0).all()


def test_all_metrics_share_the_neighbours_and_their_outputs() -> None:
    case = case_of(toy_worlds.tabular(), Scaled(torch.tensor(2.0)))
    for metric in (
        *FOLLOWING,
        sensitivity.MaxSensitivity(),
        sensitivity.AverageSensitivity(),
        sensitivity.LocalLipschitz(),
        sensitivity.RelativeInputStability(),
    ):
        metric.score(case)
    assert set(case.own) == {Neighbours()}
    assert set(case.shared) == {NeighbourOutputs(), NeighbourRepresentations()}
    metered = Metered(toy_worlds.tabular().model)
    NeighbourOutputs(n_draws=7).measure(replace(case, model=metered))
    assert metered.usage.rows.forward == 6 * (1 + 7)


# Sampling noise apart from the effect of the input


def noisy(n: int, weight: float, sigma: float) -> Case:
    """`a = weight x + sigma z` in four columns of deviation 1."""
    world = unit_scale(toy_worlds.linear([1.0] * 4, n=n))
    return case_of(world, Scaled(torch.full((4,), weight), noise=sigma))


@pytest.mark.slow
@pytest.mark.parametrize("n_repeats", [2, 5])
@pytest.mark.parametrize(("weight", "sigma"), [(0.0, 1.0), (2.0, 0.0), (2.0, 0.5), (2.0, 0.02)])
def test_both_variances_are_estimated_without_bias(
    weight: float, sigma: float, n_repeats: int
) -> None:
    """A step is uniform in +-0.3: its variance is `0.3^2 / 3`."""
    case = noisy(1500, weight, sigma)
    variances = case.measure(RepeatedNeighbours(0.3, 5, n_repeats))
    for values, expected in (
        (variances.noise, sigma**2),
        (variances.input, weight**2 * 0.3**2 / 3),
    ):
        samples = values.mean(1)
        error = samples.std().item() / len(samples) ** 0.5
        assert samples.mean().item() == pytest.approx(expected, abs=4 * error + 1e-15)


def test_pure_noise_has_a_noise_share_of_1_and_no_input_sensitivity() -> None:
    case = noisy(1500, 0.0, 1.0)
    size = case.attribution.square().sum(1)
    answer = variance.InputSensitivity().score(case) * size
    error = answer.std().item() / len(answer) ** 0.5
    assert answer.mean().abs() < 4 * error
    assert (answer < 0).any(), "unbiased: below 0 as well as above"
    share = variance.NoiseShare().score(case)
    assert share.min() > 0.5
    assert share.mean() > 0.9
    plain = sensitivity.MaxSensitivity().score(case)
    assert (plain == 0).all(), "which keeps the random numbers"


def test_a_deterministic_explainer_has_no_noise_at_all() -> None:
    case = noisy(20, 2.0, 0.0)
    assert (variance.NoiseShare().score(case) == 0).all()
    assert (variance.InputSensitivity().score(case) > 0).all()


def test_the_noise_share_of_a_constant_map_is_not_scored() -> None:
    case = case_of(toy_worlds.linear([1.0] * 4), Stuck(torch.ones(4).double()))
    assert variance.NoiseShare().score(case).isnan().all()
    assert (variance.InputSensitivity().score(case) == 0).all()


def test_more_noise_raises_the_noise_share_and_not_the_input_sensitivity() -> None:
    cases = [noisy(400, 2.0, sigma) for sigma in (0.05, 0.2, 1.0)]
    shares = [variance.NoiseShare().score(case).mean().item() for case in cases]
    assert all(a + 0.05 < b for a, b in pairwise(shares))
    # 0.1^2 / 3 * 4 * 2^2 over (2^2 * 4): the size of the noisy map is taken out
    sizes = [case.attribution.square().sum(1) for case in cases]
    for case, size in zip(cases, sizes, strict=True):
        answer = variance.InputSensitivity().score(case) * size
        error = answer.std().item() / 20
        assert answer.mean().item() == pytest.approx(16 * 0.01 / 3, abs=4 * error)


def test_a_reference_implementation_of_the_analysis_of_variance_agrees() -> None:
    """Text of uneven length, with `statistics`, one element at a time; drawn by the same names."""
    world = toy_worlds.text()
    explainer = Scaled(torch.tensor(2.0), noise=0.3)
    case = case_of(world, explainer)
    probe = RepeatedNeighbours(0.2, 4, 3)
    variances = case.measure(probe)
    points = case.measure(Neighbours(0.2, 4)).points
    maps = torch.stack(
        [
            torch.stack(
                [
                    case.explain(case.inputs.with_x(points[:, place]), repeat=1 + 3 * place + again)
                    for again in range(3)
                ]
            )
            for place in range(4)
        ]
    )
    for row, token, axis in ((0, 5, 0), (1, 2, 3), (2, 0, 1)):
        table = maps[:, :, row, token, axis].tolist()
        within = fmean(statistics.variance(repeats) for repeats in table)
        between = statistics.variance([fmean(repeats) for repeats in table])
        assert variances.noise[row, token, axis].item() == pytest.approx(within)
        assert variances.input[row, token, axis].item() == pytest.approx(between - within / 3)
    padding = world.inputs.units < 0
    assert (variances.noise[padding] == 0).all()
    assert (variances.input[padding] == 0).all()
    assert total(units.pool(variances.noise, world.inputs.units)).gt(0).all()


def test_variances_need_two_draws_and_two_repeats() -> None:
    case = noisy(3, 1.0, 1.0)
    for metric in (variance.NoiseShare(n_repeats=1), variance.InputSensitivity(n_draws=1)):
        with pytest.raises(Unsupported, match="at least 2"):
            metric.score(case)
