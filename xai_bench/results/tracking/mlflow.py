"""The store as MLflow runs: one experiment per study, one flat run per explainer and cell.

The only module that imports mlflow, and only inside functions: the import takes seconds.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_bench.core.system.disk import writable
from xai_bench.results.store import digests, files
from xai_bench.results.store.store import Store
from xai_bench.results.tracking import database, default_view, template
from xai_bench.results.tracking.artifacts import TABLE, RunArtifacts
from xai_bench.results.tracking.runs import Run, explanation_run, training_run
from xai_bench.results.values import Cell, ExplainerResult

if TYPE_CHECKING:
    from mlflow import MlflowClient

_STATUSES = {"ok": "FINISHED", "skipped": "FINISHED", "failed": "FAILED"}
_BATCH = 100
"""Entities that MLflow takes in one request; of metrics, ten times as many."""


@dataclass(frozen=True)
class MlflowRecorder:
    """Shows the store in MLflow; recording again updates the same runs.

    `tracking_uri` defaults to SQLite in the results folder, with artifacts beside it. `pictures`
    turns heat maps on.
    """

    tracking_uri: str | None = None
    pictures: bool = True

    def record(self, store: Store, study: str, cell_key: str) -> None:
        """Show what a study has of one cell.

        Raises ValueError where the cell is not stored, and where MLflow cannot be written.
        """
        cell = store.read_cell(cell_key)
        if cell is None:
            raise ValueError(f"cell {cell_key} is not in {store.root}; write it before recording")
        with self._in_one_sentence(store.root):
            client = self._client(store.root)
            runs = _Runs(client, self._experiment(client, store.root, study), study)
            self._show(runs, store, cell)
            results = store.explanations(study, cell_key, attributions=False)
            runs.set_view(cell.data, results)

    def sync(self, store: Store, study: str, *, dry_run: bool = False) -> list[str]:
        """Bring all runs of a study in line with the store, and say what was done.

        Numbers, settings, artifacts and whole runs that are missing come back, those that the study
        does not have go. Raises ValueError where MLflow cannot be written.
        """
        cells = [cell for cell, _ in store.cells(study, attributions=False)]
        with self._in_one_sentence(store.root):
            client = self._client(store.root)
            experiment = self._experiment(client, store.root, study, restore=not dry_run)
            runs = _Runs(client, experiment, study, thorough=True, dry_run=dry_run)
            for cell in cells:
                self._show(runs, store, cell)
                results = store.explanations(study, cell.key, attributions=False)
                runs.set_view(cell.data, results)
            runs.remove_others()
        return runs.done

    def _show(self, runs: _Runs, store: Store, cell: Cell) -> None:
        """Show a cell's training and explanations."""
        commands = store.study_manifest(runs.study, cell.key).commands
        # Two jobs with the same cell would else search for a run, not find it, and both make one.
        with files.locked(store.folder(cell.key) / ".mlflow.lock"):
            training = training_run(cell)
            parent = runs.show(training, RunArtifacts(store, cell, None, commands, self.pictures))
            results = {result.key: result for result in store.explanations(runs.study, cell.key)}
            for result in results.values():
                runs.show(
                    explanation_run(cell, result),
                    RunArtifacts(store, cell, result, commands, self.pictures),
                    {"training_run": parent},
                )

    def uri(self, root: Path) -> str:
        """The tracking URI: the configured one, or SQLite in the results folder."""
        return self.tracking_uri or database.address(root)

    def experiment(self, root: Path, study: str) -> str:
        """The experiment of a study, made where there is none.

        A study that was written before it had a view, or was moved to another server, gets one.
        Raises ValueError where MLflow cannot be written.
        """
        with self._in_one_sentence(root):
            client = self._client(root)
            experiment = self._experiment(client, root, study)
            self._ensure_view(_Runs(client, experiment, study), Store(root))
        return experiment

    def _ensure_view(self, runs: _Runs, store: Store) -> None:
        if not runs.has_view() and runs.study in store.studies():
            for cell, results in store.cells(runs.study, attributions=False):
                runs.set_view(cell.data, results)

    def _client(self, root: Path) -> MlflowClient:
        """A client of a store that is initialised: several processes doing so at once crash."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        with writable(root):
            root.mkdir(parents=True, exist_ok=True)
            with files.locked(root / ".mlflow.lock"), _quiet():
                is_new = self.tracking_uri is None and template.is_new(database.path(root))
                if self.tracking_uri is None:
                    self._check(root)
                    template.start(database.path(root))
                with database.without_stray_folder(root), _whole_or_none(root, is_new):
                    client = MlflowClient(tracking_uri=self.uri(root))
                    client.search_experiments(max_results=1)
                if is_new:
                    template.keep(database.path(root))
                if self.tracking_uri is None:
                    database.write_ahead(root)
        return client

    def _check(self, root: Path) -> None:
        """Adapt a database that was moved with its folder; raises ValueError for a broken one."""
        problem = database.problem(root)
        if problem is not None:
            raise ValueError(
                f"{database.path(root)} cannot be read ({problem}); the results are in the store, "
                f"and `xai-bench doctor --results {root}` makes the database anew from them"
            )
        database.relocate(root)

    @contextmanager
    def _in_one_sentence(self, root: Path) -> Iterator[None]:
        """Turn what MLflow raises where it cannot be reached or written into one sentence."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with _quiet(logging.CRITICAL):  # it logs a traceback before it raises
                yield
        except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise ValueError(
                f"MLflow at {self.uri(root)} cannot be written: {_reason(error)}; the results are "
                f"in the store, and `xai-bench sync --results {root}` shows them"
            ) from error

    def _experiment(
        self, client: MlflowClient, root: Path, study: str, *, restore: bool = False
    ) -> str:
        """The id of the study's experiment, made if it is new, and restored if that is asked."""
        from mlflow.exceptions import MlflowException

        is_local = self.uri(root).startswith("sqlite:")
        artifacts = database.artifacts(root) if is_local else None
        experiment = client.get_experiment_by_name(study)
        if experiment is None:
            try:
                return str(client.create_experiment(study, artifact_location=artifacts))
            except MlflowException:  # another process was faster
                experiment = client.get_experiment_by_name(study)
        if restore and experiment is not None and experiment.lifecycle_stage != "active":
            client.restore_experiment(experiment.experiment_id)
        elif experiment is None or experiment.lifecycle_stage != "active":
            raise ValueError(
                f"the MLflow experiment '{study}' was deleted; restore it with `xai-bench sync "
                f"--study {study}` or record under another name with study=..."
            )
        return str(experiment.experiment_id)


@dataclass(frozen=True)
class _Runs:
    """The runs of one experiment, each of which exists once.

    Attributes:
        thorough: look at all that a run holds, and not only at the digest of what it should hold.
        dry_run: write nothing.
        ids: of the runs shown so far.
        done: what was done, in a sentence each.
    """

    client: MlflowClient
    experiment: str
    study: str
    thorough: bool = False
    dry_run: bool = False
    ids: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def show(
        self, run: Run, artifacts: RunArtifacts, links: Mapping[str, str] | None = None
    ) -> str:
        """Make the run, or update it where its content changed; returns its id."""
        shown = self._find(run)
        fault = "missing" if shown is None else self._fault(shown, run)
        if fault is not None:
            self.done.append(f"{run.name}: {fault}")
            shown = shown if self.dry_run else self._write(run, artifacts, links or {}, shown)
        self.ids.append("" if shown is None else str(shown.info.run_id))
        return self.ids[-1]

    def has_view(self) -> bool:
        """Whether the study has a view in which it opens."""
        return default_view.TAG in self.client.get_experiment(self.experiment).tags

    def set_view(self, data: str, results: Sequence[ExplainerResult]) -> None:
        """Make these results of a data set part of the view in which the study opens."""
        tags = self.client.get_experiment(self.experiment).tags
        shown = default_view.read(tags.get(default_view.TAG))
        arrows, groups = dict(shown[0]), set(shown[1])
        for result in results:
            arrows |= default_view.directions(result.scores.values())
            groups.add(default_view.Group(result.explainer, data))
        if (arrows, groups) != shown and not self.dry_run:
            content = default_view.state(arrows, groups)
            self.client.set_experiment_tag(self.experiment, default_view.TAG, content)

    def remove_others(self) -> None:
        """Remove the runs of this package that were not shown: the study does not have them."""
        for run in self._search("tags.cell != ''"):
            if run.info.run_id not in self.ids:
                self.done.append(f"{run.info.run_name}: not in the store, removed")
                if not self.dry_run:
                    self.client.delete_run(run.info.run_id)

    def _fault(self, shown: Any, run: Run) -> str | None:
        """What is missing in a run that is shown; None where nothing is."""
        if shown.data.tags.get("digest") != run.digest:
            return "not up to date"
        if not self.thorough:
            return None
        steps = {name for epoch in run.steps for name in epoch}
        numbers = {name: v for name, v in shown.data.metrics.items() if name not in steps}
        if numbers != run.metrics or any(self._missing_epochs(shown, run, name) for name in steps):
            return "other numbers"
        if not (run.params.items() <= shown.data.params.items()):
            return "other settings"
        if not (run.tags.items() <= shown.data.tags.items()):
            return "other tags"
        return None if self._has_artifacts(shown) else "artifacts are missing or damaged"

    def _missing_epochs(self, shown: Any, run: Run, name: str) -> list[int]:
        """The epochs whose number is not in the run; the first one is 1."""
        history = self.client.get_metric_history(shown.info.run_id, name)
        there = {metric.step for metric in history}
        steps = enumerate(run.steps, start=1)
        return [step for step, epoch in steps if name in epoch and step not in there]

    def _has_artifacts(self, shown: Any) -> bool:
        """Whether the artifacts are there; on this machine, whether they are as written, too."""
        folder = database.local(shown.info.artifact_uri)
        if folder is None:
            return bool(self.client.list_artifacts(shown.info.run_id))
        listed = digests.read(folder)
        return listed is not None and digests.of_tree(folder) == listed

    def _write(
        self, run: Run, artifacts: RunArtifacts, links: Mapping[str, str], shown: Any
    ) -> Any:
        """Make the run, or update it."""
        if shown is not None and not self._updatable(shown, run):
            self.client.delete_run(shown.info.run_id)
            shown = None
        tags = {**run.identity, "study": self.study}
        if shown is None:
            shown = self.client.create_run(self.experiment, run_name=run.name, tags=tags)
        run_id = str(shown.info.run_id)
        self._log(run_id, run, shown, links)
        with tempfile.TemporaryDirectory() as folder:
            artifacts.write(Path(folder))
            self._send(run_id, shown.info.artifact_uri, Path(folder))
        self.client.set_terminated(run_id, _STATUSES[run.outcome.status])
        # Last, so that a recording that was cut short is done again.
        self.client.set_tag(run_id, "digest", run.digest)
        return shown

    def _send(self, run_id: str, address: str, folder: Path) -> None:
        """Put the files of a folder in the place of the run's artifacts."""
        place = database.local(address)
        if place is None:
            self.client.log_artifacts(run_id, str(folder))
            return
        # MLflow remembers where a run's artifacts are, even if their folder was moved meanwhile.
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder, place)

    def _updatable(self, shown: Any, run: Run) -> bool:
        """Whether the run can become what it should be: MLflow forgets no number or setting."""
        names = {*run.metrics, *(name for epoch in run.steps for name in epoch)}
        changed = [k for k, v in shown.data.params.items() if run.params.get(k) != v]
        return set(shown.data.metrics) <= names and not changed

    def _find(self, run: Run) -> Any:
        clauses = [f"tags.{name} = '{value}'" for name, value in run.identity.items()]
        return next(self._search(" and ".join(clauses)), None)

    def _search(self, condition: str) -> Iterator[Any]:
        """The runs of this experiment for which a condition holds."""
        token: str | None = None
        while True:
            runs = self.client.search_runs([self.experiment], condition, page_token=token)
            yield from runs
            token = runs.token
            if not token:
                return

    def _log(self, run_id: str, run: Run, shown: Any, links: Mapping[str, str]) -> None:
        """Send what is new in a few batches; MLflow would plot a repeated number twice."""
        from mlflow.entities import Metric, Param, RunTag

        now, data = int(time.time() * 1000), shown.data
        names = dict.fromkeys(name for epoch in run.steps for name in epoch)
        metrics = [
            *(Metric(k, v, now, 0) for k, v in run.metrics.items() if data.metrics.get(k) != v),
            *(
                Metric(name, run.steps[step - 1][name], now, step)
                for name in names
                for step in self._missing_epochs(shown, run, name)
            ),
        ]
        params = [Param(k, v) for k, v in run.params.items() if k not in data.params]
        tables = {"mlflow.loggedArtifacts": json.dumps([{"path": TABLE, "type": "table"}])}
        tags = {**run.tags, **links, **(tables if run.identity["kind"] == "explanation" else {})}
        entities = [RunTag(name, value) for name, value in tags.items()]
        for batch in _batches(metrics, 10 * _BATCH):
            self.client.log_batch(run_id, metrics=batch)
        for batch in _batches(params, _BATCH):
            self.client.log_batch(run_id, params=batch)
        for batch in _batches(entities, _BATCH):
            self.client.log_batch(run_id, tags=batch)


@contextmanager
def _whole_or_none(root: Path, is_new: bool) -> Iterator[None]:
    """Leave no database behind of which MLflow could not make all tables, as on a full disk."""
    is_whole = not is_new
    try:
        yield
        is_whole = True
    finally:
        if not is_whole:
            database.remove_unfinished(root)


def _reason(error: Exception) -> str:
    """The first line of what went wrong; of files that could not be copied, of the first."""
    if isinstance(error, shutil.Error):
        [(_, _, text), *_] = error.args[0]
        return re.sub(r"^\[Errno \d+\] |: '.*", "", str(text).splitlines()[0])
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(getattr(error, "orig", None) or error)
    return next(iter(text.splitlines()), type(error).__name__)


def _batches(entities: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (entities[start : start + size] for start in range(0, len(entities), size))


@contextmanager
def _quiet(level: int = logging.WARNING) -> Iterator[None]:
    """Without what MLflow logs below a level, such as a hundred lines about its tables."""
    loggers = [logging.getLogger(name) for name in ("alembic", "mlflow")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, own in zip(loggers, before, strict=True):
            logger.setLevel(own)
