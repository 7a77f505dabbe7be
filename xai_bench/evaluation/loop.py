"""The pure loop: one model, one explainer at a time, all metrics, sample by sample.

No Hydra, no MLflow, no files. One component's failure is its own: it becomes an outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from xai_bench.core.caller_tensors import first_nan
from xai_bench.core.cost import Usage, timed
from xai_bench.core.system.devices import explanation_on
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.embeddings import at_embeddings
from xai_bench.evaluation.failures import attempt
from xai_bench.evaluation.guard import Guard, of_case, of_inputs
from xai_bench.evaluation.memory import ProbeMemory
from xai_bench.evaluation.placement import placed
from xai_bench.evaluation.preparation import fitted, measures_cost, prepare, shared_guard
from xai_bench.results import ExplainerResult, Outcome, Scores
from xai_bench.types import (
    Case,
    Cost,
    Domain,
    Explainer,
    Explanation,
    Inputs,
    Model,
    Recorded,
    tags_of,
)

OnStep = Callable[[int], None]


def evaluate(
    context: EvaluationContext,
    configured: ConfiguredExplainer,
    metrics: Sequence[ConfiguredMetric],
    *,
    given: Explanation | None = None,
    on_step: OnStep = lambda _: None,
) -> ExplainerResult:
    """Explain every sample with one explainer and score the result by every metric.

    An explanation `given` for all samples is scored as it is, without explaining anew, except where
    a metric asks for the cost of explaining. `on_step` is called after every finished piece of
    work, `len(context.batches()) * (1 + len(metrics))` in all. A sample whose given attributions
    are not all finite is unscored by every metric. Raises ValueError for two metrics of one name.
    """
    _require_distinct_names(metrics)
    if any(metric.metric.category == "cost" for metric in metrics):
        given = None
    configured = at_embeddings(configured, context.inputs)
    finite = None if given is None else _finite(given, context.inputs)
    given = given if finite is None else _with_zeros(given, finite)
    warm_up = given is None and measures_cost(metrics)
    ready, outcome = attempt(context.strict, lambda: prepare(context, configured, warm_up))
    evaluation = ExplainerEvaluation(context, configured, tuple(metrics), on_step, outcome)
    if ready is not None:
        evaluation.explainer, evaluation.fit = ready
        for number, rows in enumerate(context.batches()):
            evaluation.run_batch(number, rows, None if given is None else given.take(rows))
            if evaluation.outcome.status != "ok":
                break
    return _scored_only(evaluation.result(), finite)


@dataclass(eq=False)
class ExplainerEvaluation:
    """The state of evaluating one explainer, batch by batch.

    Attributes:
        failures: metric name -> the outcome that ended its scoring.
        measured: probe -> what it recorded of every batch.
        memory: what metrics keep of this explainer over all batches.
        guard: finds out who writes into the model or the domain, which all share.
        fitted: the explainer fitted to other models than the one explained.
    """

    context: EvaluationContext
    configured: ConfiguredExplainer
    metrics: tuple[ConfiguredMetric, ...]
    on_step: OnStep
    outcome: Outcome
    explainer: Explainer = field(init=False)
    fit: Usage = field(init=False)
    explanations: list[Explanation] = field(default_factory=list)
    scores: dict[str, list[Tensor]] = field(default_factory=dict)
    failures: dict[str, Outcome] = field(default_factory=dict)
    measured: dict[str, list[Mapping[str, Tensor]]] = field(default_factory=dict)
    memory: dict[Any, Any] = field(default_factory=dict)
    fitted: dict[Model, Explainer] = field(default_factory=dict)
    guard: Guard = field(init=False)

    def __post_init__(self) -> None:
        self.guard = shared_guard(self.context)

    @property
    def who(self) -> str:
        """The explainer in a message."""
        return f"explainer '{self.configured.name}'"

    def run_batch(self, number: int, rows: Tensor, given: Explanation | None) -> None:
        """Explain one batch, unless its explanation is given, and score it."""
        inputs, targets = self.context.inputs.take(rows), self.context.targets[rows]
        explained, self.outcome = attempt(
            self.context.strict, lambda: self._explain(inputs, targets, given)
        )
        self.on_step(1)
        if explained is not None:
            self.score_batch(number, rows, *explained)

    def score_batch(self, number: int, rows: Tensor, explanation: Explanation, cost: Cost) -> None:
        """Score the explanation of one batch by every metric."""
        context = self.context
        inputs, targets = context.inputs.take(rows), context.targets[rows]
        self.explanations.append(explanation)
        truth = inputs.domain.truth
        case = Case(
            model=context.cached_model,
            inputs=inputs,
            targets=targets,
            explanation=explanation,
            kind=self.configured.explainer.kind,
            rng=context.stream("metric", inputs=inputs),
            explain=self._explain_again,
            cost=cost,
            truth=None if truth is None else truth(inputs, targets).double(),
            rationale=None if context.rationale is None else context.rationale[rows],
            labels=None if context.labels is None else context.labels[rows],
            groups={name: codes[rows] for name, codes in context.groups.items()},
            variants=context.variants,
            shared=context.shared.setdefault(number, ProbeMemory()),
            own=ProbeMemory(),
            cell=self.memory,
        )
        memories = [each for each in (case.shared, case.own) if isinstance(each, ProbeMemory)]
        guard = Guard.of(of_case(case), memories=memories, copies=context.copies.for_batch())
        for metric in self.metrics:
            self._score(metric, case, guard)
            self.on_step(1)
        for probe, result in case.own.items():
            # A name with a memory address in it would differ from run to run.
            if isinstance(result, Recorded) and " at 0x" not in (name := repr(probe)):
                self.measured.setdefault(name, []).append(result.recorded())

    def result(self) -> ExplainerResult:
        """The explanations of all batches in one, and the scores by metric."""
        configured = self.configured
        ok = self.outcome.status == "ok"
        return ExplainerResult(
            explainer=configured.name,
            key=configured.key,
            kind=configured.explainer.kind,
            category=configured.explainer.category,
            config=configured.config,
            index=self.context.inputs.index,
            explanation=Explanation.cat(self.explanations).take(self._order()) if ok else None,
            scores={metric.name: self._scores_of(metric) for metric in self.metrics},
            outcome=self.outcome,
            regime=configured.regime,
            tuning=configured.tuning,
            measured=self._measured() if ok else {},
        )

    def _order(self) -> Tensor:
        """Where each sample stands in the batches one after the other, long `[N]`."""
        return torch.cat(self.context.batches()).argsort()

    def _measured(self) -> dict[str, dict[str, Tensor]]:
        """What probes recorded of all samples; nothing of a probe that missed a batch."""
        n_batches = len(self.context.batches())
        complete = {
            probe: parts for probe, parts in self.measured.items() if len(parts) == n_batches
        }
        return {
            probe: {n: torch.cat([p[n] for p in parts])[self._order()] for n in parts[0]}
            for probe, parts in complete.items()
        }

    def _explain(
        self, inputs: Inputs, targets: Tensor, given: Explanation | None
    ) -> tuple[Explanation, Cost]:
        if given is not None:
            return given, cost_of(Usage(), inputs, Usage())
        there = placed(self.context, self.explainer, inputs)
        rng = self.context.stream("explain", inputs=there)
        of_there = targets.to(there.x.device)
        watched_tensors = {**of_inputs(inputs), "targets": targets}
        batch = Guard.of(watched_tensors, copies=self.context.copies.for_batch())
        watched = self.guard.watched(self.who), batch.watched(self.who)
        # The clock stops before the guards look at what was changed.
        memory = measures_cost(self.metrics)
        with watched[0], watched[1], timed(self.context.model, watch_memory=memory) as metered:
            explanation = self.explainer.explain(metered, there, of_there, rng=rng)
        cost = cost_of(metered.usage, inputs, self.fit)
        return checked(explanation, inputs, self.configured.name, self.context), cost

    def _explain_again(
        self,
        inputs: Inputs,
        *,
        repeat: int = 0,
        model: Model | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """The attributions at other points or of another model, in pieces of the batch size."""
        explainer = self.explainer if model is None else self._fitted_to(model, inputs.domain)
        targets = self.context.targets[inputs.index] if targets is None else targets
        # The first stream again, so that what differs is due to the point or the model alone.
        names: tuple[str | int, ...] = ("explain", "repeat", repeat) if repeat else ("explain",)
        parts = []
        for rows in torch.arange(len(inputs)).split(self.context.batch_size):
            part = inputs.take(rows)
            there = placed(self.context, explainer, part)
            rng = self.context.stream(*names, inputs=there)
            with self.guard.watched(self.who):
                explained = explainer.explain(
                    model or self.context.model, there, targets[rows].to(there.x.device), rng=rng
                )
            parts.append(checked(explained, part, self.configured.name).attribution)
        return torch.cat(parts)

    def _fitted_to(self, model: Model, domain: Domain) -> Explainer:
        """The explainer fitted to another model, once, on the background it is met with."""
        if model not in self.fitted:
            context = replace(self.context, inputs=replace(self.context.inputs, domain=domain))
            # From the configured one: that at hand is fitted to the model that is explained.
            self.fitted[model] = fitted(context, self.configured.explainer, model)
        return self.fitted[model]

    def _score(self, metric: ConfiguredMetric, case: Case, guard: Guard) -> None:
        if metric.name in self.failures:
            return

        def scored() -> Tensor:
            if metric.metric.category == "spent":  # of our own, which read what was measured
                return _values(metric, case)
            who = f"metric '{metric.name}'"
            with self.guard.watched(who), guard.watched(who):
                return _values(metric, case)

        values, outcome = attempt(self.context.strict, scored)
        if values is None:
            self.failures[metric.name] = outcome
        else:
            self.scores.setdefault(metric.name, []).append(values)

    def _scores_of(self, configured: ConfiguredMetric) -> Scores:
        outcome = self.failures.get(configured.name, self.outcome)
        ok = outcome.status == "ok"
        metric = configured.metric
        return Scores(
            metric=configured.name,
            key=configured.key,
            category=metric.category,
            higher_is_better=metric.higher_is_better,
            reproducible=tags_of(metric).reproducible,
            values=torch.cat(self.scores[configured.name])[self._order()] if ok else torch.empty(0),
            outcome=outcome,
        )


def _require_distinct_names(metrics: Sequence[ConfiguredMetric]) -> None:
    names = [metric.name for metric in metrics]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two metrics are named {twice[0]!r}; give each a name of its own")


def _finite(given: Explanation, inputs: Inputs) -> Tensor:
    """`[N]` bool: the samples all of whose attributions are finite, but for padding."""
    return (given.attribution.isfinite() | (inputs.units < 0)).flatten(1).all(1)


def _with_zeros(given: Explanation | None, finite: Tensor) -> Explanation | None:
    """The given explanation with attributions of 0 where they are not scored."""
    if given is None or given.attribution.isfinite().all():
        return given
    # With 0 the other samples of a batch can be scored; the scores of these become NaN later.
    kept = finite.view(-1, *[1] * (given.attribution.dim() - 1)) & given.attribution.isfinite()
    return replace(given, attribution=torch.where(kept, given.attribution, 0))


def _scored_only(result: ExplainerResult, finite: Tensor | None) -> ExplainerResult:
    """NaN in place of the scores of samples whose attributions were not finite."""
    if finite is None or finite.all():
        return result
    scores = {
        name: replace(s, values=torch.where(finite, s.values, torch.nan))
        for name, s in result.scores.items()
        if s.outcome.status == "ok"
    }
    return replace(result, scores={**result.scores, **scores})


def checked(
    explanation: Explanation, inputs: Inputs, name: str, context: EvaluationContext | None = None
) -> Explanation:
    """The explanation with its attribution in float64, so that every metric computes alike.

    Raises ValueError for an attribution of another shape than x or with numbers that are not
    finite; nothing is repaired in silence. The model of the context is asked whether they are its
    own.
    """
    if not isinstance(explanation, Explanation):
        raise ValueError(
            f"explainer '{name}' returned a {type(explanation).__name__}; "
            "return Explanation(attribution) from xai_bench.types"
        )
    attribution = explanation.attribution
    if attribution.shape != inputs.x.shape:
        raise ValueError(
            f"explainer '{name}' returned shape {tuple(attribution.shape)} for inputs of shape "
            f"{tuple(inputs.x.shape)}; use units.spread() to go from unit scores to elements"
        )
    bad = int((~attribution.isfinite()).flatten(1).any(1).sum())
    if bad:
        cause = first_nan("the background", inputs.domain.background) or first_nan("x", inputs.x)
        cause = cause or ("" if context is None else _no_number(context, inputs))
        raise ValueError(
            f"explainer '{name}' returned NaN or infinity for {bad} of {len(attribution)} samples"
            f"{f'; {cause}' if cause else ''}"
        )
    explanation = replace(explanation, attribution=attribution.detach().double())
    return explanation_on(explanation, inputs.x.device)


def _no_number(context: EvaluationContext, inputs: Inputs) -> str:
    """How many of the samples the model itself gives no finite number for; empty for none."""
    with torch.no_grad():
        out = context.model.target_output(inputs, context.targets[inputs.index])
    bad = int((~out.isfinite()).sum())
    return f"the model's own output is so for {bad} of them" if bad else ""


def _values(configured: ConfiguredMetric, case: Case) -> Tensor:
    values = configured.metric.score(case)
    if values.shape != (len(case.inputs),):
        raise ValueError(
            f"metric '{configured.name}' returned shape {tuple(values.shape)} for "
            f"{len(case.inputs)} samples; a metric gives one number per sample"
        )
    values = values.detach().double()
    # One infinite score would be the mean of all.
    return torch.where(values.isfinite(), values, torch.nan)


def cost_of(usage: Usage, inputs: Inputs, fit: Usage) -> Cost:
    """The usage of explaining a batch, sample by sample, beside that of fitting."""
    n_samples = len(inputs)
    forward, gradient = usage.rows_of(inputs.index)
    return Cost(
        forward_rows=forward,
        gradient_rows=gradient,
        # A clock sees batches: their samples share the time evenly.
        seconds=torch.full((n_samples,), usage.seconds / n_samples, dtype=torch.float64),
        peak_bytes=torch.full((n_samples,), usage.peak_bytes, dtype=torch.float64),
        fit_seconds=fit.seconds,
        fit_rows=fit.rows.forward,
    )
