"""The store as MLflow runs: one experiment per study, one flat run per explainer and cell.

The only module that imports mlflow, and only inside functions: the import takes seconds.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from xai_bench.results.store import files
from xai_bench.results.store.store import Store
from xai_bench.results.tracking.artifacts import TABLE, cell_files, explanation_files
from xai_bench.results.tracking.runs import Run, explanation_run, training_run
from xai_bench.results.values import Cell, ExplainerResult

if TYPE_CHECKING:
    from mlflow import MlflowClient

UI_ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""For `ui_command`: without its job runner the server takes a third of the memory."""

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
        """Show what a study has of one cell. Raises ValueError where the cell is not stored."""
        cell = store.read_cell(cell_key)
        if cell is None:
            raise ValueError(f"cell {cell_key} is not in {store.root}; write it before recording")
        commands = store.study_manifest(study, cell_key).commands
        client = self._client(store.root)
        experiment = self._experiment(client, store.root, study)
        # Two jobs with the same cell would else search for a run, not find it, and both make one.
        with FileLock(store.folder(cell_key) / ".mlflow.lock"):
            runs = _Runs(client, experiment, study)
            training = training_run(cell)
            parent = runs.show(training, _Files(store, cell, None, commands, self.pictures))
            results = {result.key: result for result in store.explanations(study, cell_key)}
            for result in results.values():
                runs.show(
                    explanation_run(cell, result),
                    _Files(store, cell, result, commands, self.pictures),
                    {"training_run": parent},
                )

    def uri(self, root: Path) -> str:
        """The tracking URI: the configured one, or SQLite in the results folder."""
        return self.tracking_uri or f"sqlite:///{root.resolve()}/mlflow.db"

    def deep_link(self, root: Path, study: str, port: int = 5000) -> str:
        """The address in the UI that compares the runs of a study in charts."""
        experiment = self._experiment(self._client(root), root, study)
        uri = self.uri(root)
        server = uri.rstrip("/") if uri.startswith("http") else f"http://127.0.0.1:{port}"
        query = "workflowType=machine_learning&compareRunsMode=CHART"
        return f"{server}/#/experiments/{experiment}/runs?{query}"

    def ui_command(self, root: Path, port: int = 5000) -> list[str]:
        """The arguments that start the UI on this machine alone; run it with `UI_ENVIRONMENT`."""
        options = [
            "--backend-store-uri",
            self.uri(root),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        return [sys.executable, "-m", "mlflow", "ui", *options, "--workers", "1"]

    def _client(self, root: Path) -> MlflowClient:
        """A client of a store that is initialised: several processes doing so at once crash."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        with files.writable(root):
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / ".mlflow.lock"), _quiet():
                client = MlflowClient(tracking_uri=self.uri(root))
                client.search_experiments(max_results=1)
                if self.tracking_uri is None:
                    _write_ahead(root / "mlflow.db")
        return client

    def _experiment(self, client: MlflowClient, root: Path, study: str) -> str:
        """The id of the study's experiment, made if it is new."""
        from mlflow.exceptions import MlflowException

        is_local = self.uri(root).startswith("sqlite:")
        artifacts = (root.resolve() / "mlartifacts").as_uri() if is_local else None
        experiment = client.get_experiment_by_name(study)
        if experiment is None:
            try:
                return str(client.create_experiment(study, artifact_location=artifacts))
            except MlflowException:  # another process was faster
                experiment = client.get_experiment_by_name(study)
        if experiment is None or experiment.lifecycle_stage != "active":
            raise ValueError(
                f"the MLflow experiment '{study}' was deleted; restore it with `mlflow experiments "
                f"restore` or record under another name with study=..."
            )
        return str(experiment.experiment_id)


@dataclass(frozen=True)
class _Files:
    """What a run's artifacts are written from, if they have to be written."""

    store: Store
    cell: Cell
    explanation: ExplainerResult | None
    commands: Sequence[str]
    pictures: bool

    def write(self, folder: Path) -> None:
        """Write the artifacts into an empty folder."""
        if self.explanation is not None:
            explanation_files(
                folder, self.store, self.cell, self.explanation, pictures=self.pictures
            )
        cell_files(folder, self.cell, self.commands)


@dataclass(frozen=True)
class _Runs:
    """The runs of one experiment, each of which exists once."""

    client: MlflowClient
    experiment: str
    study: str

    def show(self, run: Run, artifacts: _Files, links: Mapping[str, str] | None = None) -> str:
        """Make the run, or update it where its content changed; returns its id."""
        shown = self._find(run)
        if shown is not None and shown.data.tags.get("digest") == run.digest:
            return str(shown.info.run_id)
        tags = {**run.identity, "study": self.study}
        if shown is None:
            shown = self.client.create_run(self.experiment, run_name=run.name, tags=tags)
        run_id = str(shown.info.run_id)
        self._log(run_id, run, shown.data, links or {})
        with tempfile.TemporaryDirectory() as folder:
            artifacts.write(Path(folder))
            self.client.log_artifacts(run_id, folder)
        self.client.set_terminated(run_id, _STATUSES[run.outcome.status])
        # Last, so that a recording that was cut short is done again.
        self.client.set_tag(run_id, "digest", run.digest)
        return run_id

    def _find(self, run: Run) -> Any:
        clauses = [f"tags.{name} = '{value}'" for name, value in run.identity.items()]
        runs = self.client.search_runs([self.experiment], " and ".join(clauses), max_results=1)
        return runs[0] if runs else None

    def _log(self, run_id: str, run: Run, shown: Any, links: Mapping[str, str]) -> None:
        """Send what is new in a few batches; MLflow would plot a repeated number twice."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        epochs = enumerate(run.steps, start=1)
        metrics = [
            *(Metric(k, v, now, 0) for k, v in run.metrics.items() if shown.metrics.get(k) != v),
            *(
                Metric(name, value, now, step)
                for step, epoch in epochs
                for name, value in epoch.items()
                if name not in shown.metrics
            ),
        ]
        params = [Param(k, v) for k, v in run.params.items() if k not in shown.params]
        tables = {"mlflow.loggedArtifacts": json.dumps([{"path": TABLE, "type": "table"}])}
        tags = {**run.tags, **links, **(tables if run.identity["kind"] == "explanation" else {})}
        entities = [RunTag(name, value) for name, value in tags.items()]
        for batch in _batches(metrics, 10 * _BATCH):
            self.client.log_batch(run_id, metrics=batch)
        for batch in _batches(params, _BATCH):
            self.client.log_batch(run_id, params=batch)
        for batch in _batches(entities, _BATCH):
            self.client.log_batch(run_id, tags=batch)


def _batches(entities: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (entities[start : start + size] for start in range(0, len(entities), size))


def _write_ahead(database: Path) -> None:
    """Write-ahead logging lets the UI read during a write; the database file keeps the setting."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a hundred log lines about the making of database tables."""
    loggers = [logging.getLogger(name) for name in ("alembic", "mlflow")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
