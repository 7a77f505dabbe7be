"""The store as MLflow runs: one experiment per study, one flat run per explainer and cell.

Here and in `shown_runs` mlflow is imported, and only inside functions: the import takes seconds.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xai_bench.core.system.disk import writable
from xai_bench.results.store import files
from xai_bench.results.store.store import Store
from xai_bench.results.tracking import database, template
from xai_bench.results.tracking.artifacts import ReportArtifacts, RunArtifacts
from xai_bench.results.tracking.runs import explanation_run, report_run, training_run
from xai_bench.results.tracking.shown_runs import ShownRuns
from xai_bench.results.values import Cell

if TYPE_CHECKING:
    from mlflow import MlflowClient


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
            runs = ShownRuns(client, self._experiment(client, store.root, study), study)
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
            runs = ShownRuns(client, experiment, study, thorough=True, dry_run=dry_run)
            for cell in cells:
                self._show(runs, store, cell)
                results = store.explanations(study, cell.key, attributions=False)
                runs.set_view(cell.data, results)
            runs.remove_others()
            if (report := store.root / "reports" / study).is_dir():
                runs.show_again(report_run(study, report), ReportArtifacts(report))
        return runs.done

    def show_report(self, root: Path, study: str, report: Path) -> None:
        """Put the report of a study into a run of its own, where MLflow shows the study.

        Raises ValueError where MLflow cannot be written.
        """
        with self._in_one_sentence(root):
            client = self._client(root)
            experiment = client.get_experiment_by_name(study)
            if experiment is not None and experiment.lifecycle_stage == "active":
                runs = ShownRuns(client, str(experiment.experiment_id), study)
                # Two commands that end at the same time would else both make a run.
                with files.locked(report / ".mlflow.lock"):
                    runs.show(report_run(study, report), ReportArtifacts(report))

    def _show(self, runs: ShownRuns, store: Store, cell: Cell) -> None:
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
            self._ensure_view(ShownRuns(client, experiment, study), Store(root))
        return experiment

    def _ensure_view(self, runs: ShownRuns, store: Store) -> None:
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
                    # The first question makes the tables, here behind the lock.
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
