"""What a metric that trains or shows other things must say where all of it is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.certify.finding import CheckResult, number, verdict
from xai_bench.certify.metric_under_test import MetricUnderTest
from xai_bench.certify.toy_worlds import Linear, World, normal, world
from xai_bench.certify.variants import equipped
from xai_bench.types import Case, Explanation, Inputs, Model, Rng, Unsupported

WEIGHT = (12.0, 5.0, 3.0, 2.0, 1.0, 0.5)
"""The first outweighs all others, so that it decides the class."""


@dataclass(frozen=True)
class Exact:
    """`gradient * x`, the contributions of a linear model; with `power` -1, the smallest first."""

    power: int = 1

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        x = inputs.x.detach().clone().requires_grad_()
        with torch.enable_grad():
            out = model.target_output(inputs.with_x(x), targets).sum()
        found = torch.autograd.grad(out, x)[0] * inputs.x
        size = torch.where(found == 0, 1, found.abs()) ** self.power
        return Explanation(torch.where(found == 0, 0, found.sign() * size))


@dataclass(frozen=True)
class Chance:
    """Random numbers, others for every model."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        out = model.target_output(inputs, targets).detach().double()
        place = torch.arange(1, inputs.x[0].numel() + 1, dtype=torch.float64).sqrt()
        turn = 2 * torch.pi * rng.uniform(len(place)) + 1e6 * out[:, None] * place
        return Explanation(turn.sin().view(inputs.x.shape))


def anew(subject: MetricUnderTest) -> CheckResult | None:
    """Metrics with a laboratory: the exact map, its reverse order, and random numbers."""
    expected, way = subject.taught, 1 if subject.metric.higher_is_better else -1
    if expected is None:
        return None
    found = [_score(subject, explainer) for explainer in (Exact(), Exact(-1), Chance())]
    means = [scores.nanmean().item() for scores in found]
    random = found[2][~found[2].isnan()]
    error = random.std(correction=0).item() / len(random) ** 0.5
    by_hand = (expected.best, expected.reverse, expected.chance)
    bounds = (1e-6, 1e-6, 4 * error)
    wrong = any(
        hand is not None and abs(mean - hand) > bound * max(1.0, abs(hand))
        for hand, mean, bound in zip(by_hand, means, bounds, strict=True)
    )
    values = ", ".join(map(number, means))
    hands = ", ".join("-" if hand is None else number(hand) for hand in by_hand)
    fault = f"{subject.name} is {values} for the exact map, the reverse and random numbers; by hand"
    fault = f"{fault} {hands}, and the exact map is to be best"
    right = not wrong and way * means[0] > way * means[2] + 1e-3
    shown = f"{values} ± {number(error)}; by hand {hands}"
    return verdict("taught anew: exact map, reverse order, random", shown, fault * (not right))


def _score(subject: MetricUnderTest, explainer: Any) -> Tensor:
    """`[B]`, in the first world in which the metric can score."""
    reasons = []
    for build in (values, classes, colours):
        try:
            return subject.against(0.0).score(_case(build(), explainer))
        except Unsupported as reason:
            reasons.append(reason)
    raise reasons[-1]


def _case(world: World, explainer: Any) -> Case:
    case = world.case(world.explain(explainer), explainer=explainer)
    with torch.no_grad():
        outputs = world.model.outputs(world.inputs)
    return case if outputs.shape[1] > 1 else replace(case, labels=outputs[:, 0])


def values() -> World:
    """`f = WEIGHT . x` at every corner of a cube: columns have nothing to do with each other, so a
    model without some of them is wrong by what they are worth.
    """
    x = _corners()
    return equipped(world(Linear(torch.tensor(WEIGHT)), x, torch.arange(len(WEIGHT)), x))


def classes() -> World:
    """Outputs `f` and `-f` at the same corners: the class is the sign of the first column."""
    x, layer = _corners(), nn.Linear(len(WEIGHT), 2, bias=False)
    weight = torch.tensor(WEIGHT)
    layer.weight = nn.Parameter(torch.stack([weight, -weight]))
    return equipped(world(layer, x, torch.arange(len(WEIGHT)), x))


class Brightness(nn.Module):
    """The mean of each channel: how much there is of a colour."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def colours() -> World:
    """Images of one colour each, three colours, 8 x 8 pixels: the class is the colour."""
    shade = 1 + 0.3 * normal(240, 1, 8, 8, seed=5).clamp(-3, 3)
    x = nn.functional.one_hot(torch.arange(240) % 3, 3).double()[:, :, None, None] * shade
    return equipped(
        world(Brightness(), x[60:], torch.arange(64).view(8, 8).expand(3, 8, 8), x[:60])
    )


def _corners() -> Tensor:
    side = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    return torch.cartesian_prod(*[side] * len(WEIGHT))
