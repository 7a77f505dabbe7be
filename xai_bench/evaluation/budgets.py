"""One explainer at several budgets from one run: the explanations that a curve is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from torch import Tensor

from xai_bench.core.cost import Metered, timed
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.failures import attempt
from xai_bench.evaluation.loop import ExplainerEvaluation, OnStep, checked, cost_of, prepare
from xai_bench.results.values import ExplainerResult
from xai_bench.types import Anytime, Cost, Explanation, Inputs


def evaluate_at_budgets(
    context: EvaluationContext,
    explainers: Sequence[ConfiguredExplainer],
    metrics: Sequence[ConfiguredMetric],
    *,
    on_step: OnStep,
) -> list[ExplainerResult]:
    """The same explainer at rising budgets, every batch explained once, at the largest.

    Each result is that of a run at its budget alone, and costs what had been spent when it was
    given. A budget that cannot be had is left out, for a run of its own to state the reason.
    `on_step` is called after every explanation and every scoring.
    """
    prepared = [_prepared(context, one, metrics, on_step) for one in explainers]
    evaluations = [one for one in prepared if one is not None]
    for number, rows in enumerate(context.batches()):
        inputs, targets = context.inputs.take(rows), context.targets[rows]
        reached = []
        for evaluation, explanation, cost in list(
            _explanations(context, evaluations, inputs, targets)
        ):
            evaluation.score_batch(number, rows, explanation, cost)
            on_step(1)
            reached.append(evaluation)
        evaluations = reached
    return [evaluation.result() for evaluation in evaluations]


def _prepared(
    context: EvaluationContext,
    configured: ConfiguredExplainer,
    metrics: Sequence[ConfiguredMetric],
    on_step: OnStep,
) -> ExplainerEvaluation | None:
    """Fitted and warmed up; None where that fails or the explainer has no `anytime`."""
    ready, outcome = attempt(context.strict, lambda: prepare(context, configured, True))
    if ready is None or not isinstance(ready[0], Anytime):
        return None
    evaluation = ExplainerEvaluation(context, configured, tuple(metrics), on_step, outcome)
    evaluation.explainer, evaluation.fit = ready
    return evaluation


def _explanations(
    context: EvaluationContext,
    evaluations: Sequence[ExplainerEvaluation],
    inputs: Inputs,
    targets: Tensor,
) -> Iterator[tuple[ExplainerEvaluation, Explanation, Cost]]:
    """One run over all budgets; where one of them breaks, another over those above it."""
    left = list(evaluations)
    while left:
        explainer = left[-1].explainer
        assert isinstance(explainer, Anytime), "only such are prepared"
        budgets = [int(evaluation.configured.config["budget"]) for evaluation in left]
        rng = context.stream("explain", inputs=inputs)
        with timed(context.model) as metered:
            steps = explainer.anytime(metered, inputs, targets, budgets, rng=rng)
            n_tried = 0
            for evaluation in left:
                n_tried += 1
                step = partial(_next, steps, metered, inputs, evaluation)
                explained, _ = attempt(context.strict, step)
                if explained is None:
                    break
                yield evaluation, *explained
        left = left[n_tried:]


def _next(
    steps: Iterator[Explanation],
    metered: Metered,
    inputs: Inputs,
    evaluation: ExplainerEvaluation,
) -> tuple[Explanation, Cost]:
    explanation = next(steps, None)
    usage = metered.usage.so_far()
    name = evaluation.configured.name
    if explanation is None:
        raise ValueError(f"explainer '{name}' gave fewer explanations than there are budgets")
    return checked(explanation, inputs, name), cost_of(usage, inputs, evaluation.fit)
