"""What a metric must say of a linear model, of which everything is known."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_bench.certify.check_result import Verdict, format_number
from xai_bench.certify.metric_under_test import (
    MetricUnderTest,
    eight_units,
    nearly_constant,
    with_large_batches,
    with_truth,
)
from xai_bench.certify.toy_worlds import Linear, World, linear, normal, world
from xai_bench.types import Case

N_RANDOM = 600
"""Random maps whose mean is held against chance: enough for an error of a 25th of their spread."""

N_TRIALS, PER_TRIAL = 20, 16
"""How often three maps are compared, and on how many samples each time."""

RELEVANT_ABOVE = 5
"""Contributions above this, three of eight, are relevant where a metric asks what matters."""

N_STANDARD_ERRORS = 4
"""A mean that lies further from its expectation is wrong: by chance 6 times in 100 000."""


def check_exact_map(subject: MetricUnderTest) -> Verdict:
    """The exact map of eight units has the score that mathematics gives."""
    expected, value = subject.tags.known_scores.exact, _mean_on_eight_units(subject, 1.0)
    return Verdict(_beside_known(value, expected), _unlike_known(subject, value, expected))


def check_negative_map(subject: MetricUnderTest) -> Verdict:
    """Its negative has the score that mathematics gives, and is never better."""
    expected = subject.tags.known_scores.opposite
    value, best = (_mean_on_eight_units(subject, factor) for factor in (-1.0, 1.0))
    fault = _unlike_known(subject, value, expected)
    if not fault and subject.sign * value > subject.sign * best + 1e-9:
        fault = f"{subject.name}: the negative scores {format_number(value)}, the exact map "
        fault += format_number(best)
    blind = "; the sign does not count" if value == best else ""
    return Verdict(_beside_known(value, expected) + blind, fault)


def check_random_maps(subject: MetricUnderTest) -> Verdict:
    """Maps of random numbers have on average what chance gives."""
    scores = random_map_scores(subject, N_RANDOM, seed=11)
    if not len(scores):
        return Verdict("NaN")
    # Four of these, not a fixed tolerance: the bound follows the metric's own spread.
    error = scores.std(correction=0).item() / len(scores) ** 0.5
    shown = f"{format_number(scores.mean().item())} ± {format_number(error)}"
    chance = subject.tags.known_scores.random
    if chance is None:
        return Verdict(shown)
    wrong = abs(scores.mean().item() - chance) > N_STANDARD_ERRORS * error + 1e-9
    fault = f"{subject.name}: random maps score {shown}, but chance is {format_number(chance)}"
    return Verdict(f"{shown}; chance {format_number(chance)}", fault if wrong else "")


def random_map_scores(subject: MetricUnderTest, n: int, seed: int) -> Tensor:
    """`[at most n]`: scores of normal random maps on eight units, without those that are NaN."""
    world, exact = eight_units(n)
    scores = subject.against(0.0).score(_case(subject, world, normal(n, 8, seed=seed), exact))
    return scores[~scores.isnan()]


def check_order(subject: MetricUnderTest) -> Verdict:
    """Exact beats noisy beats random; the power is how often 16 samples show it."""
    trials = _goodness_of_three(subject, *_noisy_maps())
    if (trials == trials[0]).all():  # all maps are alike to a metric of which units matter at all
        trials = _goodness_of_three(subject, *_maps_with_unused_units())
    means = trials.nanmean(1).tolist()
    # By a margin, for means that differ by rounding are no order.
    ordered = means[0] > means[1] + 1e-3 and means[1] > means[2] + 1e-3
    power = int(((trials[0] > trials[1]) & (trials[1] > trials[2])).sum())
    shown = f"yes; {PER_TRIAL} samples show it in {power} of {N_TRIALS} trials"
    fault = f"{subject.name} does not order exact, noisy and random maps: their goodness is "
    fault += ", ".join(map(format_number, means))
    return Verdict(shown, "" if ordered else fault)


def check_no_map_beats_exact(subject: MetricUnderTest) -> Verdict:
    """No random map and no exact answer to another question beats the exact map.

    The baseline is far off, at 2, so that x, x less the baseline and their negatives differ.
    Without a baseline, other maps than the exact one may be right: only random ones are tried, and
    its negative. Metrics that are right on average only are held to their means.
    """
    world, _ = _random_points(60)
    weight, x, metric = _weight(), world.inputs.x, subject.against(2.0)
    has_baseline = metric is not subject
    # Of a linear model the contributions are known for any baseline.
    exact = weight * (x - (2 if has_baseline else 0.1))
    others = [-exact, *(normal(*x.shape, seed=seed) for seed in range(4))]
    if has_baseline:
        others += [weight * x, -weight * x, weight.expand_as(x)]
    best, *rivals = [_goodness(metric, world, a, exact) for a in (exact, *others)]
    beaten = any((rival > best + 1e-9).any() for rival in rivals)
    # A metric that is blind to signs cannot tell the negative from the exact map.
    tied = not subject.tags.sign_invariant and bool((rivals[0] >= best).any())
    means = [format_number(goodness.nanmean().item()) for goodness in (best, *rivals)]
    fault = f"{subject.name}: a wrong map scores as well as the exact one or better; goodness is "
    fault += f"{means[0]} for the exact map, {', '.join(means[1:])} for wrong ones"
    return Verdict("yes", fault if beaten or tied else "")


def _goodness(subject: MetricUnderTest, world: World, attribution: Tensor, exact: Tensor) -> Tensor:
    """`[B]`, or their mean `[1]` where only that is bound to be best for the exact map."""
    goodness = subject.goodness(_case(subject, world, attribution, exact))
    return goodness if subject.tags.best_per_sample else goodness.nanmean(0, keepdim=True)


def check_zero_map(subject: MetricUnderTest) -> Verdict:
    """A map of zeros is never best."""
    value, best = (_mean_on_eight_units(subject, factor) for factor in (0.0, 1.0))
    fault = f"{subject.name}: a map of zeros scores {format_number(value)}, as well as the exact "
    fault += "map"
    return Verdict(
        format_number(value), fault if subject.sign * value >= subject.sign * best else ""
    )


def check_permutation_invariance(subject: MetricUnderTest) -> Verdict:
    """Columns in another order change no score, unless the metric states otherwise.

    They are permuted in x, model, map and truth alike, with one reference, so nothing is drawn.
    """
    straight, permuted = (
        subject.against(0.0).score(case) for case in cases_in_two_orders(subject, n=6)
    )
    same = torch.allclose(straight, permuted, rtol=1e-9, atol=1e-12, equal_nan=True)
    fault = f"{subject.name}: units in another order have other scores; if they should, let the "
    fault += "class state permutation_invariant = False"
    wrong = subject.tags.permutation_invariant and not same
    return Verdict("yes" if same else "no", fault if wrong else "")


def cases_in_two_orders(subject: MetricUnderTest, n: int) -> list[Case]:
    """`n` noisy maps of a linear model of five columns, and the same with its columns permuted."""
    # No column stays where it was.
    orders = torch.tensor([[0, 1, 2, 3, 4], [3, 0, 4, 1, 2]])
    return [_ordered(subject, n, order) for order in orders]


def _ordered(subject: MetricUnderTest, n: int, order: Tensor) -> Case:
    """The case whose columns come in this order, in everything that a metric sees."""
    weight, x = normal(5, seed=3)[order], normal(n, 5, seed=4)[:, order]
    exact = weight * x
    attribution = exact + 0.3 * normal(n, 5, seed=5)[:, order]
    columns = world(Linear(weight), x, torch.arange(5), normal(32, 5, seed=1)[:, order])
    case = with_truth(with_large_batches(columns).case(attribution), exact)
    return case if _scored(subject, case) else with_truth(case, torch.where(order < 2, exact, 0))


def check_constant_model(subject: MetricUnderTest) -> Verdict:
    """A model that ignores x scores the same with ten units and with twenty."""
    # What grows with the number of units alone is no property of the map.
    ten, twenty = (_on_constant_model(subject, n_units) for n_units in (10, 20))
    same = (ten.isnan() == twenty.isnan()).all() and torch.allclose(
        ten.nan_to_num(), twenty.nan_to_num(), rtol=1e-9, atol=1e-12
    )
    values = [format_number(scores.mean().item()) for scores in (ten, twenty)]
    fault = f"{subject.name} on a model that ignores x: {values[0]} with ten units, {values[1]} "
    return Verdict(values[0], "" if same else f"{fault}with 20")


def check_nothing_to_find(subject: MetricUnderTest) -> Verdict | None:
    """Where the truth is zero everywhere, no explanation may be called right."""
    if not subject.reads_truth:
        return None
    world, exact = eight_units(4)
    metric, nothing = subject.against(0.0), torch.zeros_like(exact)
    random = metric.goodness(with_truth(world.case(normal(4, 8, seed=11)), nothing))
    best = metric.goodness(_case(subject, world, exact, exact))
    wrong = (random >= best.nan_to_num(nan=torch.inf)).any()
    value = format_number(subject.score(with_truth(world.case(exact), nothing)).mean().item())
    fault = f"{subject.name}: where there is nothing to find, a random map scores the best value"
    return Verdict(value, fault if wrong else "")


def _mean_on_eight_units(subject: MetricUnderTest, factor: float) -> float:
    """The mean score of `factor` times the exact map of eight units."""
    world, exact = eight_units(20)
    case = _case(subject, world, exact, exact, factor)
    return subject.against(0.0).score(case).mean().item()


def _case(
    subject: MetricUnderTest, world: World, attribution: Tensor, exact: Tensor, factor: float = 1.0
) -> Case:
    """`factor` times the map, with a truth that the metric can score.

    The truth is all contributions; or, where every unit being relevant leaves nothing to score,
    only the large ones, which then also are the exact map.
    """
    case = with_truth(world.case(factor * attribution), exact)
    if _scored(subject, case):
        return case
    sparse = torch.where(exact > RELEVANT_ABOVE, exact, 0)
    chosen = sparse if attribution is exact else attribution
    return with_truth(case, sparse).with_attribution(factor * chosen)


def _scored(subject: MetricUnderTest, case: Case) -> bool:
    """Whether the truth of the case leaves a metric of truth anything to score."""
    return not subject.reads_truth or not subject.against(0.0).score(case).isnan().all()


def _on_constant_model(subject: MetricUnderTest, n_units: int) -> Tensor:
    world = nearly_constant(36.0, n_units)
    attribution = torch.full_like(world.inputs.x, 1 / n_units)
    return subject.against(0.0).score(with_truth(world.case(attribution), attribution))


def _noisy_maps() -> tuple[World, Tensor, Tensor, Tensor]:
    """A linear model; its exact map, what is added to it, and a map of nothing but noise."""
    world, exact = _random_points(N_TRIALS * PER_TRIAL)
    # Of the size of the map: less would be ordered by any metric, more by none.
    noise = normal(*exact.shape, seed=9) * exact.std()
    return world, exact, 0.7 * noise, noise


def _maps_with_unused_units() -> tuple[World, Tensor, Tensor, Tensor]:
    """Two of eight units are unused: the noisy map gives credit to one, the random one to both."""
    n = N_TRIALS * PER_TRIAL
    weight, x = _weight() * (torch.arange(8) < 6), normal(n, 8, seed=8)
    noise = normal(n, 8, seed=9)
    one_unused, both_unused = (noise * (torch.arange(8) >= first) for first in (7, 6))
    exact = weight * (x - 0.1)
    world = with_large_batches(linear(weight.tolist(), x=x))
    return world, exact, one_unused, exact + both_unused


def _goodness_of_three(
    subject: MetricUnderTest, world: World, exact: Tensor, noise: Tensor, random: Tensor
) -> Tensor:
    """`[3, trials]`: mean goodness of the exact map, the noisy one and the random one."""
    has_rationale = "rationale" in subject.tags.needs
    # A rationale marks few units, or chance is too near to the best to be told apart.
    n_true = 2 if has_rationale else 6
    truth = torch.where(torch.arange(8) < n_true, exact, 0)
    right = truth if subject.reads_truth else exact
    metric = subject.against(0.1)
    maps = [right, right + noise, random]
    if has_rationale:  # a rationale has no sign
        maps = [a.abs() for a in maps]
    scores = [metric.goodness(with_truth(world.case(a), truth)) for a in maps]
    return torch.stack([s.view(N_TRIALS, PER_TRIAL).nanmean(1) for s in scores])


def _random_points(n: int) -> tuple[World, Tensor]:
    """A linear model at random points, and its exact contributions against 0.1."""
    weight = _weight()
    world = with_large_batches(linear(weight.tolist(), x=normal(n, 8, seed=8)))
    return world, weight * (world.inputs.x - 0.1)


def _weight() -> Tensor:
    return normal(8, seed=7)


def _beside_known(value: float, expected: float | None) -> str:
    shown = format_number(value)
    return shown if expected is None else f"{shown}; by hand {format_number(expected)}"


def _unlike_known(subject: MetricUnderTest, value: float, expected: float | None) -> str:
    """The fault of a value that is not what mathematics gives, but for rounding."""
    if expected is None or abs(value - expected) <= 1e-9 * max(1, abs(expected)):
        return ""
    return f"{subject.name} is {format_number(value)}, but by hand {format_number(expected)}"
