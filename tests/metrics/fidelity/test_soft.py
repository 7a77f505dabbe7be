"""Soft removal, fading inputs and noise on units: by hand, and reference implementations."""

from __future__ import annotations

from math import isnan, pi, sqrt
from typing import Any

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from tests.support import toy_worlds
from xai_bench.core import units
from xai_bench.core.baselines import Constant, Marginal
from xai_bench.core.cost import Metered
from xai_bench.metrics.fidelity import noise as noise
from xai_bench.metrics.fidelity import soft as soft
from xai_bench.types import Unsupported

WEIGHT = [4.0, 3.0, 2.0, 1.0]
ZERO = Constant(0.0)


class TwoClasses(nn.Module):
    """Logits `w . x` and 0."""

    def __init__(self, weight: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight).double())

    def forward(self, x: Tensor) -> Tensor:
        first = x @ self.weight
        return torch.stack([first, torch.zeros_like(first)], dim=1)


def score(metric: Any, attribution: list[float], weight: list[float] = WEIGHT) -> float:
    """Of a linear regressor at x = 1."""
    world = toy_worlds.linear(weight, n=1)
    scores: Tensor = metric.score(world.case(torch.tensor([attribution]).double()))
    return scores.item()


def class_score(metric: Any, attribution: list[float], weight: list[float]) -> float:
    """Of a classifier at x = 1 that explains its first class."""
    x = torch.ones(1, len(weight)).double()
    world = toy_worlds.world(TwoClasses(weight), x, torch.arange(len(weight)), x)
    world = toy_worlds.World(world.model, world.inputs, torch.zeros(1, dtype=torch.long))
    scores: Tensor = metric.score(world.case(torch.tensor([attribution]).double()))
    return scores.item()


def sigmoid(logit: float) -> float:
    return torch.tensor(logit).double().sigmoid().item()


# Soft removal


def test_soft_removal_of_two_units_is_deterministic() -> None:
    """The higher one is always chosen, the lower one never."""
    for attribution, drop in (([5.0, -1.0], 3.0), ([-1.0, 5.0], 1.0)):
        assert score(soft.SoftComprehensiveness(ZERO), attribution, [3.0, 1.0]) == drop
        assert score(soft.SoftSufficiency(ZERO), attribution, [3.0, 1.0]) == 4 - drop


def test_soft_removal_of_a_linear_model_has_its_expectation() -> None:
    """Scaled to 1, 2/3, 1/3 and 0, whose mean is 1/2: the chances of dropping 4, 3, 2 and 1 at a
    share of 1/2, and of keeping them. At a share of 7/18, their squares are: 1, 4/9, 1/9 and 0.
    """
    for share, chances in ((1 / 2, (2 / 3, 1 / 3)), (7 / 18, (4 / 9, 1 / 9))):
        mean = 4 + 3 * chances[0] + 2 * chances[1]
        spread = 3 * sqrt((9 + 4) * 2 / 9 / 4000)
        scores = score(soft.SoftComprehensiveness(ZERO, 4000, share), WEIGHT)
        assert scores == pytest.approx(mean, abs=spread)
        assert score(soft.SoftSufficiency(ZERO, 4000, share), WEIGHT) == pytest.approx(10 - scores)


@pytest.mark.parametrize("kind", [soft.SoftComprehensiveness, soft.SoftSufficiency])
@pytest.mark.parametrize("power", [0.25, 0.5, 2.0, 4.0])
def test_a_power_of_the_map_has_the_same_score(kind: Any, power: float) -> None:
    scaled = torch.tensor([1.0, 0.7, 0.4, 0.9, 0.2, 0.05, 0.0, 0.6]).double()
    scores = [score(kind(ZERO, 50), m.tolist(), WEIGHT * 2) for m in (scaled, scaled**power)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("scaled", "share", "expected"),
    [
        ([1.0, 0.5, 0.0, 0.0], 3 / 8, [1.0, 0.5, 0.0, 0.0]),
        ([1.0, 0.5, 0.0, 0.0], 5 / 16, [1.0, 0.25, 0.0, 0.0]),
        ([1.0, 0.5, 0.0, 0.0], 0.9, [1.0, 1.0, 0.0, 0.0]),
        ([1.0, 0.5, 0.0, 0.0], 0.1, [1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_the_mean_chance_is_the_share_or_the_nearest(
    scaled: list[float], share: float, expected: list[float]
) -> None:
    found = soft.with_mean(torch.tensor([scaled]).double(), torch.tensor([4]), share)
    torch.testing.assert_close(found, torch.tensor([expected]).double(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", [soft.SoftComprehensiveness, soft.SoftSufficiency])
def test_soft_removal_of_a_uniform_map_is_not_scored(kind: Any) -> None:
    assert isnan(score(kind(ZERO), [0.0] * 4))
    assert isnan(score(kind(ZERO), [2.0] * 4))


def test_a_reference_implementation_of_soft_removal_agrees() -> None:
    world = toy_worlds.text()
    attribution = torch.where(world.inputs.units < 0, 0, toy_worlds.normal(4, 6, 4, seed=3).abs())
    case = world.case(attribution)
    scores = soft.SoftComprehensiveness(ZERO, 5, share=0.4).score(case)
    pooled = units.pool(attribution, world.inputs.units)
    draws = case.rng.child("soft").uniform(5, 6)
    for row, n_units in enumerate([6, 3, 4, 5]):
        a = pooled[row, :n_units].tolist()
        scaled = [(value - min(a)) / (max(a) - min(a)) for value in a]
        power = brentq(lambda p, s=scaled: sum(v**p for v in s) / len(s) - 0.4, 1e-3, 50)
        chance = [value**power for value in scaled]
        part, target = world.inputs.take(torch.tensor([row])), world.targets[row : row + 1]
        at_x = world.model.target_output(part, target).item()
        drops = []
        for draw in draws[row].tolist():
            x = part.x.clone()
            for unit in range(n_units):
                if draw[unit] < chance[unit]:
                    x[0, unit] = 0
            drops.append(at_x - world.model.target_output(part.with_x(x), target).item())
        assert scores[row].item() == pytest.approx(sum(drops) / 5)


# Fading


def test_fading_by_hand() -> None:
    """The map 3 -2 1 keeps all of the first unit, half of the second, none of the third."""
    weight, attribution = [1.0, -2.0, 3.0], [3.0, -2.0, 1.0]
    full, faded = sigmoid(2.0), sigmoid(1.0 - 1.0)
    drop = class_score(soft.AverageDrop(ZERO), attribution, weight)
    assert drop == pytest.approx((full - faded) / full)
    assert class_score(soft.AverageIncrease(ZERO), attribution, weight) == 0
    assert class_score(soft.AverageGain(ZERO), attribution, weight) == 0


def test_fading_units_against_the_class_raises_its_probability() -> None:
    weight, attribution = [2.0, -2.0], [1.0, 0.1]
    assert class_score(soft.AverageDrop(ZERO), attribution, weight) == 0
    assert class_score(soft.AverageIncrease(ZERO), attribution, weight) == 1
    gain = (sigmoid(2.0) - sigmoid(0.0)) / (1 - sigmoid(0.0))
    assert class_score(soft.AverageGain(ZERO), attribution, weight) == pytest.approx(gain)


def test_units_fade_to_the_baseline() -> None:
    """The second unit goes from 1 to 5, which raises the probability."""
    gain = class_score(soft.AverageGain(Constant(5.0)), [2.0, 1.0], [1.0, 0.5])
    assert gain == pytest.approx((sigmoid(3.5) - sigmoid(1.5)) / (1 - sigmoid(1.5)))


@pytest.mark.parametrize("kind", [soft.AverageDrop, soft.AverageIncrease, soft.AverageGain])
def test_fading_is_not_scored_for_one_magnitude_and_needs_a_classifier(kind: Any) -> None:
    assert isnan(class_score(kind(ZERO), [0.0, 0.0], [1.0, 2.0]))
    assert isnan(class_score(kind(ZERO), [1.0, -1.0], [1.0, 2.0])), "one magnitude"
    with pytest.raises(Unsupported, match="classifier"):
        score(kind(ZERO), WEIGHT)


def test_the_gain_is_not_scored_where_the_probability_is_1() -> None:
    assert isnan(class_score(soft.AverageGain(ZERO), [1.0, 2.0], [300.0, 300.0]))
    assert class_score(soft.AverageIncrease(ZERO), [1.0, 2.0], [300.0, 300.0]) == 0


def test_the_map_of_the_units_for_the_class_beats_that_of_all_others() -> None:
    """Only the first two of eight units raise the probability: the map of them loses nothing."""
    weight = [2.0, 1.0, -0.5, -0.5, -0.5, 0.0, 0.0, 0.0]
    right = [abs(w) if w > 0 else 0.0 for w in weight]
    wrong = [0.0 if w > 0 else 1.0 for w in weight]
    for kind, sign in ((soft.AverageDrop, -1), (soft.AverageGain, 1)):
        best, worst = (class_score(kind(ZERO), map_, weight) for map_ in (right, wrong))
        assert sign * best > sign * worst


# Noise


@pytest.mark.slow
def test_noise_on_a_linear_model_has_its_expectation() -> None:
    """Four units: the top 5 to 25 % are one. Mean size of a normal: sqrt(2 / pi) of its spread."""
    draws = 1000
    scale = toy_worlds.linear(WEIGHT).inputs.domain.scale
    spread = (0.1 * scale * torch.tensor(WEIGHT)).tolist()
    top, rest = spread[0], sqrt(sum(s * s for s in spread[1:]))
    for metric, size in ((noise.PGI(n_draws=draws), top), (noise.PGU(n_draws=draws), rest)):
        expected = sqrt(2 / pi) * size
        assert score(metric, WEIGHT) == pytest.approx(expected, abs=4 * size / draws**0.5)


def test_without_noise_or_weight_nothing_changes() -> None:
    assert score(noise.PGI(sigma=0.0), WEIGHT) == 0
    assert score(noise.PGI(), [0.0, 0, 0, 1], [1.0, 1, 1, 0]) == 0
    assert score(noise.PGU(), [1.0, 0, 0, 0], [1.0, 0, 0, 0]) == 0


@pytest.mark.parametrize("top", [[1, 2, 3, 4, 5], [1, 1, 2, 2, 2]], ids=["20", "8"])
def test_a_reference_implementation_of_noise_agrees(top: list[int]) -> None:
    """5, 10, 15, 20 and 25 % of twenty units, and of eight."""
    n_units = 4 * top[-1]
    weight = toy_worlds.normal(n_units, seed=5)
    world = toy_worlds.linear(weight.tolist(), n=2)
    attribution = toy_worlds.normal(2, n_units, seed=6)
    case = world.case(attribution)
    draws = torch.stack([case.rng.child("noise", d).normal(n_units) for d in range(20)])
    change = weight * 0.1 * world.inputs.domain.scale * draws
    for row in range(2):
        order = attribution[row].abs().argsort(descending=True)
        of_top = [change[:, row, order[:k]].sum(1).abs().mean().item() for k in top]
        of_rest = [change[:, row, order[k:]].sum(1).abs().mean().item() for k in top]
        assert noise.PGI().score(case)[row].item() == pytest.approx(sum(of_top) / 5)
        assert noise.PGU().score(case)[row].item() == pytest.approx(sum(of_rest) / 5)


def test_rows_of_soft_metrics_are_those_of_the_closed_form() -> None:
    world = toy_worlds.tabular()  # five units: the top 5 to 20 % are one, 25 % are two
    metered = Metered(world.model)
    case = toy_worlds.World(metered, world.inputs, world.targets).case(  # type: ignore[arg-type]
        toy_worlds.normal(6, 7)
    )
    rows = 0
    for metric, cost in (
        (soft.SoftComprehensiveness(Marginal(3)), 1 + 20 * 3),
        (soft.SoftSufficiency(Marginal(3)), 1 + 20 * 3),
        (soft.AverageDrop(Marginal(3)), 1 + 3),
        (soft.AverageIncrease(Marginal(3)), 0),
        (soft.AverageGain(Marginal(3)), 0),
        (noise.PGI(), 1 + 2 * 20),
        (noise.PGU(), 1 + 2 * 20),
    ):
        metric.score(case)
        rows += cost
        assert metered.usage.rows_of(world.inputs.index)[0].tolist() == [rows] * 6
