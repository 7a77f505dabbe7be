"""One explainer at several budgets from one run: the explanations that a curve is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

from torch import Tensor

from xai_bench.core.cost import Metered, timed
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.embeddings import at_embeddings
from xai_bench.evaluation.failures import attempt
from xai_bench.evaluation.loop import (
    ExplainerEvaluation,
    OnStep,
    checked,
    cost_of,
)
from xai_bench.evaluation.placement import placed
from xai_bench.evaluation.preparation import measures_cost, prepare
from xai_bench.results import ExplainerResult
from xai_bench.types import Anytime, Cost, Explainer, Explanation, Inputs


def evaluate_at_budgets(
    context: EvaluationContext,
    explainers: Sequence[ConfiguredExplainer],
    metrics: Sequence[ConfiguredMetric],
    *,
    on_step: OnStep,
) -> list[ExplainerResult]:
    """The same explainer at rising budgets, every batch explained once, at the largest.

    Each result is that of a run at its budget alone, and its cost is what the run had used by
    then. A budget at which the explainer fails is left out, so that a run of its own states the
    reason. `on_step` is called after every explanation and every scoring.
    """
    explainers = [at_embeddings(explainer, context.inputs) for explainer in explainers]
    prepared = [_prepared(context, explainer, metrics, on_step) for explainer in explainers]
    evaluations = [evaluation for evaluation in prepared if evaluation is not None]
    for number, rows in enumerate(context.batches()):
        inputs, targets = context.inputs.take(rows), context.targets[rows]
        explained = list(_explanations(context, evaluations, inputs, targets))
        for evaluation, explanation, cost in explained:
            evaluation.score_batch(number, rows, explanation, cost)
            on_step(1)
        # Without one of its batches there is no result: no more is explained at that budget.
        evaluations = [evaluation for evaluation, _, _ in explained]
    return [evaluation.result() for evaluation in evaluations]


def _prepared(
    context: EvaluationContext,
    configured: ConfiguredExplainer,
    metrics: Sequence[ConfiguredMetric],
    on_step: OnStep,
) -> ExplainerEvaluation | None:
    """Fitted and warmed up; None where that fails or the explainer has no `anytime`."""
    warm_up = measures_cost(metrics)
    ready, outcome = attempt(context.strict, lambda: prepare(context, configured, warm_up))
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
    """One run over all budgets; where one of them fails, another over those above it."""
    remaining = list(evaluations)
    while remaining:
        # That of the largest budget runs for all.
        explainer = remaining[-1].explainer
        assert isinstance(explainer, Anytime), "only such are prepared"
        budgets = [int(evaluation.configured.config["budget"]) for evaluation in remaining]
        there = placed(context, cast(Explainer, explainer), inputs)
        rng = context.stream("explain", inputs=there)
        # Only where somebody asks: to watch memory takes time itself.
        memory = any(measures_cost(evaluation.metrics) for evaluation in evaluations)
        with timed(context.model, watch_memory=memory) as metered:
            of_there = targets.to(there.x.device)
            steps = explainer.anytime(metered, there, of_there, budgets, rng=rng)
            n_tried = 0
            for evaluation in remaining:
                n_tried += 1
                step = partial(_next, steps, metered, inputs, evaluation)
                explained, _ = attempt(context.strict, step)
                if explained is None:
                    break
                yield evaluation, *explained
        remaining = remaining[n_tried:]


def _next(
    steps: Iterator[Explanation],
    metered: Metered,
    inputs: Inputs,
    evaluation: ExplainerEvaluation,
) -> tuple[Explanation, Cost]:
    with evaluation.guard.watched(evaluation.who):
        explanation = next(steps, None)
        # Before the guards compare what they watch, which takes time, too.
        usage = metered.usage.so_far()
    name = evaluation.configured.name
    if explanation is None:
        raise ValueError(f"explainer '{name}' gave fewer explanations than there are budgets")
    return checked(explanation, inputs, name), cost_of(usage, inputs, evaluation.fit)
