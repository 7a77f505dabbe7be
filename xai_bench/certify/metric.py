"""The certificate of a metric: every property that its category asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xai_bench.certify import counterfactual, invariance, linear, randomised, retraining
from xai_bench.certify.expected import EXPECTED, TAUGHT, Expected
from xai_bench.certify.finding import CheckResult, tried, verdict
from xai_bench.certify.metric_under_test import MetricUnderTest
from xai_bench.types import Metric, tags_of

Property = Callable[[MetricUnderTest], CheckResult | None]


def form(subject: MetricUnderTest) -> CheckResult:
    """A metric says what it is."""
    metric, problems = subject.metric, []
    if not metric.category.isidentifier():
        problems.append(f"its category '{metric.category}' is not one word")
    if not isinstance(metric.higher_is_better, bool):
        problems.append("higher_is_better is neither True nor False")
    if not metric.__doc__ or not (tags_of(metric).paper or metric.category == "cost"):
        problems.append("it has no docstring or names no paper")
    if hash(metric) != hash(subject.with_fields({}).metric):
        problems.append("it is not equal by value: make it a frozen dataclass")
    better = "higher" if metric.higher_is_better else "lower"
    return verdict("better", better, "; ".join(f"{subject.name}: {p}" for p in problems))


ALWAYS: Sequence[Property] = (
    form,
    invariance.one_number,
    invariance.batches,
    invariance.company,
    invariance.untouched,
    invariance.size_of_map,
    invariance.rows,
    retraining.anew,
)
EXACT: Sequence[Property] = (
    linear.exact_map,
    linear.negative_map,
    linear.random_maps,
    linear.order,
    linear.zero_map,
)
BY_CATEGORY: dict[str, Sequence[Property]] = {
    "fidelity": (*EXACT, linear.rivals, linear.constant_model, invariance.scale_of_data),
    "truth": (*EXACT, linear.nothing_to_find),
    "localisation": (*EXACT, linear.nothing_to_find),
    "stability": (
        invariance.zero_is_not_scored,
        invariance.scale_of_data,
        invariance.nearly_flat,
    ),
    "randomisation": (randomised.deaf_and_hearing, randomised.chance),
    "complexity": (invariance.zero_is_not_scored,),
    "counterfactual": (
        counterfactual.nothing_found,
        counterfactual.unchanged_class,
        counterfactual.one_less,
    ),
}
"""What a category must show beside the rest."""


def certificate(name: str, metric: Metric, expected: Expected | None = None) -> list[CheckResult]:
    """One finding per property; `expected` left out, what is written down for this name."""
    known = expected or EXPECTED.get(name, Expected())
    subject = MetricUnderTest(name, metric, known, TAUGHT.get(name))
    found = []
    for prove in (*ALWAYS, *BY_CATEGORY.get(metric.category, ())):
        title = prove.__name__.replace("_", " ")
        found += tried(name, title, lambda prove=prove: prove(subject))  # type: ignore[misc]
    return found
