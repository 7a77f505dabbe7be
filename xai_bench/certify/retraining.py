"""What a metric that retrains, or explains other samples, must say where all of it is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.certify.check_result import Verdict, format_number
from xai_bench.certify.linear import N_STANDARD_ERRORS
from xai_bench.certify.metric_under_test import MetricUnderTest
from xai_bench.certify.toy_worlds import Linear, World, normal, world
from xai_bench.certify.variants import with_model_variants
from xai_bench.types import Case, Explanation, Inputs, Model, Rng, Unsupported

WEIGHT = (12.0, 5.0, 3.0, 2.0, 1.0, 0.5)
"""The first outweighs all others together, so that it decides the class."""


@dataclass(frozen=True)
class ExactMap:
    """`gradient * x`, the contributions of a linear model; with `power` -1, the smallest first."""

    power: int = 1

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Signs stay as they are; sizes are raised to `power`."""
        x = inputs.x.detach().clone().requires_grad_()
        with torch.enable_grad():
            out = model.target_output(inputs.with_x(x), targets).sum()
        exact = torch.autograd.grad(out, x)[0] * inputs.x
        # Sizes to the power of -1 keep signs and reverse the order.
        size = torch.where(exact == 0, 1, exact.abs()) ** self.power
        return Explanation(torch.where(exact == 0, 0, exact.sign() * size))


@dataclass(frozen=True)
class RandomMap:
    """Random numbers, others for every model."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Sines at random angles, which the output turns by many rounds."""
        out = model.target_output(inputs, targets).detach().double()
        place = torch.arange(1, inputs.x[0].numel() + 1, dtype=torch.float64).sqrt()
        # Angles of the stream differ from sample to sample, those of the output from model to
        # model.
        turn = 2 * torch.pi * rng.uniform(len(place)) + 1e6 * out[:, None] * place
        return Explanation(turn.sin().view(inputs.x.shape))


def check_known_scores(subject: MetricUnderTest) -> Verdict | None:
    """The exact map, its reverse order and random maps have the scores that mathematics gives."""
    expected = subject.tags.known_scores_retrained
    if expected is None:
        return None
    explainers = (ExactMap(), ExactMap(-1), RandomMap())
    exact, opposite, random = (_scores(subject, explainer) for explainer in explainers)
    means = [scores.nanmean().item() for scores in (exact, opposite, random)]
    scored = random[~random.isnan()]
    error = scored.std(correction=0).item() / len(scored) ** 0.5
    by_hand = (expected.exact, expected.opposite, expected.random)
    # The first two are exact but for rounding in least squares fits, the third is drawn.
    tolerances = (1e-6, 1e-6, N_STANDARD_ERRORS * error)
    wrong = any(
        value is not None and abs(mean - value) > tolerance * max(1.0, abs(value))
        for value, mean, tolerance in zip(by_hand, means, tolerances, strict=True)
    )
    best = subject.sign * means[0] > subject.sign * means[2] + 1e-3
    shown = ", ".join(map(format_number, means))
    hand = ", ".join("-" if value is None else format_number(value) for value in by_hand)
    fault = f"{subject.name} is {shown} for the exact map, the reverse and random numbers; by hand"
    fault = f"{fault} {hand}, and the exact map is to be best"
    shown = f"{shown} ± {format_number(error)}; by hand {hand}"
    return Verdict(shown, fault if wrong or not best else "")


def _scores(subject: MetricUnderTest, explainer: Any) -> Tensor:
    """`[B]`, in the first task in which the metric can score."""
    reasons = []
    for build in (regression_task, classification_task, colour_task):
        try:
            return subject.against(0.0).score(_case(build(), explainer))
        except Unsupported as reason:
            reasons.append(reason)
    raise reasons[-1]


def _case(world: World, explainer: Any) -> Case:
    """The labels of a regressor are its outputs."""
    case = world.case(world.explain(explainer), explainer=explainer)
    with torch.no_grad():
        outputs = world.model.outputs(world.inputs)
    return case if outputs.shape[1] > 1 else replace(case, labels=outputs[:, 0])


def regression_task() -> World:
    """`f = WEIGHT . x` at every corner of a cube.

    Columns are independent there, so a model without some of them is wrong by what they are worth.
    """
    x = _corners()
    linear = Linear(torch.tensor(WEIGHT))
    return with_model_variants(world(linear, x, torch.arange(len(WEIGHT)), x))


def classification_task() -> World:
    """Outputs `f` and `-f` at the same corners: the class is the sign of the first column."""
    x, layer = _corners(), nn.Linear(len(WEIGHT), 2, bias=False)
    weight = torch.tensor(WEIGHT)
    layer.weight = nn.Parameter(torch.stack([weight, -weight]))
    return with_model_variants(world(layer, x, torch.arange(len(WEIGHT)), x))


class ChannelMeans(nn.Module):
    """The mean of each channel, one class per colour."""

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W] -> [B, C]`."""
        return x.mean((2, 3))


def colour_task() -> World:
    """Images of one colour each, three colours, 8 x 8 pixels: the class is the colour."""
    shade = 1 + 0.3 * normal(240, 1, 8, 8, seed=5).clamp(-3, 3)
    x = nn.functional.one_hot(torch.arange(240) % 3, 3).double()[:, :, None, None] * shade
    pixels = torch.arange(64).view(8, 8).expand(3, 8, 8)
    return with_model_variants(world(ChannelMeans(), x[60:], pixels, x[:60]))


def _corners() -> Tensor:
    """`[64, 6]`: every combination of -1 and 1."""
    side = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    return torch.cartesian_prod(*[side] * len(WEIGHT))
