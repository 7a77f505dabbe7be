"""The pure loop: one model, one explainer at a time, all metrics, sample by sample.

No Hydra, no MLflow, no files. One component's failure is its own: it becomes an outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from xai_bench.answers import joined, rows_of, taken
from xai_bench.core.cost import Bill, timed
from xai_bench.evaluation.context import Bench, Candidate, Judge
from xai_bench.evaluation.failures import attempt
from xai_bench.results.values import Explanation, Outcome, Scores
from xai_bench.types import (
    Answer,
    Case,
    Cost,
    Detailed,
    Domain,
    Explainer,
    Fitted,
    Inputs,
    Model,
    Rng,
)

OnStep = Callable[[int], None]


def evaluate(
    bench: Bench,
    candidate: Candidate,
    judges: Sequence[Judge],
    *,
    given: Answer | None = None,
    on_step: OnStep = lambda _: None,
) -> Explanation:
    """Explain every sample with one explainer and score the result by every judge.

    An answer `given` for all samples is judged as it is, without explaining anew, except where a
    judge asks for the cost of explaining. `on_step` hears of every finished piece of
    work, `len(bench.batches()) * (1 + len(judges))` in all.
    """
    if any(judge.metric.category == "cost" for judge in judges):
        given = None
    ready, outcome = attempt(bench.strict, lambda: prepare(bench, candidate, given is None))
    run = Course(bench, candidate, tuple(judges), on_step, outcome)
    if ready is not None:
        run.explainer, run.fit = ready
        for number, rows in enumerate(bench.batches()):
            run.batch(number, rows, None if given is None else taken(given, rows))
            if run.outcome.status != "ok":
                break
    return run.result()


@dataclass(eq=False)
class Course:
    """One explainer on its way through the batches."""

    bench: Bench
    candidate: Candidate
    judges: tuple[Judge, ...]
    on_step: OnStep
    outcome: Outcome
    explainer: Explainer = field(init=False)
    fit: Bill = field(init=False)
    answers: list[Answer] = field(default_factory=list)
    scores: dict[str, list[Tensor]] = field(default_factory=dict)
    broken: dict[str, Outcome] = field(default_factory=dict)
    memory: dict[Any, Any] = field(default_factory=dict)
    fitted: dict[Model, Explainer] = field(default_factory=dict)

    def batch(self, number: int, rows: Tensor, given: Answer | None) -> None:
        inputs, targets = self.bench.inputs.take(rows), self.bench.targets[rows]
        explained, self.outcome = attempt(
            self.bench.strict, lambda: self._explained(inputs, targets, given)
        )
        self.on_step(1)
        if explained is not None:
            self.judged(number, rows, *explained)

    def judged(self, number: int, rows: Tensor, answer: Answer, cost: Cost) -> None:
        """Score one batch's answer by every judge."""
        inputs, targets = self.bench.inputs.take(rows), self.bench.targets[rows]
        self.answers.append(answer)
        truth = inputs.domain.truth
        case = Case(
            model=self.bench.model,
            inputs=inputs,
            targets=targets,
            attribution=answer.attribution,
            standard_error=answer.standard_error,
            freedom=answer.freedom,
            counterfactuals=answer.counterfactuals,
            kind=self.candidate.explainer.kind,
            rng=self.bench.stream("metric", inputs=inputs),
            explain=self._again,
            cost=cost,
            truth=None if truth is None else truth(inputs, targets).double(),
            rationale=rows_of(self.bench.rationale, rows),
            labels=rows_of(self.bench.labels, rows),
            groups={name: codes[rows] for name, codes in self.bench.groups.items()},
            lab=self.bench.lab,
            shared=self.bench.shared.setdefault(number, {}),
            cell=self.memory,
        )
        for judge in self.judges:
            self._judge(judge, case)
            self.on_step(1)

    def result(self) -> Explanation:
        ok = self.outcome.status == "ok"
        candidate = self.candidate
        answer = joined(self.answers) if ok else None
        return Explanation(
            explainer=candidate.name,
            key=candidate.key,
            kind=candidate.explainer.kind,
            category=candidate.explainer.category,
            config=candidate.config,
            index=self.bench.inputs.index,
            attribution=answer.attribution if answer else None,
            standard_error=answer.standard_error if answer else None,
            counterfactuals=answer.counterfactuals if answer else None,
            layers=answer.layers if answer else {},
            pairs=answer.pairs if answer else None,
            freedom=answer.freedom if answer else None,
            scores={judge.name: self._scores(judge) for judge in self.judges},
            outcome=self.outcome,
            terms=candidate.terms,
            tuning=candidate.tuning,
        )

    def _explained(
        self, inputs: Inputs, targets: Tensor, given: Answer | None
    ) -> tuple[Answer, Cost]:
        if given is not None:
            return given, cost_of(Bill(), inputs, Bill())
        rng = self.bench.stream("explain", inputs=inputs)
        with timed(self.bench.model) as metered:
            found = _asked(self.explainer, metered, inputs, targets, rng)
        cost = cost_of(metered.bill, inputs, self.fit)
        attribution = checked(found.attribution, inputs, self.candidate.name)
        return replace(found, attribution=attribution), cost

    def _again(
        self,
        inputs: Inputs,
        *,
        repeat: int = 0,
        model: Model | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """The explainer at other points or of another model, in pieces of the batch size."""
        explainer = self.explainer if model is None else self._for(model, inputs.domain)
        targets = self.bench.targets[inputs.index] if targets is None else targets
        names: tuple[str | int, ...] = ("explain", "repeat", repeat) if repeat else ("explain",)
        parts = []
        for rows in torch.arange(len(inputs)).split(self.bench.batch_size):
            part = inputs.take(rows)
            found = explainer.explain(
                model or self.bench.model,
                part,
                targets[rows],
                rng=self.bench.stream(*names, inputs=part),
            )
            parts.append(checked(found, part, self.candidate.name))
        return torch.cat(parts)

    def _for(self, model: Model, domain: Domain) -> Explainer:
        """The explainer made ready for another model, once, on the background it is met with."""
        if model not in self.fitted:
            bench = replace(self.bench, inputs=replace(self.bench.inputs, domain=domain))
            self.fitted[model] = _fit(bench, self.candidate.explainer, model)
        return self.fitted[model]

    def _judge(self, judge: Judge, case: Case) -> None:
        if judge.name in self.broken:
            return
        values, outcome = attempt(self.bench.strict, lambda: _scored(judge, case))
        if values is None:
            self.broken[judge.name] = outcome
        else:
            self.scores.setdefault(judge.name, []).append(values)

    def _scores(self, judge: Judge) -> Scores:
        outcome = self.broken.get(judge.name, self.outcome)
        ok = outcome.status == "ok"
        metric = judge.metric
        return Scores(
            metric=judge.name,
            key=judge.key,
            category=metric.category,
            higher_is_better=metric.higher_is_better,
            reproducible=metric.reproducible,
            values=torch.cat(self.scores[judge.name]) if ok else torch.empty(0),
            outcome=outcome,
        )


def prepare(bench: Bench, candidate: Candidate, warm_up: bool) -> tuple[Explainer, Bill]:
    """Fit what has to be fitted, and let the first call pay for lazy imports and caches."""
    explainer, bill = candidate.explainer, Bill()
    if isinstance(explainer, Fitted):
        with timed(bench.model) as metered:
            explainer = _fit(bench, explainer, metered)
        bill = metered.bill
    if warm_up:
        first = bench.inputs.take(torch.arange(1))
        rng = bench.stream("explain", inputs=first)
        explainer.explain(bench.model, first, bench.targets[:1], rng=rng)
    return explainer, bill


def _fit(bench: Bench, explainer: Explainer, model: Model) -> Explainer:
    if not isinstance(explainer, Fitted):
        return explainer
    rng = bench.seeds.stream("fit", samples=torch.zeros(1, dtype=torch.long))
    return explainer.fit(model, background(bench.inputs), rng=rng)


def _asked(explainer: Explainer, model: Model, inputs: Inputs, targets: Tensor, rng: Rng) -> Answer:
    if isinstance(explainer, Detailed):
        return explainer.answer(model, inputs, targets, rng=rng)
    return Answer(explainer.explain(model, inputs, targets, rng=rng))


def background(inputs: Inputs) -> Inputs:
    """The domain's background rows as inputs, with the units of the first sample."""
    domain = inputs.domain
    rows = torch.zeros(len(domain.background), dtype=torch.long)
    return replace(inputs.take(rows), x=domain.background, context=domain.context)


def checked(found: Tensor, inputs: Inputs, name: str) -> Tensor:
    """Float64, so that every metric computes alike; a broken promise is told, never repaired."""
    if found.shape != inputs.x.shape:
        raise ValueError(
            f"explainer '{name}' returned shape {tuple(found.shape)} for inputs of shape "
            f"{tuple(inputs.x.shape)}; use units.spread() to go from unit scores to elements"
        )
    bad = int((~found.isfinite()).flatten(1).any(1).sum())
    if bad:
        raise ValueError(
            f"explainer '{name}' returned NaN or infinity for {bad} of {len(found)} samples"
        )
    return found.detach().double()


def _scored(judge: Judge, case: Case) -> Tensor:
    values = judge.metric.score(case)
    if values.shape != (len(case.inputs),):
        raise ValueError(
            f"metric '{judge.name}' returned shape {tuple(values.shape)} for "
            f"{len(case.inputs)} samples; a metric gives one number per sample"
        )
    values = values.detach().double()
    return torch.where(values.isfinite(), values, torch.nan)


def cost_of(bill: Bill, inputs: Inputs, fit: Bill) -> Cost:
    n_samples = len(inputs)
    forward, gradient = bill.rows_of(inputs.index)
    return Cost(
        forward_rows=forward,
        gradient_rows=gradient,
        seconds=torch.full((n_samples,), bill.seconds / n_samples, dtype=torch.float64),
        peak_bytes=torch.full((n_samples,), bill.peak_bytes, dtype=torch.float64),
        fit_seconds=fit.seconds,
        fit_rows=fit.rows.forward,
    )
