"""The certificate: what every metric in `conf/metric` must show. New YAMLs are tried unasked."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import combinations
from math import comb, pi
from statistics import NormalDist, fmean
from typing import Any, cast

import pytest
import torch
from scipy.special import gamma, hyp1f1
from torch import Tensor

from tests.support import toy_worlds
from tests.support.components import component, options
from xai_bench.types import (
    Case,
    Explanation,
    Inputs,
    Kind,
    Metric,
    Model,
    Rng,
    Unsupported,
    tags_of,
)

NAMES = options("metric")
CATEGORIES = {
    "fidelity", "stability", "truth", "randomisation", "complexity", "fairness", "cost",
    "distribution", "counterfactual", "surrogate",
}  # fmt: skip
UNIT_BEARING = {
    "infidelity", "completeness_gap", "surrogate_r2", "shapley_distance", "interval_coverage",
    "own_surrogate_r2",
}  # fmt: skip
"""Metrics that compare attributions with outputs in size: all others ignore a positive factor."""

UNSIGNED = {
    "monotonicity_correlation", "monotonicity_arya", "non_sensitivity", "infidelity_scaled",
    "pgi", "pgu",
}  # fmt: skip
"""Fidelity by magnitude: a map and its negative score alike."""
RATIOS = {"infidelity_scaled", "surrogate_r2"}
"""Ratios of means over draws, whose chance level is shown in their own tests with many draws."""
ON_AVERAGE = {"soft_comprehensiveness", "soft_sufficiency", "pgi", "pgu"}
"""Metrics that prefer right maps on average; no theorem says that they do for every sample."""
NOT_HERE = {"non_sensitivity": "in a world where every unit matters, all maps without zeros agree"}
"""Metrics whose order of right and wrong is shown in their own tests, in another world."""

metrics = pytest.mark.parametrize("name", NAMES)
worlds = pytest.mark.parametrize("where", list(toy_worlds.WORLDS))


def of(*categories: str) -> pytest.MarkDecorator:
    chosen = [name for name in NAMES if component("metric", name).category in categories]
    return pytest.mark.parametrize("name", chosen)


@dataclass(frozen=True)
class Cubes:
    """`factor * (x^3 + noise)`; products only, whose bits do not depend on the batch."""

    factor: float = 1.0
    noise: float = 0.1

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        x = inputs.x
        found = self.factor * (x * x * x + self.noise * rng.normal(*x.shape[1:]))
        return Explanation(torch.where(inputs.units < 0, 0, found))


def changed(name: str, **changes: Any) -> Metric:
    """The metric as configured, but for these fields where it has them."""
    names = {field.name for field in fields(component("metric", name))}
    known = {k: v for k, v in changes.items() if k in names}
    return cast(Metric, component("metric", name, **known))


@cache
def quick(name: str) -> Metric:
    return changed(name, n_draws=4, n_repeats=2)


@cache
def against(value: float, name: str) -> Metric:
    """With a constant baseline."""
    constant = {"_target_": "xai_bench.core.baselines.Constant", "value": value}
    return changed(name, baseline=constant)


def case_of(world: toy_worlds.World, explainer: Any = None, shared: Any = None) -> Case:
    explainer = explainer or Cubes()
    attribution = world.explain(explainer)
    truth = world.explain(Cubes(noise=0.5))
    sparse = torch.where(world.inputs.units % 2 == 0, truth, 0)
    return world.case(attribution, "contribution", explainer, sparse, shared)


def outcome(metric: Metric, case: Case) -> Tensor | str:
    """What the metric says, or why it declines."""
    try:
        return metric.score(case)
    except Unsupported as reason:
        return str(reason)


def scores(metric: Metric, case: Case) -> Tensor:
    """What the metric says; the test is skipped where it declines."""
    found = outcome(metric, case)
    if isinstance(found, str):
        pytest.skip(found)
    return found


def same(left: Tensor, right: Tensor) -> bool:
    """To the last bit; NaN equals NaN."""
    return torch.equal(left.nan_to_num(nan=-7e77), right.nan_to_num(nan=-7e77))


# Form


@metrics
def test_a_metric_says_what_it_is(name: str) -> None:
    metric = component("metric", name)
    assert metric.category in CATEGORIES
    assert isinstance(metric.higher_is_better, bool)
    assert set(tags_of(metric).needs) <= {"truth", "rationale", "groups"}
    assert tags_of(metric).version >= 1
    assert tags_of(metric).paper or metric.category == "cost"
    assert isinstance(tags_of(metric).reproducible, bool)
    assert hash(metric) == hash(component("metric", name)), "equal by value"
    assert metric.__doc__


@metrics
@worlds
def test_scores_are_one_number_or_nan_per_sample_and_leave_no_trace(name: str, where: str) -> None:
    case = case_of(toy_worlds.WORLDS[where]())
    seen = [case.attribution, case.truth, case.inputs.x, case.inputs.units, case.targets]
    seen += [case.inputs.domain.background, case.inputs.domain.scale, case.cost.seconds]
    before = [tensor.clone() for tensor in seen if tensor is not None]
    state = torch.get_rng_state()
    found = scores(quick(name), case)
    assert all(torch.equal(a, b) for a, b in zip(seen, before, strict=True) if a is not None)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.shape == (len(case.inputs),)
    assert found.dtype == torch.float64
    assert not found.isinf().any()
    assert not found.requires_grad


# Invariance


@metrics
def test_a_shared_probe_does_not_look_at_the_attribution(name: str) -> None:
    world = toy_worlds.tabular()
    truthful = world.explain(component("explainer", "gradient"))
    first: dict[Any, Any] = {}
    second: dict[Any, Any] = {}
    metric = component("metric", name)
    explainer = component("explainer", "saliency")
    for attribution, shared in ((truthful, first), (-truthful.roll(2, 1), second)):
        case = world.case(attribution, "sensitivity", explainer, truthful, shared)
        try:
            metric.score(case)
        except Unsupported as reason:
            pytest.skip(str(reason))
    assert first.keys() == second.keys()
    for probe in first:
        assert repr(first[probe]) == repr(second[probe])


@metrics
@worlds
def test_a_score_has_the_same_bits_in_every_batch(name: str, where: str) -> None:
    """Alone, in reverse, twice: the text world has samples of different length."""
    world = toy_worlds.WORLDS[where]()
    for explainer in (Cubes(), Cubes(0.0)):  # all ties, too
        whole = scores(quick(name), case_of(world, explainer))
        for rows in ([1], [3, 2, 1], [2, 2]):
            part = scores(quick(name), case_of(world.take(torch.tensor(rows)), explainer))
            assert same(part, whole[rows]), rows


@worlds
def test_other_explainers_and_metrics_change_nothing(where: str) -> None:
    world = toy_worlds.WORLDS[where]()
    judges = [quick(name) for name in NAMES]
    shared: dict[Any, Any] = {}
    for explainer in (Cubes(-2.0), Cubes(0.3, noise=3.0)):
        case = case_of(world, explainer, shared)
        for judge in judges:
            outcome(judge, case)
    crowded = case_of(world, shared=shared)
    for judge in judges:
        alone, found = outcome(judge, case_of(world)), outcome(judge, crowded)
        if isinstance(alone, str) or isinstance(found, str):
            assert alone == found
        else:
            assert same(found, alone), judge


@metrics
@worlds
def test_the_size_of_a_map_counts_only_where_it_must(name: str, where: str) -> None:
    world = toy_worlds.WORLDS[where]()
    once = scores(quick(name), case_of(world))
    thrice = scores(quick(name), case_of(world, Cubes(3.0)))
    if name in UNIT_BEARING:
        assert not torch.allclose(once, thrice)
    else:
        torch.testing.assert_close(once, thrice, equal_nan=True, rtol=1e-9, atol=1e-12)


@of("fidelity", "truth")
def test_the_order_of_the_units_does_not_matter(name: str) -> None:
    """Columns permuted in x, w, attribution and truth alike; one reference, so nothing is drawn."""
    if name in NEIGHBOURLY:
        pytest.skip("runs of units change with their order")
    permutation = torch.tensor([3, 0, 4, 1, 2])
    weight, x = toy_worlds.normal(5, seed=3), toy_worlds.normal(6, 5, seed=4)
    attribution = weight * x + 0.3 * toy_worlds.normal(6, 5, seed=5)
    if name in KEYED:
        pytest.skip("draws are keyed by the place of a unit")
    metric = against(0.0, name)
    metric = replace(metric, fraction=1.0) if name in DRAWN else metric  # type: ignore[type-var, call-arg]
    straight = toy_worlds.linear(weight.tolist(), x=x)
    found = scores(metric, straight.case(attribution, truth=weight * x))
    mixed = toy_worlds.linear(weight[permutation].tolist(), x=x[:, permutation])
    case = mixed.case(attribution[:, permutation], truth=(weight * x)[:, permutation])
    torch.testing.assert_close(scores(metric, case), found, equal_nan=True)


NEIGHBOURLY = {"token_iou_f1"}
"""Metrics of runs of units."""

DRAWN = {"faithfulness_correlation", "infidelity", "infidelity_scaled", "surrogate_r2"}
"""Metrics of random sets: their draws are keyed by the place of a unit."""
KEYED = {"sensitivity_n", "soft_comprehensiveness", "soft_sufficiency", "pgi", "pgu"}
"""The same, where nothing can be set so that the draws do not matter."""


# Order: what is right beats what is less right


def linear(n: int = 400, n_units: int = 8) -> tuple[toy_worlds.World, Tensor]:
    """A linear model, its baseline 0.1 everywhere, and its exact contributions."""
    weight = toy_worlds.normal(n_units, seed=7).tolist()
    world = toy_worlds.linear(weight, x=toy_worlds.normal(n, n_units, seed=8))
    roomy = replace(world.model, max_rows=1 << 16)
    world = toy_worlds.World(roomy, world.inputs, world.targets)
    return world, torch.tensor(weight).double() * (world.inputs.x - 0.1)


def goodness(metric: Metric, case: Case) -> Tensor:
    return scores(metric, case) * (1 if metric.higher_is_better else -1)


@of("fidelity", "truth")
def test_oracle_beats_noisy_oracle_beats_random(name: str) -> None:
    if name in NOT_HERE:
        pytest.skip(NOT_HERE[name])
    world, exact = linear()
    metric = against(0.1, name)
    noise = toy_worlds.normal(*exact.shape, seed=9) * exact.std()
    truth = torch.where(torch.arange(8) < 6, exact, 0)
    right = truth if {"truth", "rationale"} & set(tags_of(metric).needs) else exact
    maps = [right, right + 0.7 * noise, noise]
    means = [goodness(metric, world.case(a, truth=truth)).nanmean().item() for a in maps]
    assert means[0] > means[1] + 1e-3
    assert means[1] > means[2] + 1e-3


@of("fidelity")
def test_the_negative_never_beats_the_oracle(name: str) -> None:
    world, exact = linear(50)
    metric = against(0.1, name)
    right = goodness(metric, world.case(exact))
    wrong = goodness(metric, world.case(-exact))
    if name in ON_AVERAGE:
        right, wrong = right.nanmean(0, keepdim=True), wrong.nanmean(0, keepdim=True)
    told = ~right.isnan()
    assert told.any()
    assert same(right, wrong) if name in UNSIGNED else (right > wrong)[told].all()


@of("fidelity")
def test_nothing_beats_the_oracle(name: str) -> None:
    """Sample by sample, for any of many random maps: the curves of a linear model are envelopes."""
    world, exact = linear(50)
    metric = against(0.1, name)
    right = goodness(metric, world.case(exact))
    right = right.nanmean(0, keepdim=True) if name in ON_AVERAGE else right
    for seed in range(10):
        other = goodness(metric, world.case(toy_worlds.normal(*exact.shape, seed=seed)))
        other = other.nanmean(0, keepdim=True) if name in ON_AVERAGE else other
        assert (right >= other - 1e-12)[~right.isnan()].all()


@of("fidelity", "truth")
def test_a_map_of_zeros_is_never_best(name: str) -> None:
    world, exact = linear(200)
    metric = against(0.1, name)
    truth = torch.where(torch.arange(8) < 6, exact, 0)
    best = goodness(metric, world.case(truth if metric.category == "truth" else exact, truth=truth))
    zero = goodness(metric, world.case(torch.zeros_like(exact), truth=truth))
    assert zero.isnan().all() or zero.nanmean() < best.nanmean()


@of("stability", "complexity")
@worlds
def test_a_map_of_zeros_is_neither_stable_nor_simple(name: str, where: str) -> None:
    found = scores(quick(name), case_of(toy_worlds.WORLDS[where](), Cubes(0.0)))
    assert found.isnan().all()


# Chance


def run_f1_by_chance() -> float:
    """Two of eight tokens against the last three: only 6 7 and 7 8 are one run, and more than half
    of the union; alone, a token is at most a third of it.
    """
    return 2 / comb(8, 2)


def noise_by_chance(*sizes: int) -> float:
    """A sum of normals is normal; its mean size over all sets of so many of the eight units."""
    spread = toy_worlds.linear([float(w) for w in range(1, 9)]).inputs.domain.scale * torch.arange(
        1, 9
    )
    variance = (0.1 * spread).square().tolist()
    of_size = [fmean(sum(some) ** 0.5 for some in combinations(variance, k)) for k in sizes]
    return (2 / pi) ** 0.5 * fmean(of_size)


def covered_by_chance() -> float:
    """A standard normal credit, said to be off by about 1, is within 1.96 of k = 1, ..., 8."""
    half, normal = NormalDist().inv_cdf(0.975), NormalDist()
    return fmean(normal.cdf(k + half) - normal.cdf(k - half) for k in range(1, 9))


def expected_by_chance() -> dict[str, float]:
    """Eight units of weight 1, 2, ..., 8 at x = 1 and baseline 0: f = 36; any unit is worth 4.5."""
    k_of_five = (1 + 1 + 1 + 2 + 4) / 5  # 1, 5, 10, 20 and 50 % of eight units, rounded up
    drop = 4.5 * k_of_five
    variance = 63 / 12  # of 1, ..., 8; two of eight without replacement: times 2 * 6 / 7
    return {
        "deletion": 18,
        "insertion": 18,
        "abpc": 0,
        "comprehensiveness": drop,
        "sufficiency": 36 - drop,
        "faithfulness_correlation": 0,
        "faithfulness_estimate": 0,
        "sensitivity_n": 0,
        "pgi": noise_by_chance(1, 1, 2, 2, 2),
        "pgu": noise_by_chance(7, 7, 6, 6, 6),
        "soft_comprehensiveness": 18,
        "soft_sufficiency": 18,
        "aopc": 18,
        "region_perturbation": 4.5 * (0 / 2 + 1 + 2 + 3 / 2) / 3,  # three of eight are 30 %
        "irof": 1 / 2,
        "selectivity": 18,
        "normalised_aopc": 1 / 2,
        "normalised_aopc_beam": 1 / 2,
        "tau_loo": 0,
        "monotonicity_correlation": 0,
        "monotonicity_arya": 1 / 2,
        "non_sensitivity": 0,
        "completeness_gap": 1,  # the map's own sum, of spread 8 ** 0.5, is never as large as 36
        "infidelity": 9.0**2 + variance * 2 * 6 / 7 + 2 * 6 / 7,  # drop 9, and the map's own sum
        "feature_agreement": 2 / 8,
        "sign_agreement": 2 / 16,
        "rank_agreement": 1 / 8,
        "top_k_precision": 3 / 8,
        "signed_rank_agreement": 1 / 16,
        "pairwise_rank_agreement": 1 / 2,
        "rank_correlation": 0,
        "recall_at_k": 2 / 8,
        "auroc": 1 / 2,
        "auprc": 2 / 7 + 5 / 7 * sum(1 / place for place in range(1, 9)) / 8,
        "first_hit_rank": 1 / 4,
        "mass_on_irrelevant": 5 / 8,
        "shapley_distance": (2 / 204) ** 0.5
        * gamma(4.5)
        / gamma(4)
        * hyp1f1(-0.5, 4, -204 / 2),  # the mean of a noncentral chi
        "pointing_game": 3 / 8,
        "relevance_mass": 3 / 8,
        "relevance_rank": 3 / 8,
        "top_k_intersection": 3 / 8,
        "attribution_localisation": 1,
        "token_f1": 2 * 2 * 3 / (8 * (2 + 3)),
        "token_iou_f1": run_f1_by_chance(),
        "cosine_to_shapley": 0,
        "interval_coverage": covered_by_chance(),
    }


SPARSE = {
    "top_k_precision", "recall_at_k", "auroc", "auprc", "first_hit_rank", "mass_on_irrelevant",
    "pointing_game", "relevance_mass", "relevance_rank", "top_k_intersection",
    "attribution_localisation", "token_f1", "token_iou_f1",
}  # fmt: skip
"""Metrics that ask which units matter: the last three of eight do."""


@of("fidelity", "truth")
def test_a_random_map_scores_at_chance(name: str) -> None:
    if name in RATIOS:
        pytest.skip(
            "a ratio of means over draws: see tests/metrics/fidelity/test_random_subsets.py"
        )
    n = 1500
    world = toy_worlds.linear([float(w) for w in range(1, 9)], n=n)
    world = toy_worlds.World(replace(world.model, max_rows=1 << 16), world.inputs, world.targets)
    metric = against(0.0, name)
    metric = replace(metric, fraction=0.25) if name in DRAWN else metric  # type: ignore[type-var, call-arg]
    truth = torch.arange(1.0, 9).double().expand(n, 8)
    truth = torch.where(truth > 5, truth, 0) if name in SPARSE else truth
    found = scores(metric, world.case(toy_worlds.normal(n, 8, seed=11), truth=truth))
    found = found[~found.isnan()]
    error = found.std().item() / n**0.5
    assert name in expected_by_chance(), "state the chance level of this metric"
    assert found.mean().item() == pytest.approx(expected_by_chance()[name], abs=4 * error)


# Kinds


GRIDS = {"road", "continuity", "focus"}
"""Metrics of images and series, which decline a table."""


@metrics
@pytest.mark.parametrize("kind", ["sensitivity", "contribution", "relevance", "ranking"])
def test_every_kind_is_scored_or_declined_with_a_reason(name: str, kind: Kind) -> None:
    world = toy_worlds.image() if name in GRIDS else toy_worlds.tabular()
    found = outcome(quick(name), replace(case_of(world), kind=kind))
    if isinstance(found, str):
        if "the data and the recipe" in found:
            pytest.skip("retraining is tried in test_metrics_retraining.py")
        assert kind in found
        assert kind != "contribution", "the floors and the ceiling are contributions"
