"""What a metric must say when the model under an explanation becomes another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.certify.finding import CheckResult, number, verdict
from xai_bench.certify.metric_under_test import MetricUnderTest
from xai_bench.certify.toy_worlds import World, normal, seeded, world
from xai_bench.certify.variants import equipped
from xai_bench.types import Explanation, Inputs, Model, Rng

N = 300


@dataclass(frozen=True)
class ModelDependentMap:
    """An explainer whose map is a new one as soon as the output differs in its last digits."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        out = model.target_output(inputs, targets).detach().double()
        place = torch.arange(1, inputs.x[0].numel() + 1, dtype=torch.float64).sqrt()
        return Explanation((1e6 * out[:, None] * place).sin().view(inputs.x.shape))


@dataclass(frozen=True)
class ModelAgnosticMap:
    """An explainer that never asks the model."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(inputs.x * inputs.x * inputs.x)


def deaf_and_hearing(subject: MetricUnderTest) -> CheckResult:
    """A map that ignores the model never beats one that is new for every model."""
    deaf, hearing = (
        _score(subject, explainer) for explainer in (ModelAgnosticMap(), ModelDependentMap())
    )
    way = 1 if subject.metric.higher_is_better else -1
    error = hearing.std(correction=0).item() / N**0.5
    ahead = way * (deaf.nanmean() - hearing.nanmean()).item()
    values = f"{number(deaf.nanmean().item())}, {number(hearing.nanmean().item())}"
    fault = f"{subject.name}: a map that ignores the model beats one that does not: {values}"
    wrong = ahead > 4 * error + 1e-9
    return verdict("map that ignores the model, and one new for each", values, fault * wrong)


def chance(subject: MetricUnderTest) -> CheckResult | None:
    """The mean similarity of unrelated maps is what chance says."""
    expected = subject.expected.chance
    if expected is None:
        return None
    found = _score(subject, ModelDependentMap())
    mean, error = found.nanmean().item(), found.std(correction=0).item() / N**0.5
    shown = f"{number(mean)} ± {number(error)}; chance {number(expected)}"
    fault = f"{subject.name}: unrelated maps score {shown}"
    return verdict("unrelated maps", shown, fault * (abs(mean - expected) > 4 * error + 1e-9))


def _score(subject: MetricUnderTest, explainer: Any) -> Tensor:
    world = equipped(_network())
    return subject.score(world.case(world.explain(explainer), explainer=explainer))


def _network() -> World:
    """Eight columns and two hidden layers."""
    net = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU())
    net.append(nn.Linear(12, 3))
    return world(seeded(net), normal(N, 8, seed=1), torch.arange(8), normal(24, 8, seed=2))
