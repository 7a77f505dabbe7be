"""The certificate of a metric: every property that its category asks for."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from xai_bench.certify import counterfactual, invariance, linear, randomised, retraining
from xai_bench.certify.check_result import Check, CheckResult, Verdict, run_checks
from xai_bench.certify.metric_under_test import MetricUnderTest
from xai_bench.types import Metric

NEEDS = ("truth", "rationale", "groups", "vocabulary")
"""What a metric may state that it needs."""


def check_declaration(subject: MetricUnderTest) -> Verdict:
    """Whether the class says what every table shows of a metric."""
    metric, tags, problems = subject.metric, subject.tags, []
    if not metric.category.isidentifier():
        problems.append(f"its category '{metric.category}' is not one word")
    if not isinstance(metric.higher_is_better, bool):
        problems.append("higher_is_better is neither True nor False")
    if not metric.__doc__ or not (tags.paper or metric.category == "cost"):
        problems.append("it has no docstring or names no paper")
    if not set(tags.needs) <= set(NEEDS):
        problems.append(f"its needs {list(tags.needs)} are not all out of {list(NEEDS)}")
    if not _is_value(metric):
        problems.append("it is not equal by value: make it a frozen dataclass")
    better = "higher" if metric.higher_is_better else "lower"
    return Verdict(better, "; ".join(f"{subject.name}: {p}" for p in problems))


def _is_value(metric: Metric) -> bool:
    """Whether a copy is the same key: probes and stored scores are found by the metric's value."""
    try:
        # A copy, for a metric is built anew from its YAML in every process.
        twin = copy.copy(metric)
        return twin == metric and hash(twin) == hash(metric)
    except TypeError:
        return False


MetricChecks = Sequence[Check[MetricUnderTest]]

ALWAYS: MetricChecks = (
    Check("better", check_declaration),
    Check("scores", invariance.check_scores),
    Check("same bits in any batch and order", invariance.check_batch_invariance),
    Check("same bits after other explainers", invariance.check_explainer_independence),
    Check("caller's tensors and generators untouched", invariance.check_no_side_effects),
    Check("ignores the size of a map", invariance.check_scale_invariance),
    Check("rows per sample", invariance.check_rows),
    Check("retrained: exact map, reverse order, random", retraining.check_known_scores),
)

EXACT: MetricChecks = (
    Check("exact map", linear.check_exact_map),
    Check("its negative", linear.check_negative_map),
    Check("ignores the sign of a map", invariance.check_sign_invariance),
    Check("random maps", linear.check_random_maps),
    Check("exact > noisy > random", linear.check_order),
    Check("map of zeros", linear.check_zero_map),
    Check("same for units in another order", linear.check_permutation_invariance),
)

BY_CATEGORY: Mapping[str, MetricChecks] = {
    "fidelity": (
        *EXACT,
        Check("no map beats the exact one", linear.check_no_map_beats_exact),
        Check("model that ignores x", linear.check_constant_model),
        Check("same in other units of the data", invariance.check_data_scale_invariance),
    ),
    "truth": (
        *EXACT,
        Check("nothing to find", linear.check_nothing_to_find),
    ),
    "plausibility": (
        *EXACT,
        Check("nothing to find", linear.check_nothing_to_find),
    ),
    "stability": (
        Check("map of zeros", invariance.check_zero_map_unscored),
        Check("same in other units of the data", invariance.check_data_scale_invariance),
        Check("bounded on a flat model", invariance.check_bounded),
    ),
    "randomisation": (
        Check(
            "map that ignores the model, and one new for each",
            randomised.check_model_dependence,
        ),
        Check("unrelated maps", randomised.check_unrelated_maps),
    ),
    "complexity": (Check("map of zeros", invariance.check_zero_map_unscored),),
    "counterfactual": (
        Check("nothing found", counterfactual.check_nothing_found),
        Check("points of the same class", counterfactual.check_unchanged_class),
        Check("one less is no better", counterfactual.check_one_less),
    ),
}
"""What a category must show beside what all metrics must."""


def certificate(name: str, metric: Metric) -> list[CheckResult]:
    """The result of every check that means something for the metric."""
    checks = (*ALWAYS, *BY_CATEGORY.get(metric.category, ()))
    return run_checks(name, MetricUnderTest(name, metric), checks)
