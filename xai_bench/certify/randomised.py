"""What a metric must say when the model under an explanation becomes another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.certify.check_result import Verdict, format_number
from xai_bench.certify.linear import N_STANDARD_ERRORS
from xai_bench.certify.metric_under_test import MetricUnderTest
from xai_bench.certify.toy_worlds import World, normal, seeded, world
from xai_bench.certify.variants import with_model_variants
from xai_bench.types import Explanation, Inputs, Model, Rng

N_SAMPLES = 300


@dataclass(frozen=True)
class ModelDependentMap:
    """An explainer whose map is a new one as soon as the output differs in its last digits."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Sines of the output times large factors, another one for every element."""
        out = model.target_output(inputs, targets).detach().double()
        place = torch.arange(1, inputs.x[0].numel() + 1, dtype=torch.float64).sqrt()
        # Sines of different frequencies are uncorrelated, whatever the output.
        return Explanation((1e6 * out[:, None] * place).sin().view(inputs.x.shape))


@dataclass(frozen=True)
class ModelAgnosticMap:
    """An explainer that does not use the model."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The cube of x."""
        return Explanation(inputs.x * inputs.x * inputs.x)


def check_model_dependence(subject: MetricUnderTest) -> Verdict:
    """A map that ignores the model never beats one that is new for every model."""
    agnostic = _scores(subject, ModelAgnosticMap())
    dependent = _scores(subject, ModelDependentMap())
    # Of means: single scores of unrelated maps scatter on both sides of chance.
    lead = subject.sign * (agnostic.nanmean() - dependent.nanmean()).item()
    values = ", ".join(format_number(s.nanmean().item()) for s in (agnostic, dependent))
    fault = f"{subject.name}: a map that ignores the model beats one that does not: {values}"
    return Verdict(values, fault * (lead > _largest_chance_deviation(dependent)))


def check_unrelated_maps(subject: MetricUnderTest) -> Verdict | None:
    """The mean similarity of unrelated maps is what chance gives."""
    chance = subject.tags.known_scores.random
    if chance is None:
        return None
    scores = _scores(subject, ModelDependentMap())
    mean, error = scores.nanmean().item(), _standard_error(scores)
    shown = f"{format_number(mean)} ± {format_number(error)}; chance {format_number(chance)}"
    fault = f"{subject.name}: unrelated maps score {shown}"
    return Verdict(shown, fault * (abs(mean - chance) > _largest_chance_deviation(scores)))


def _standard_error(scores: Tensor) -> float:
    error: float = scores.std(correction=0).item() / N_SAMPLES**0.5
    return error


def _largest_chance_deviation(scores: Tensor) -> float:
    return N_STANDARD_ERRORS * _standard_error(scores) + 1e-9


def _scores(subject: MetricUnderTest, explainer: Any) -> Tensor:
    world = with_model_variants(_network())
    return subject.score(world.case(world.explain(explainer), explainer=explainer))


def _network() -> World:
    """Eight columns and two hidden layers."""
    net = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU())
    net.append(nn.Linear(12, 3))
    columns, background = torch.arange(8), normal(24, 8, seed=2)
    return world(seeded(net), normal(N_SAMPLES, 8, seed=1), columns, background)
