"""What a metric must say of a linear model, of which everything is known."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_bench.certify.finding import CheckResult, number, verdict
from xai_bench.certify.metric_under_test import MetricUnderTest, flat, ladder, roomy, told
from xai_bench.certify.toy_worlds import World, linear, normal
from xai_bench.types import Case, tags_of

N_RANDOM = 600
N_TRIALS, PER_TRIAL = 20, 16
SPARSE = 5
"""Contributions above this are the truth of metrics that ask which units matter at all."""


def exact_map(subject: MetricUnderTest) -> CheckResult:
    """The exact map, on the ladder."""
    expected, value = subject.expected.best, _on_ladder(subject, 1.0)
    return verdict("exact map", _against(value, expected), _unlike(subject, value, expected))


def negative_map(subject: MetricUnderTest) -> CheckResult:
    """Its negative is never better."""
    expected, value, best = subject.expected.reverse, *(_on_ladder(subject, f) for f in (-1, 1))
    way = 1 if subject.metric.higher_is_better else -1
    fault = _unlike(subject, value, expected)
    if not fault and way * value > way * best + 1e-9:
        fault = f"{subject.name}: the negative scores {number(value)}, the exact map {number(best)}"
    blind = "; the sign does not count" if value == best else ""
    return verdict("its negative", _against(value, expected) + blind, fault)


def random_maps(subject: MetricUnderTest) -> CheckResult:
    """Maps of random numbers, whose mean must be what chance says."""
    world, exact = ladder(N_RANDOM)
    found = subject.against(0.0).score(_case(subject, world, normal(N_RANDOM, 8, seed=11), exact))
    found = found[~found.isnan()]
    if not len(found):
        return CheckResult("random maps", "NaN")
    error = found.std(correction=0).item() / len(found) ** 0.5
    shown = f"{number(found.mean().item())} ± {number(error)}"
    chance = subject.expected.chance
    if chance is None:
        return CheckResult("random maps", shown)
    wrong = abs(found.mean().item() - chance) > 4 * error + 1e-9
    fault = f"{subject.name}: random maps score {shown}, but chance is {number(chance)}"
    return verdict("random maps", f"{shown}; chance {number(chance)}", fault if wrong else "")


def order(subject: MetricUnderTest) -> CheckResult:
    """Exact beats noisy beats random; the power is how often 16 samples tell it."""
    trials = _ranked(subject, *_noisy())
    if (trials == trials[0]).all():  # nothing to tell where every unit matters
        trials = _ranked(subject, *_dead())
    means = trials.nanmean(1).tolist()
    told_apart = means[0] > means[1] + 1e-3 and means[1] > means[2] + 1e-3
    power = int(((trials[0] > trials[1]) & (trials[1] > trials[2])).sum())
    shown = f"yes; {PER_TRIAL} samples tell it in {power} of {N_TRIALS} trials"
    fault = f"{subject.name} does not tell exact from noisy from random: goodness "
    fault += ", ".join(map(number, means))
    return verdict("exact > noisy > random", shown, "" if told_apart else fault)


def rivals(subject: MetricUnderTest) -> CheckResult | None:
    """Nothing beats the exact map: neither random maps nor answers to other questions.

    The baseline lies far off, at 2, so that x, x less the baseline and their negatives differ.
    """
    if subject.against(2.0) is subject:  # it has no baseline, so another map may be right
        return None
    world, _ = _many(60)
    weight, x = _weight(), world.inputs.x
    maps = [weight * x, -weight * x, -weight * (x - 2), weight.expand_as(x)]
    maps += [normal(*x.shape, seed=seed) for seed in range(4)]
    metric = subject.against(2.0)
    exact = weight * (x - 2)
    best = metric.goodness(_case(subject, world, exact, exact)).nanmean().item()
    others = [metric.goodness(_case(subject, world, a, exact)).nanmean().item() for a in maps]
    wrong = [value for value in others if value > best + 1e-9]
    fault = f"{subject.name}: a wrong map reaches {number(max(wrong, default=0))}, beyond the "
    fault += f"{number(best)} of the exact one (larger is better here)"
    return verdict("no map beats the exact one", "yes", fault if wrong else "")


def zero_map(subject: MetricUnderTest) -> CheckResult:
    """A map of zeros is never best."""
    value, best = _on_ladder(subject, 0.0), _on_ladder(subject, 1.0)
    way = 1 if subject.metric.higher_is_better else -1
    fault = f"{subject.name}: a map of zeros scores {number(value)}, as well as the exact map"
    return verdict("map of zeros", number(value), fault if way * value >= way * best else "")


def constant_model(subject: MetricUnderTest) -> CheckResult:
    """A model that ignores x, with ten units and with twenty: their number is no merit."""
    small, large = (_flat(subject, n_units) for n_units in (10, 20))
    alike = (small.isnan() == large.isnan()).all() and torch.allclose(
        small.nan_to_num(), large.nan_to_num(), rtol=1e-9, atol=1e-12
    )
    values = f"{number(small.mean().item())} with ten units, {number(large.mean().item())} with 20"
    fault = f"{subject.name} on a model that ignores x: {values}"
    return verdict("model that ignores x", number(small.mean().item()), "" if alike else fault)


def nothing_to_find(subject: MetricUnderTest) -> CheckResult | None:
    """Without evidence there is nothing to find: no explanation may be called right."""
    if not subject.reads_truth:
        return None
    world, exact = ladder(4)
    metric = subject.against(0.0)
    found = metric.goodness(told(world.case(normal(4, 8, seed=11)), torch.zeros_like(exact)))
    best = metric.goodness(_case(subject, world, exact, exact))
    wrong = (found >= best.nan_to_num(nan=torch.inf)).any()
    value = number(subject.score(told(world.case(exact), torch.zeros_like(exact))).mean().item())
    fault = f"{subject.name}: where there is nothing to find, a random map scores the best value"
    return verdict("nothing to find", value, fault if wrong else "")


def _on_ladder(subject: MetricUnderTest, factor: float) -> float:
    """The mean score of `factor` times the exact map."""
    world, exact = ladder(20)
    found = subject.against(0.0).score(_case(subject, world, exact, exact, factor))
    return found.mean().item()


def _case(
    subject: MetricUnderTest, world: World, attribution: Tensor, exact: Tensor, factor: float = 1.0
) -> Case:
    """With a truth that the metric can score: all contributions, or those that are large."""
    case = told(world.case(factor * attribution), exact)
    if not subject.reads_truth or not subject.against(0.0).score(case).isnan().all():
        return case
    sparse = torch.where(exact > SPARSE, exact, 0)
    wanted = sparse if attribution is exact else attribution
    return told(case, sparse).with_attribution(factor * wanted)


def _flat(subject: MetricUnderTest, n_units: int) -> Tensor:
    world = flat(36.0, n_units)
    attribution = torch.full_like(world.inputs.x, 1 / n_units)
    return subject.against(0.0).score(told(world.case(attribution), attribution))


def _noisy() -> tuple[World, Tensor, Tensor, Tensor]:
    """A linear model; its exact map, what is added to it, and a map of nothing but noise."""
    world, exact = _many(N_TRIALS * PER_TRIAL)
    noise = normal(*exact.shape, seed=9) * exact.std()
    return world, exact, 0.7 * noise, noise


def _dead() -> tuple[World, Tensor, Tensor, Tensor]:
    """Two of eight units are not used: a noisy map gives credit to one, a random one to both."""
    n = N_TRIALS * PER_TRIAL
    weight, x = _weight() * (torch.arange(8) < 6), normal(n, 8, seed=8)
    noise = normal(n, 8, seed=9)
    seventh, unused = (noise * (torch.arange(8) >= first) for first in (7, 6))
    exact = weight * (x - 0.1)
    return roomy(linear(weight.tolist(), x=x)), exact, seventh, exact + unused


def _ranked(
    subject: MetricUnderTest, world: World, exact: Tensor, noise: Tensor, random: Tensor
) -> Tensor:
    """`[3, trials]`: mean goodness of the exact map, the noisy one and the random one."""
    n_true = 2 if "rationale" in tags_of(subject.metric).needs else 6
    truth = torch.where(torch.arange(8) < n_true, exact, 0)
    right = truth if subject.reads_truth else exact
    metric = subject.against(0.1)
    maps = [right, right + noise, random]
    if "rationale" in tags_of(subject.metric).needs:  # evidence has no sign
        maps = [a.abs() for a in maps]
    scores = [metric.goodness(told(world.case(a), truth)) for a in maps]
    return torch.stack([s.view(N_TRIALS, PER_TRIAL).nanmean(1) for s in scores])


def _many(n: int) -> tuple[World, Tensor]:
    """A linear model at random points, and its exact contributions against 0.1."""
    weight = _weight()
    world = roomy(linear(weight.tolist(), x=normal(n, 8, seed=8)))
    return world, weight * (world.inputs.x - 0.1)


def _weight() -> Tensor:
    return normal(8, seed=7)


def _against(value: float, expected: float | None) -> str:
    return number(value) if expected is None else f"{number(value)}; by hand {number(expected)}"


def _unlike(subject: MetricUnderTest, value: float, expected: float | None) -> str:
    if expected is None or abs(value - expected) <= 1e-9 * max(1, abs(expected)):
        return ""
    return f"{subject.name} is {number(value)}, but by hand {number(expected)}"
