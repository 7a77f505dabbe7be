"""Scores by hand for every category: `f(x) = w . x` at `x = 1` with baseline 0, unless stated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan, log
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from xai_bench.core import units
from xai_bench.core.baselines import Constant, Marginal
from xai_bench.metrics import complexity, cost
from xai_bench.metrics.common import total
from xai_bench.metrics.fidelity import deletion, random_subsets
from xai_bench.metrics.probes.removal.random_subsets import CoalitionValues
from xai_bench.metrics.stability import sensitivity
from xai_bench.metrics.truth import agreement
from xai_bench.models.base import TorchPredictor
from xai_bench.types import Cost, Explanation, Inputs, Kind, Model, Rng, Unsupported

WEIGHT = [4.0, 3.0, 2.0, 1.0]
ZERO = Constant(0.0)


@dataclass(frozen=True, eq=False)
class Scaled:
    """`weight * x`, plus noise times fresh numbers."""

    weight: Tensor
    noise: float = 0.0

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(self.weight * inputs.x + self.noise * rng.normal(*inputs.x.shape[1:]))


def score(metric: Any, attribution: list[float], kind: Kind = "contribution", **case: Any) -> float:
    world = toy_worlds.linear(WEIGHT, n=1)
    scores: Tensor = metric.score(world.case(torch.tensor([attribution]).double(), kind, **case))
    return scores.item()


@pytest.mark.parametrize("n_units", [1, 5, 6, 9, 23, 50])
def test_padding_does_not_change_the_bits_of_a_sum(n_units: int) -> None:
    values = toy_worlds.normal(20, n_units)
    padded = torch.cat([values, torch.zeros(20, 64 - n_units)], dim=1)
    assert torch.equal(total(padded), total(values))
    assert torch.equal(total(padded[:1]), total(values)[:1])


# Fidelity


@pytest.mark.parametrize(
    ("metric", "oracle", "reverse"),
    [
        # outputs left are 10 6 3 1 0 best first, and 10 9 7 4 0 worst first, a quarter apart
        pytest.param(deletion.Deletion(ZERO), 3.75, 6.25, id="deletion"),
        pytest.param(deletion.Insertion(ZERO), 6.25, 3.75, id="insertion"),
        pytest.param(deletion.AbPC(ZERO), 2.5, -2.5, id="abpc"),
        # 1, 5, 10 and 20 % of four units are one unit, 50 % are two
        pytest.param(deletion.Comprehensiveness(ZERO), (4 * 4 + 7) / 5, (4 * 1 + 3) / 5, id="comp"),
        pytest.param(deletion.Sufficiency(ZERO), (4 * 6 + 3) / 5, (4 * 9 + 7) / 5, id="suff"),
        pytest.param(random_subsets.FaithfulnessCorrelation(ZERO), 1.0, -1.0, id="correlation"),
    ],
)
def test_fidelity_of_the_exact_map_and_its_negative(
    metric: Any, oracle: float, reverse: float
) -> None:
    assert score(metric, WEIGHT) == pytest.approx(oracle)
    assert score(metric, [-w for w in WEIGHT]) == pytest.approx(reverse)


def test_half_and_whole_of_a_longer_input() -> None:
    """Ten equal units: 1, 5 and 10 % are one, 20 % two, 50 % five; so are what is kept."""
    world = toy_worlds.linear([1.0] * 10, n=1)
    case = world.case(torch.arange(10.0)[None])
    assert deletion.Comprehensiveness(ZERO).score(case).item() == pytest.approx(10 / 5)
    assert deletion.Sufficiency(ZERO).score(case).item() == pytest.approx(10 - 10 / 5)


def test_the_curve_metrics_share_one_measurement() -> None:
    world = toy_worlds.linear(WEIGHT)
    case = world.case(torch.tensor(WEIGHT).expand(3, 4))
    names = ("Deletion", "Insertion", "AbPC", "Comprehensiveness", "Sufficiency")
    for name in names:
        getattr(deletion, name)(ZERO).score(case)
    assert len(case.own) == 1
    random_subsets.FaithfulnessCorrelation(ZERO).score(case)
    random_subsets.Infidelity(ZERO).score(case)
    assert len(case.shared) == 1


def test_correlation_ignores_scale_and_shift_and_refuses_constants() -> None:
    metric = random_subsets.FaithfulnessCorrelation(ZERO, fraction=0.5)
    assert score(metric, [3 * w - 7 for w in WEIGHT]) == pytest.approx(1)
    assert isnan(score(metric, [0.1] * 4))
    assert isnan(score(metric, [0.0] * 4))
    constant = toy_worlds.linear([0.0] * 4)
    assert metric.score(constant.case(torch.tensor(WEIGHT).expand(3, 4))).isnan().all()


def test_correlation_does_not_mistake_rounding_for_variation() -> None:
    """Float32 outputs near 1000 move in steps of 6e-5: effects of that size are rounding."""
    weight = [1e-5, 4e-5, 7e-5, 1e-4]
    world = toy_worlds.linear(weight, n=1)
    module = toy_worlds.Linear(torch.tensor(weight), bias=1000.0)
    model = replace(world.model, predictor=TorchPredictor(module, 1))
    inputs = world.inputs.with_x(world.inputs.x.float())
    case = replace(world.case(torch.tensor([WEIGHT])), model=model, inputs=inputs)
    assert case.measure(CoalitionValues(ZERO)).drop.std() > 0
    assert random_subsets.FaithfulnessCorrelation(ZERO).score(case).isnan().all()


def test_infidelity_compares_in_units_of_the_output() -> None:
    """All units removed: the drop is 10, and a map predicts its own sum."""
    metric = random_subsets.Infidelity(ZERO, fraction=1.0)
    assert score(metric, WEIGHT) == 0
    assert score(metric, [2 * w for w in WEIGHT]) == pytest.approx(100)
    assert score(metric, [0.0] * 4) == pytest.approx(100)
    assert score(metric, [-w for w in WEIGHT]) == pytest.approx(400)


def test_infidelity_of_a_gradient_and_of_a_contribution() -> None:
    """The gradient is w, the contribution w x; each is right in its own kind."""
    x = toy_worlds.normal(4, 4) + 2
    world = toy_worlds.linear(WEIGHT, x=x)
    weight = torch.tensor(WEIGHT).double()
    metric = random_subsets.Infidelity(ZERO)
    for kind, good, bad in (
        ("sensitivity", weight.expand_as(x), weight * x),
        ("contribution", weight * x, weight.expand_as(x)),
    ):
        assert metric.score(world.case(good, kind)).max() < 1e-20  # type: ignore[arg-type]
        assert metric.score(world.case(bad, kind)).min() > 0.1  # type: ignore[arg-type]


def test_infidelity_of_a_gradient_with_many_references() -> None:
    world = toy_worlds.linear(WEIGHT, x=toy_worlds.normal(4, 4))
    case = world.case(torch.tensor(WEIGHT).double().expand(4, 4), "sensitivity")
    assert random_subsets.Infidelity(Marginal(5)).score(case).max() < 1e-20


@pytest.mark.parametrize("kind", ["relevance", "ranking"])
def test_infidelity_refuses_scores_without_a_unit(kind: Kind) -> None:
    with pytest.raises(Unsupported, match=f"'{kind}' are not in units of the model's output"):
        score(random_subsets.Infidelity(ZERO), WEIGHT, kind)


# Stability


def test_a_map_that_ignores_its_input_is_perfectly_stable() -> None:
    class Constant:
        def explain(
            self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng
        ) -> Explanation:
            return Explanation(torch.tensor(WEIGHT).double().expand_as(inputs.x))

    for metric in (sensitivity.MaxSensitivity(), sensitivity.RelativeInputStability()):
        assert score(metric, WEIGHT, explainer=Constant()) == 0
    assert score(sensitivity.Repeatability(), WEIGHT, explainer=Constant()) == 0


def test_max_sensitivity_of_the_input_itself() -> None:
    """`a = x`: the change of the map is the step, whose norm is below `radius * sqrt(4)` of 2."""
    world = toy_worlds.linear([1.0] * 4, n=300)
    domain = replace(world.inputs.domain, scale=torch.ones(4))
    world = toy_worlds.World(world.model, replace(world.inputs, domain=domain), world.targets)
    explainer = Scaled(torch.ones(4))
    case = world.case(world.inputs.x, explainer=explainer)
    scores = sensitivity.MaxSensitivity(radius=0.3, n_draws=50).score(case)
    assert scores.max() <= 0.3
    assert scores.mean() > 0.22, "the largest of fifty is near the corner"
    one = sensitivity.MaxSensitivity(radius=0.3, n_draws=1).score(case)
    assert one.mean().item() == pytest.approx(0.3 * 0.56, rel=0.1), (
        "E|u|, u uniform in a 4-cube / 2"
    )


def test_relative_input_stability_of_input_times_gradient_is_one() -> None:
    """`a = w x` changes by the same share as x."""
    explainer = Scaled(torch.tensor(WEIGHT))
    metric = sensitivity.RelativeInputStability()
    assert score(metric, WEIGHT, explainer=explainer) == pytest.approx(1)


class Jumps(nn.Module):
    """Two classes: the first at x = 1 alone, or wherever `|x_0 - 1| < edge`."""

    def __init__(self, edge: float) -> None:
        super().__init__()
        self.edge = edge

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.edge - (x[:, 0] - 1).abs(), torch.zeros(len(x))], dim=1).double()


@dataclass(frozen=True)
class Explodes:
    """1 where `|x_0 - 1| < edge`, 100 elsewhere."""

    edge: float

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        inside = (inputs.x[:, :1] - 1).abs() < self.edge
        return Explanation(torch.where(inside, 1.0, 100.0).expand_as(inputs.x).double())


def jumping(edge: float) -> toy_worlds.World:
    background = toy_worlds.normal(16, 3)
    return toy_worlds.world(
        Jumps(edge), torch.ones(40, 3, dtype=torch.float64), torch.arange(3), background
    )


def test_neighbours_of_another_class_are_left_out_one_by_one() -> None:
    world = jumping(0.05)
    case = world.case(torch.ones(40, 3), explainer=Explodes(0.05))
    scores = sensitivity.RelativeInputStability().score(case)
    assert (scores == 0).all(), "the explosion lies beyond the class border"


def test_no_neighbour_left_is_unscored() -> None:
    world = jumping(1e-12)
    case = world.case(torch.ones(40, 3), explainer=Explodes(10.0))
    assert sensitivity.RelativeInputStability().score(case).isnan().all()
    assert (sensitivity.MaxSensitivity().score(case) == 0).all(), "does not ask for the class"


def test_repeatability_of_noise() -> None:
    """A map of 1000 fresh normal numbers: distance over size is near sqrt(2)."""
    world = toy_worlds.linear([1.0] * 1000, n=4)
    explainer = Scaled(torch.zeros(1000), noise=1.0)
    case = world.case(world.explain(explainer), explainer=explainer)
    scores = sensitivity.Repeatability(3).score(case)
    torch.testing.assert_close(scores, torch.full((4,), 2**0.5).double(), rtol=0.05, atol=0)
    near = sensitivity.MaxSensitivity().score(case)
    assert (near == 0).all(), "neighbours keep the explainer's random numbers"


# Truth: magnitudes 4 3 2 1 and then four zeros; k is a quarter of eight units, two

TRUTH = [4.0, -3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def against_truth(metric: Any, attribution: list[float], reference: list[float] = TRUTH) -> float:
    world = toy_worlds.linear([1.0] * len(reference), n=1)
    rows = (torch.tensor([v]).double() for v in (attribution, reference))
    scores: Tensor = metric.score(world.case(next(rows), truth=next(rows)))
    return scores.item()


@pytest.mark.parametrize(
    ("attribution", "feature", "sign", "rank", "precision"),
    [
        pytest.param(TRUTH, 1, 1, 1, 1, id="truth"),
        pytest.param([-v for v in TRUTH], 1, 0, 1, 1, id="negative"),
        pytest.param([3, -4, 2, 1, 0, 0, 0, 0], 1, 1, 0, 1, id="swapped"),
        pytest.param([3, 4, 2, 1, 0, 0, 0, 0], 1, 0.5, 0, 1, id="swapped, a sign wrong"),
        pytest.param([4, 1, 0, 0, 3, 2, 0, 0], 0.5, 0.5, 0.5, 0.5, id="half"),
        pytest.param([0, 0, 0, 0, 4, 3, 2, 1], 0, 0, 0, 0, id="all wrong"),
    ],
)
def test_agreement_with_the_truth(
    attribution: list[float], feature: float, sign: float, rank: float, precision: float
) -> None:
    assert against_truth(agreement.FeatureAgreement(), attribution) == feature
    assert against_truth(agreement.SignAgreement(), attribution) == sign
    assert against_truth(agreement.RankAgreement(), attribution) == rank
    assert against_truth(agreement.TopKPrecision(), attribution) == precision


def test_ties_in_the_truth_are_free_but_places_are_not() -> None:
    """One unit matters, k is two: any second unit is right, but it takes one place only."""
    reference = [5.0] + [0.0] * 7
    for second in range(1, 8):
        attribution = [5.0 if unit == 0 else 1e-9 * (unit == second) for unit in range(8)]
        assert against_truth(agreement.FeatureAgreement(), attribution, reference) == 1
        assert against_truth(agreement.RankAgreement(), attribution, reference) == 1
        assert against_truth(agreement.SignAgreement(), attribution, reference) == 0.5
    without = [0.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert against_truth(agreement.FeatureAgreement(), without, reference) == 0.5
    assert against_truth(agreement.RankAgreement(), without, reference) == 0.5


def test_precision_is_unscored_where_nothing_can_be_chosen() -> None:
    for reference in ([0.0] * 4, [1.0] * 4):
        assert isnan(against_truth(agreement.TopKPrecision(), WEIGHT, reference))
    for name in ("FeatureAgreement", "SignAgreement", "RankAgreement"):
        assert isnan(against_truth(getattr(agreement, name)(), [1.0], [1.0]))


def test_a_unit_matters_though_its_elements_cancel() -> None:
    world = toy_worlds.tabular()
    reference = torch.zeros(6, 7)
    reference[:, 3], reference[:, 4] = 1.0, -1.0
    attribution = torch.zeros(6, 7)
    attribution[:, 3:6] = 0.1
    scores = agreement.TopKPrecision().score(world.case(attribution, truth=reference))
    assert (scores == 1).all()


@pytest.mark.parametrize("name", ["FeatureAgreement", "SignAgreement", "RankAgreement"])
def test_truth_metrics_need_a_truth(name: str) -> None:
    with pytest.raises(Unsupported, match="no truth is written down"):
        score(getattr(agreement, name)(), WEIGHT)
    with pytest.raises(Unsupported, match="no truth is written down"):
        score(agreement.TopKPrecision(), WEIGHT)


@pytest.mark.parametrize("kind", ["sensitivity", "relevance", "ranking"])
def test_signs_are_compared_of_contributions_only(kind: Kind) -> None:
    with pytest.raises(Unsupported, match=kind):
        score(agreement.SignAgreement(), WEIGHT, kind, truth=torch.ones(1, 4))


def test_cosine_to_shapley() -> None:
    metric = agreement.CosineToShapley(ZERO)
    assert score(metric, WEIGHT) == pytest.approx(1)
    assert score(metric, [-w for w in WEIGHT]) == pytest.approx(-1)
    assert score(metric, [1.0, 0, 0, 0]) == pytest.approx(4 / 30**0.5)
    assert isnan(score(metric, [0.0] * 4)), "a map of zeros has no direction"
    world = toy_worlds.linear(WEIGHT, x=toy_worlds.normal(4, 4))
    gradient = torch.tensor(WEIGHT).double().expand(4, 4)
    scores = metric.score(world.case(gradient, "sensitivity"))
    torch.testing.assert_close(scores, torch.ones(4).double())


# Complexity and cost


@pytest.mark.parametrize(
    ("attribution", "entropy", "gini"),
    [
        pytest.param([0, 0, -5, 0], 0, 1 - 1 / 4, id="one unit"),
        pytest.param([1, -1, 1, -1], log(4), 0, id="all alike"),
        # (-3 * 1 - 1 * 2 + 1 * 3 + 3 * 4) / (4 * 10)
        pytest.param(
            [4, 3, 2, 1],
            -sum(p * log(p) for p in (0.4, 0.3, 0.2, 0.1)),
            0.25,
            id="four to one",
        ),
        pytest.param([0, 0, 0, 0], float("nan"), float("nan"), id="zeros"),
    ],
)
def test_complexity(attribution: list[float], entropy: float, gini: float) -> None:
    assert score(complexity.Entropy(), attribution) == pytest.approx(entropy, nan_ok=True)
    assert score(complexity.Gini(), attribution) == pytest.approx(gini, nan_ok=True)


def test_complexity_counts_each_samples_own_units() -> None:
    world = toy_worlds.text()
    n_units = units.count(world.inputs.units).double()
    real = units.present(world.inputs.units)
    uniform = units.spread(real.double(), world.inputs.units)
    torch.testing.assert_close(complexity.Entropy().score(world.case(uniform)), n_units.log())
    torch.testing.assert_close(
        complexity.Gini().score(world.case(uniform)), torch.zeros(4).double()
    )
    first = units.spread((torch.arange(6) == 0).double().expand(4, 6), world.inputs.units)
    torch.testing.assert_close(complexity.Gini().score(world.case(first)), 1 - 1 / n_units)


def test_cost_metrics_return_what_was_measured() -> None:
    world = toy_worlds.linear(WEIGHT, n=2)
    one = torch.ones(2).double()
    spent = Cost(3 * one, 5 * one, 0.5 * one, 7e6 * one, fit_seconds=11.0)
    case = replace(world.case(torch.zeros(2, 4)), cost=spent)
    names = ("ForwardRows", "GradientRows", "Seconds", "PeakMemory", "FitSeconds")
    scores = [getattr(cost, name)().score(case).tolist() for name in names]
    assert scores == [[3, 3], [5, 5], [0.5, 0.5], [7, 7], [11, 11]]
