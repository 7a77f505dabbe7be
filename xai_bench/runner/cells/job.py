"""One cell from configuration to record: the one module that knows every room."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby

import torch
from omegaconf import DictConfig

from xai_bench.core import units
from xai_bench.core.calls.model_outputs import own_outputs
from xai_bench.core.system.determinism import canonical
from xai_bench.core.system.devices import CPU
from xai_bench.data.bundle import Bundle
from xai_bench.evaluation.beforehand import refusal
from xai_bench.evaluation.budgets import evaluate_at_budgets
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.failures import attempt
from xai_bench.evaluation.loop import evaluate
from xai_bench.results import Cell, ExplainerResult, Outcome, Predictions, Status
from xai_bench.results.store import text_samples
from xai_bench.results.store.store import Store
from xai_bench.results.values import TextUnits
from xai_bench.runner.cells.attention import attention_of
from xai_bench.runner.cells.cell import evaluated_inputs, prepare_cell
from xai_bench.runner.cells.plan import Plan
from xai_bench.runner.cells.tuning import TuningJob, tune_all, validation
from xai_bench.runner.sweeps import sharing
from xai_bench.runner.sweeps.display import Lane, Screen
from xai_bench.runner.sweeps.progress import Display, Progress
from xai_bench.types import Anytime

log = logging.getLogger(__name__)


OnEnd = Callable[[Plan, Cell, Sequence[ExplainerResult], Status], None]
"""Called with the plan, the cell, its results and its status when all of it is recorded."""


def job(
    cfg: DictConfig,
    names: Mapping[str, str] | None = None,
    *,
    display: Display | None = None,
    note: str = "",
    on_end: OnEnd | None = None,
) -> Status:
    """Run one cell and record it; a failure becomes the status and is never raised.

    `names` are the options chosen in `conf/`; left out, Hydra is asked. Under `strict=true` the
    first failure is raised with its traceback. `note` stands beside the cell's name.
    """
    plan = Plan.of(cfg, names)
    with (
        canonical(plan.device),
        _shown(display) as place,
        Progress(plan.title, place, note) as progress,
    ):
        status, outcome = attempt(plan.strict, lambda: CellRun.start(plan, progress).finish(on_end))
        if status is not None:
            return status
        progress.cell_ended(outcome)
        log.info("%s\n%s", outcome.reason, outcome.trace)
        cell = replace(plan.cell(), outcome=outcome)
        # The study lists the failure; where even that fails, the status stands all the same.
        attempt(plan.strict, lambda: record(plan, Store(plan.results), cell, []))
        return outcome.status


@contextmanager
def _shown(display: Display | None) -> Iterator[Display]:
    """The display, or the terminal where there is none."""
    if display is not None:
        yield display
        return
    with Screen() as screen:
        yield Lane(screen)


@dataclass(frozen=True, eq=False)
class Task:
    """One explainer of a cell and what has to be computed for it.

    Attributes:
        metrics: those that the store holds no lasting score of; empty where nothing is left to do.
        stored: what the store holds of the explainer, if anything.
    """

    explainer: ConfiguredExplainer
    metrics: Sequence[ConfiguredMetric]
    stored: ExplainerResult | None

    def after(self, result: ExplainerResult | None) -> Task:
        """The task that remains once `result` is in the store; unchanged where there is none."""
        if result is None:
            return self
        return Task(self.explainer, missing_metrics(self.metrics, result), result)


@dataclass(eq=False)
class CellRun:
    """One cell on its way from configuration to record, doing what the store does not hold yet.

    Attributes:
        cell: as stored, or as just prepared.
        context: what explainers and metrics share. None until the model is needed, which it is not
            where all results are stored, and where the cell is skipped.
    """

    plan: Plan
    progress: Progress
    store: Store
    bundle: Bundle
    cell: Cell
    context: EvaluationContext | None = None

    @classmethod
    def start(cls, plan: Plan, progress: Progress) -> CellRun:
        """Load the data and look the cell up in the store; a new one is prepared at once."""
        store = Store(plan.results)
        bundle: Bundle = plan.component("data").load()
        if plan.device != CPU or plan.precision is not None:
            bundle = replace(bundle, device=plan.device, precision=plan.precision)
        cell = plan.cell(bundle.fingerprint())
        stored = store.read_cell(cell.key, whole=True)
        run = cls(plan, progress, store, bundle, stored or cell)
        if stored is None:
            run.expect_explanations()
            run.prepare()
        return run

    def finish(self, on_end: OnEnd | None = None) -> Status:
        """Evaluate all explainers, list the cell in its study and show it; the status."""
        results: list[ExplainerResult] = []
        if self.cell.outcome.status == "ok":
            self.progress.model_ready(self.cell)
            results = self.evaluate(self.tasks(self.explainers()))
        else:
            self.progress.cell_ended(self.cell.outcome)
        recorded = record(self.plan, self.store, self.cell, results)
        status = "failed" if recorded.status == "failed" else status_of(self.cell, results)
        if on_end is not None:
            on_end(self.plan, self.cell, results, status)
        return status

    def expect_explanations(self) -> None:
        """Say which explainers refuse such data before the model is trained.

        Raises ValueError where all do, so that nothing is trained for nothing. Under another view
        than the inputs, what is explained is known only once there is a model.
        """
        if self.plan.names["view"] != "inputs":
            return
        inputs = evaluated_inputs(self.plan, self.bundle)
        explainers = self.plan.explainers()
        refusals = [(e, refusal(e.explainer, inputs)) for e in explainers]
        refused = [(e, reason) for e, reason in refusals if reason is not None]
        if explainers and len(refused) == len(explainers):
            reasons = "; ".join(dict.fromkeys(f"{e.name}: {reason}" for e, reason in refused))
            raise ValueError(f"nothing can be explained, so nothing is trained: {reasons}")
        for explainer, reason in refused:
            self.progress.will_be_skipped(explainer.name, reason)

    def prepare(self) -> None:
        """Train the model or read its weights, once, and store the cell and its inputs."""
        if self.context is not None:
            return
        self.cell, self.context = prepare_cell(self.plan, self.cell, self.bundle, self.progress)
        self.store.write_cell(self.cell)
        if self.context is not None:
            names = (self.bundle.unit_names, self.bundle.elements)
            # Under another view the units of x are channels or neurons, not columns of the data.
            of_x = names if self.plan.names["view"] == "inputs" else ((), ())
            self.store.write_inputs(self.cell.key, self.context.inputs, *of_x)
            texts = self._texts(len(self.context.inputs))
            if texts is not None:
                seen = attention_of(self.context)
                symbols = self.context.inputs.domain.symbols
                tokens = () if symbols is None else symbols.tokens
                text_samples.write(self.store, self.cell.key, texts, seen, tokens)
            self.store.write_predictions(self.cell.key, self._predictions(self.context))

    def _texts(self, n: int) -> TextUnits | None:
        """The words of the explained samples, where units are words, tokens or sentences."""
        part = self.bundle.test
        if part.texts is None or self.plan.names["view"] not in ("inputs", "embeddings"):
            return None
        words = part.texts.take(torch.arange(n)).unit_texts(part.units[:n])
        marked = None if part.rationale is None else units.pool(part.rationale.double(), part.units)
        return TextUnits(
            tuple(map(tuple, words)),
            None
            if marked is None
            else tuple(
                tuple((row[: len(own)] > 0).tolist())
                for row, own in zip(marked[:n], words, strict=True)
            ),
        )

    def _predictions(self, context: EvaluationContext) -> Predictions:
        outputs = own_outputs(context.model, context.inputs)
        labels = self.bundle.test.y[: len(context.inputs)]
        return Predictions(outputs, context.targets, labels, tuple(self.bundle.class_names))

    def explainers(self) -> list[ConfiguredExplainer]:
        """The configured explainers, with tuned settings where the plan asks for tuning."""
        explainers = self.plan.explainers()
        if not self.plan.config["tune"]:
            return explainers
        # The plan lists all budgets of an explainer next to each other.
        groups = [list(group) for _, group in groupby(explainers, key=lambda e: e.name)]
        return tune_all(groups, self.tuning_job(), self.progress)

    def tuning_job(self) -> TuningJob:
        """What all explainers of this cell are tuned by."""
        settings = self.plan.config["tuning"]

        def context() -> EvaluationContext:
            self.prepare()
            assert self.context is not None, "only a cell with a model is tuned"
            return validation(self.context, settings["n_samples"])

        return TuningJob(
            cell=self.cell.key,
            metric=self.plan.metric(settings["metric"]),
            n_trials=settings["n_trials"],
            n_samples=settings["n_samples"],
            # Once: all explainers are tuned on the same rows.
            context=cache(context),
            make=self.plan.explainer,
            folder=self.plan.results / "cache" / "tuning",
            on_trial=self.progress.trial,
        )

    def tasks(self, explainers: Sequence[ConfiguredExplainer]) -> list[Task]:
        """One task per explainer, without the metrics that the store has scores of."""
        metrics, wanted = self.plan.metrics, self.plan.metric_keys
        tasks = []
        for explainer in explainers:
            stored = self.store.read(self.cell.key, explainer.key, wanted, whole=True)
            tasks.append(Task(explainer, missing_metrics(metrics, stored), stored))
        return tasks

    def evaluate(self, tasks: Sequence[Task]) -> list[ExplainerResult]:
        """Every explainer's result, each written as soon as it is computed."""
        groups = budget_groups(tasks)
        if any(task.metrics for task in tasks):
            self.prepare()
            self._expect(tasks, groups)
        by_first = {group[0].explainer.key: group for group in groups}
        at_budgets: dict[str, ExplainerResult] = {}
        results: dict[int, ExplainerResult | None] = {}
        remaining = list(tasks)
        for number, task in enumerate(tasks):
            group = by_first.get(task.explainer.key, [])
            at_budgets |= self.evaluate_at_budgets(group) if group else {}
            remaining[number] = task.after(at_budgets.get(task.explainer.key))
            results[number] = self.complete_alone(remaining[number], wait=False)
        # Last, so that nobody waits for another job while there is work left.
        for number in [number for number, result in results.items() if result is None]:
            results[number] = self.complete_alone(remaining[number], wait=True)
        return [result for result in results.values() if result is not None]

    def complete_alone(self, task: Task, *, wait: bool) -> ExplainerResult | None:
        """As `complete`; None where another job is at it now, and we do not `wait`."""
        folder = self.plan.results / "cache" / "explaining"
        name = f"{self.cell.key}-{task.explainer.key}"
        ours: AbstractContextManager[bool] = nullcontext(True)
        if task.metrics:
            ours = sharing.reserved(folder, name, wait=wait)
        with ours as is_ours:
            if not is_ours:
                return None
            if task.metrics:
                # Another job may have scored some of it since the tasks were listed.
                [now] = self.tasks([task.explainer])
                task = now if len(now.metrics) < len(task.metrics) else task
            result = self.complete(task)
        self.progress.finished(result, reused=not task.metrics)
        return result

    def evaluate_at_budgets(self, tasks: Sequence[Task]) -> dict[str, ExplainerResult]:
        """The results of one explainer at several budgets from one run, by content address.

        Only metrics of cost are scored here, because a later run could not count the cost again.
        """
        context = self._context()
        self.progress.working_on(tasks[0].explainer.name)
        costs = [metric for metric in tasks[0].metrics if metric.metric.category == "cost"]
        explainers = [task.explainer for task in tasks]
        results = evaluate_at_budgets(context, explainers, costs, on_step=self.progress.step)
        for result in results:
            self.store.write(self.cell.key, result)
        return {result.key: result for result in results}

    def complete(self, task: Task) -> ExplainerResult:
        """The stored result with the missing metrics scored and written."""
        result = task.stored
        if task.metrics:
            result = self._score_missing(task)
        assert result is not None, "a task without metrics has a stored result"
        return replace(result, regime=task.explainer.regime, tuning=task.explainer.tuning)

    def _score_missing(self, task: Task) -> ExplainerResult:
        stored, context = task.stored, self._context()
        self.progress.working_on(task.explainer.name)
        given = None if stored is None else stored.explanation
        new = evaluate(
            context, task.explainer, task.metrics, given=given, on_step=self.progress.step
        )
        self.store.write(self.cell.key, new)
        log_failures(new)
        return new if stored is None else replace(new, scores={**stored.scores, **new.scores})

    def _context(self) -> EvaluationContext:
        assert self.context is not None, "the cell is prepared before anything is evaluated"
        return self.context

    def _expect(self, tasks: Sequence[Task], groups: Sequence[Sequence[Task]]) -> None:
        """Give the progress bar the number of batches that will be explained or scored."""
        n_pieces = sum(map(len, groups)) + sum(1 + len(t.metrics) for t in tasks if t.metrics)
        self.progress.expect(len(self._context().batches()) * n_pieces)


def missing_metrics(
    metrics: Sequence[ConfiguredMetric], stored: ExplainerResult | None
) -> list[ConfiguredMetric]:
    """The metrics without a lasting outcome: what failed is tried again, a skip stands."""
    if stored is None or stored.outcome.status == "failed":
        return list(metrics)
    lasting = {s.key for s in stored.scores.values() if s.outcome.status != "failed"}
    return [metric for metric in metrics if metric.key not in lasting]


def budget_groups(tasks: Sequence[Task]) -> list[list[Task]]:
    """Tasks of one explainer at two budgets or more, which one run can do together."""
    new = [t for t in tasks if t.stored is None or t.stored.outcome.status == "failed"]
    able = [t for t in new if t.metrics and isinstance(t.explainer.explainer, Anytime)]
    groups = [list(group) for _, group in groupby(able, key=lambda t: t.explainer.name)]
    return [group for group in groups if len(group) > 1]


def log_failures(result: ExplainerResult) -> None:
    """Write the outcome, and the traceback of every failed metric, to the log of the run."""
    log.info("%s %s %s", result.explainer, result.outcome.status, result.outcome.reason)
    for scores in result.scores.values():
        if scores.outcome.trace:
            log.info("%s, %s: %s", result.explainer, scores.metric, scores.outcome.trace)


def record(plan: Plan, store: Store, cell: Cell, results: Sequence[ExplainerResult]) -> Outcome:
    """List the cell in its study, then show it in MLflow or wherever the recorder writes.

    The outcome is that of the recorder: where it fails, the results are in the store all the same.
    """
    study = plan.config["study"]
    command = shlex.join(["xai-bench", "run", *sys.argv[1:]])
    if cell.outcome.status == "failed":
        store.write_cell(cell)
    store.add_to_study(study, cell, results, command, plan.metric_keys)
    recorder = plan.component("recorder")
    _, outcome = attempt(plan.strict, lambda: recorder.record(store, study, cell.key))
    if outcome.status == "failed":
        log.error("%s", outcome.reason)
        log.info("%s", outcome.trace)
    return outcome


def status_of(cell: Cell, results: Sequence[ExplainerResult]) -> Status:
    """`failed` where anything failed; `skipped` where nothing was scored, or the cell was."""
    outcomes = [result.outcome for result in results]
    outcomes += [s.outcome for result in results for s in result.scores.values()]
    if any(outcome.status == "failed" for outcome in outcomes):
        return "failed"
    if cell.outcome.status == "ok" and not any(map(_has_result, results)):
        return "skipped"
    return cell.outcome.status


def _has_result(result: ExplainerResult) -> bool:
    """Whether there is a score, or an explanation where no metric was asked for."""
    ok = [scores for scores in result.scores.values() if scores.outcome.status == "ok"]
    if not result.scores:
        return result.outcome.status == "ok"
    return any(bool(scores.values.isfinite().any()) for scores in ok)
