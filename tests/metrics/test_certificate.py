"""Every metric in `conf/metric` keeps what it states, tried on exact worlds.

Most of it is what `xai-bench check` tries: the first test asks for every metric's certificate. The
others prove what a certificate of one metric cannot: that metrics share measurements without
disturbing each other, that chance levels hold for other draws, that every kind of attribution is
scored or declined with a reason. A new YAML is tried unasked.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support import certificates, toy_worlds
from tests.support.components import all_of, component, options
from xai_bench.certify.linear import (
    N_STANDARD_ERRORS,
    cases_in_two_orders,
    random_map_scores,
)
from xai_bench.certify.metric import certificate
from xai_bench.certify.metric_under_test import Cubes, MetricUnderTest, case_of, same_bits
from xai_bench.certify.variants import with_model_variants
from xai_bench.types import Case, Kind, Unsupported, tags_of

NAMES = options("metric")
FIRST = {component("metric", name).category: name for name in reversed(NAMES)}
"""The first metric of every category."""
_RANKING = ("fidelity", "truth", "plausibility")
RANKED = [name for name in NAMES if component("metric", name).category in _RANKING]
"""Metrics that call one map better than another, so that random maps have a chance level."""

metrics = all_of("metric")
LATER = {"text": pytest.mark.slow, "tabular": ()}
worlds = pytest.mark.parametrize(
    "where",
    [pytest.param(w, marks=LATER.get(w, pytest.mark.exhaustive)) for w in toy_worlds.WORLDS],
)


@cache
def under_test(name: str) -> MetricUnderTest:
    return MetricUnderTest(name, component("metric", name))


def score_or_reason(metric: MetricUnderTest, case: Case) -> Tensor | str:
    """The scores, or why the metric declines; any other exception fails the test."""
    try:
        return metric.score(case)
    except Unsupported as reason:
        return str(reason)


# What a metric states


def chance_of(name: str) -> float | None:
    return tags_of(component("metric", name)).known_scores.random


def is_keyed_by_unit(name: str) -> bool:
    """Whether the metric draws sets or noise from a stream keyed by the numbers of units."""
    metric = component("metric", name)
    return not tags_of(metric).permutation_invariant and hasattr(metric, "n_draws")


@pytest.mark.sample(6)
@pytest.mark.slow
@pytest.mark.parametrize("name", FIRST.values(), ids=FIRST)
def test_a_certificate_has_no_fault_and_invariances_hold_where_stated_only(name: str) -> None:
    """Those of all metrics, as they are shipped, are tried where their page is compared."""
    metric = component("metric", name)
    certificates.keeps_what_it_states(metric, certificate(name, metric))


def test_a_metric_says_which_of_its_scores_mathematics_knows() -> None:
    """What it scores on eight units, or `KnownScores()` and why nothing is known."""
    classes = {name: type(component("metric", name)) for name in RANKED}
    stated = ("known_scores", "known_scores_retrained")
    assert [n for n, made in classes.items() if not any(hasattr(made, s) for s in stated)] == []


@pytest.mark.sample(2)
@pytest.mark.sample(4, others="slow")
@pytest.mark.parametrize("name", [n for n in RANKED if chance_of(n) is not None])
def test_random_maps_score_at_the_stated_chance_for_other_draws(name: str) -> None:
    chance = chance_of(name)
    scores = random_map_scores(under_test(name), n=1500, seed=12)
    error = scores.std().item() / len(scores) ** 0.5
    assert scores.mean().item() == pytest.approx(chance, abs=N_STANDARD_ERRORS * error + 1e-9)


@pytest.mark.parametrize("name", [n for n in RANKED if is_keyed_by_unit(n)])
def test_the_order_of_units_does_not_matter_on_average_where_draws_are_keyed(name: str) -> None:
    """Single scores change with the draws; their mean over many samples may not."""
    metric = under_test(name).against(0.0).with_fields({"n_draws": 20})
    try:
        straight, permuted = (metric.score(case) for case in cases_in_two_orders(metric, n=300))
    except Unsupported as reason:
        pytest.skip(str(reason))
    change = permuted - straight
    change = change[~change.isnan()]
    assert change.abs().mean() > 0
    error = change.std().item() / len(change) ** 0.5
    assert change.mean().item() == pytest.approx(0, abs=N_STANDARD_ERRORS * error)


# What metrics share


@pytest.mark.sample(2, others="slow")
@metrics
def test_a_shared_measurement_does_not_depend_on_the_attribution(name: str) -> None:
    world = with_model_variants(toy_worlds.tabular())
    gradient = world.explain(component("explainer", "gradient"))
    memories: list[dict[Any, Any]] = [{}, {}]
    for attribution, memory in zip((gradient, -gradient.roll(2, 1)), memories, strict=True):
        explainer = component("explainer", "saliency")
        case = world.case(attribution, "contribution", explainer, gradient, memory)
        score_or_reason(under_test(name), case)
    first, second = memories
    assert first.keys() == second.keys()
    assert all(repr(first[probe]) == repr(second[probe]) for probe in first)


@pytest.mark.slow
@worlds
def test_other_explainers_and_metrics_change_no_score(where: str) -> None:
    """All metrics score two other explainers first and leave their measurements behind."""
    world = with_model_variants(toy_worlds.WORLDS[where]())
    everyone = [under_test(name).small for name in NAMES]
    shared: dict[Any, Any] = {}
    for explainer in (Cubes(-2.0), Cubes(0.3, noise=3.0)):
        case = case_of(world, explainer, shared)
        for metric in everyone:
            score_or_reason(metric, case)
    crowded = case_of(world, shared=shared)
    for metric in everyone:
        alone, among = score_or_reason(metric, case_of(world)), score_or_reason(metric, crowded)
        if isinstance(alone, str) or isinstance(among, str):
            assert alone == among
        else:
            assert same_bits(among, alone), metric.name


# Kinds of attribution


def first_world_scored(metric: MetricUnderTest) -> Case:
    """The case of contributions in the first toy world in which the metric can score."""
    if "vocabulary" in metric.tags.needs:
        pytest.skip("the toy worlds have no vocabulary; tests/metrics/stability/test_words.py has")
    for build in toy_worlds.WORLDS.values():
        case = case_of(with_model_variants(build()))
        if not isinstance(score_or_reason(metric, case), str):
            return case
    pytest.fail(f"{metric.name} declines every toy world")


KINDS: tuple[Kind, ...] = ("sensitivity", "contribution", "relevance", "ranking")


@pytest.mark.sample(3, others="slow")
@metrics
def test_every_kind_is_scored_in_float64_or_declined_by_name(name: str) -> None:
    """Contributions are always scored: the controls and the exact answers are of that kind."""
    metric = under_test(name).small
    case = first_world_scored(metric)
    for kind in KINDS:
        scores = score_or_reason(metric, replace(case, kind=kind))
        if isinstance(scores, str):
            assert kind in scores
        else:
            assert scores.dtype == torch.float64, kind
