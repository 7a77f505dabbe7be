"""One cell from configuration to record: the one module that knows every layer."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby

from omegaconf import DictConfig

from xai_bench.core.determinism import canonical
from xai_bench.data.bundle import Bundle
from xai_bench.evaluation.budgets import evaluate_at_budgets
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.failures import attempt
from xai_bench.evaluation.loop import evaluate
from xai_bench.results.store.store import Store
from xai_bench.results.values import Cell, ExplainerResult, Status
from xai_bench.runner.cell import prepare_cell
from xai_bench.runner.plan import Plan
from xai_bench.runner.progress import Progress
from xai_bench.runner.tuning import TuningJob, tuned, validation
from xai_bench.types import Anytime

log = logging.getLogger(__name__)


def job(cfg: DictConfig, names: Mapping[str, str] | None = None) -> Status:
    """Run one cell and record it; a failure is told in one sentence and never raised.

    `names` are the options chosen in `conf/`; left out, Hydra is asked.
    """
    plan = Plan.of(cfg, names)
    with canonical(), Progress(plan.title) as progress:
        status, outcome = attempt(plan.strict, lambda: _run(plan, progress))
        if status is not None:
            return status
        progress.ended(outcome)
        log.info("%s\n%s", outcome.reason, outcome.trace)
        cell = replace(plan.cell(), outcome=outcome)
        attempt(plan.strict, lambda: _record(plan, Store(plan.results), cell, []))
        return outcome.status


@dataclass(frozen=True, eq=False)
class _Task:
    """An explainer, what the store knows of it already, and the metrics still to be had."""

    candidate: ConfiguredExplainer
    judges: Sequence[ConfiguredMetric]
    earlier: ExplainerResult | None


def _run(plan: Plan, progress: Progress) -> Status:
    """Do whatever the store does not hold yet, and list the cell in its study."""
    store = Store(plan.results)
    bundle: Bundle = plan.component("data").load()
    cell = plan.cell(bundle.fingerprint())
    known = store.read_cell(cell.key)
    room = _Room(plan, store, bundle, progress, known or cell)
    if known is None:
        room.open()
    explanations = []
    if room.cell.outcome.status == "ok":
        progress.trained(room.cell)
        tasks = _tasks(plan, room, _candidates(plan, room))
        if any(task.judges for task in tasks):
            room.open()
        explanations = _explanations(store, room.cell, room.bench, tasks, progress)
    else:
        progress.ended(room.cell.outcome)
    _record(plan, store, room.cell, explanations)
    return _status(room.cell, explanations)


@dataclass(eq=False)
class _Room:
    """A cell as the store knows it; its model is made or read when it is needed, once."""

    plan: Plan
    store: Store
    bundle: Bundle
    progress: Progress
    cell: Cell
    bench: EvaluationContext | None = None

    def open(self) -> None:
        if self.bench is not None:
            return
        self.cell, self.bench = prepare_cell(self.plan, self.cell, self.bundle, self.progress)
        self.store.write_cell(self.cell)
        if self.bench is not None:
            told = (self.bundle.unit_names, self.bundle.elements)
            of_x = told if self.plan.names["view"] == "inputs" else ((), ())
            self.store.write_inputs(self.cell.key, self.bench.inputs, *of_x)


def _candidates(plan: Plan, room: _Room) -> list[ConfiguredExplainer]:
    """The explainers, with settings of their own making where the plan says so."""
    candidates = plan.candidates()
    if not plan.config["tune"]:
        return candidates
    groups = [list(group) for _, group in groupby(candidates, key=lambda one: one.name)]
    return tuned(groups, _contest(plan, room), room.progress)


def _contest(plan: Plan, room: _Room) -> TuningJob:
    settings = plan.config["tuning"]

    def bench() -> EvaluationContext:
        room.open()
        assert room.bench is not None, "the cell has been opened before"
        return validation(room.bench, settings["n_samples"])

    return TuningJob(
        cell=room.cell.key,
        judge=plan.judge(settings["metric"]),
        n_trials=settings["n_trials"],
        n_samples=settings["n_samples"],
        bench=cache(bench),
        make=plan.candidate,
        folder=plan.results / "cache" / "tuning",
        on_trial=room.progress.trial,
    )


def _tasks(plan: Plan, room: _Room, candidates: Sequence[ConfiguredExplainer]) -> list[_Task]:
    judges, wanted = plan.judges(), plan.metric_keys
    tasks = []
    for candidate in candidates:
        earlier = room.store.read(room.cell.key, candidate.key, wanted)
        tasks.append(_Task(candidate, _missing(judges, earlier), earlier))
    return tasks


def _missing(
    judges: Sequence[ConfiguredMetric], earlier: ExplainerResult | None
) -> list[ConfiguredMetric]:
    """The metrics without a lasting outcome: what failed is tried again, a skip stands."""
    if earlier is None or earlier.outcome.status == "failed":
        return list(judges)
    lasting = {s.key for s in earlier.scores.values() if s.outcome.status != "failed"}
    return [judge for judge in judges if judge.key not in lasting]


def _explanations(
    store: Store,
    cell: Cell,
    bench: EvaluationContext | None,
    tasks: Sequence[_Task],
    progress: Progress,
) -> list[ExplainerResult]:
    """Every explainer's results, each written as soon as it is there."""
    climbs = _climbs(tasks)
    if bench is not None:
        n_steps = sum(map(len, climbs)) + sum(1 + len(t.judges) for t in tasks if t.judges)
        progress.expect(len(bench.batches()) * n_steps)
    explanations, ahead = [], {group[0].candidate.key: group for group in climbs}
    answered: dict[str, ExplainerResult] = {}
    for task in tasks:
        explanation = task.earlier
        if task.judges and bench is not None:
            progress.working_on(task.candidate.name)
            together = ahead.get(task.candidate.key, [])
            answered |= _answered(store, cell, bench, together, progress)
            rest = _after(task, answered.get(task.candidate.key))
            explanation = rest.earlier
            if rest.judges:
                explanation = _explained(store, cell, bench, rest, progress)
        assert explanation is not None, "a task without judges has been done before"
        candidate = task.candidate
        explanation = replace(explanation, regime=candidate.regime, tuning=candidate.tuning)
        explanations.append(explanation)
        progress.finished(explanation, reused=not task.judges)
    return explanations


def _climbs(tasks: Sequence[_Task]) -> list[list[_Task]]:
    """Those that ask one explainer for answers at several budgets, which one run can give."""
    fresh = [t for t in tasks if t.earlier is None or t.earlier.outcome.status == "failed"]
    able = [t for t in fresh if t.judges and isinstance(t.candidate.explainer, Anytime)]
    groups = [list(group) for _, group in groupby(able, key=lambda t: t.candidate.name)]
    return [group for group in groups if len(group) > 1]


def _answered(
    store: Store, cell: Cell, bench: EvaluationContext, tasks: Sequence[_Task], progress: Progress
) -> dict[str, ExplainerResult]:
    """The answers of one run at all its budgets by content address, kept with what they cost."""
    candidates = [task.candidate for task in tasks]
    costs = [j for task in tasks[:1] for j in task.judges if j.metric.category == "cost"]
    found = evaluate_at_budgets(bench, candidates, costs, on_step=progress.step)
    for one in found:
        store.write(cell.key, one)
    return {one.key: one for one in found}


def _after(task: _Task, answer: ExplainerResult | None) -> _Task:
    """What is left of a task when its answer is there."""
    if answer is None:
        return task
    return replace(task, judges=_missing(task.judges, answer), earlier=answer)


def _explained(
    store: Store, cell: Cell, bench: EvaluationContext, task: _Task, progress: Progress
) -> ExplainerResult:
    """Evaluate what is missing, write it, and put it beside what was there."""
    earlier = task.earlier
    given = None if earlier is None else earlier.explanation
    found = evaluate(bench, task.candidate, task.judges, given=given, on_step=progress.step)
    store.write(cell.key, found)
    log.info("%s %s %s", found.explainer, found.outcome.status, found.outcome.reason)
    for scores in found.scores.values():
        if scores.outcome.trace:
            log.info("%s, %s: %s", found.explainer, scores.metric, scores.outcome.trace)
    return found if earlier is None else replace(found, scores={**earlier.scores, **found.scores})


def _record(plan: Plan, store: Store, cell: Cell, explanations: Sequence[ExplainerResult]) -> None:
    """List the cell in its study, then show it in MLflow or wherever the recorder writes."""
    study = plan.config["study"]
    command = shlex.join(["xai-bench", "run", *sys.argv[1:]])
    if cell.outcome.status == "failed":
        store.write_cell(cell)
    store.add_to_study(study, cell, explanations, command, plan.metric_keys)
    plan.component("recorder").record(store, study, cell.key)


def _status(cell: Cell, explanations: Sequence[ExplainerResult]) -> Status:
    outcomes = [e.outcome for e in explanations]
    outcomes += [s.outcome for e in explanations for s in e.scores.values()]
    if any(outcome.status == "failed" for outcome in outcomes):
        return "failed"
    return cell.outcome.status
