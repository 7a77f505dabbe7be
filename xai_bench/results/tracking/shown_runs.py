"""The runs of one MLflow experiment: made, brought up to date, and removed."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_bench.results.store import digests
from xai_bench.results.tracking import database, default_view
from xai_bench.results.tracking.artifacts import TABLE, Artifacts
from xai_bench.results.tracking.runs import Run
from xai_bench.results.values import ExplainerResult

if TYPE_CHECKING:
    from mlflow import MlflowClient

_STATUSES = {"ok": "FINISHED", "skipped": "FINISHED", "failed": "FAILED"}
_BATCH = 100
"""Entities that MLflow takes in one request; of metrics, ten times as many."""


@dataclass(frozen=True)
class ShownRuns:
    """The runs of one experiment, each of which exists once.

    Attributes:
        thorough: look at all that a run holds, and not only at the digest of what it should hold.
        dry_run: write nothing.
        ids: of the runs shown so far.
        done: what was done, in a sentence each.
        models: id of the run of a training -> the id of its model, where it has one.
    """

    client: MlflowClient
    experiment: str
    study: str
    thorough: bool = False
    dry_run: bool = False
    ids: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    models: dict[str, str | None] = field(default_factory=dict)

    def show(self, run: Run, artifacts: Artifacts, links: Mapping[str, str] | None = None) -> str:
        """Make the run, or update it where its content changed; returns its id."""
        shown = self._find(run)
        fault = "missing" if shown is None else self._fault(shown, run)
        if fault is not None:
            self.done.append(f"{run.name}: {fault}")
            shown = shown if self.dry_run else self._write(run, artifacts, links or {}, shown)
        self.ids.append("" if shown is None else str(shown.info.run_id))
        return self.ids[-1]

    def show_again(self, run: Run, artifacts: Artifacts) -> None:
        """Make the run, or write its artifacts, only where they are missing or damaged.

        What lies in the results folder may be damaged itself, and is not compared.
        """
        shown = self._find(run)
        if shown is None or not self._has_artifacts(shown):
            self.show(run, artifacts)

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
        # The run of the report has no cell, and stays.
        for run in self._search("tags.cell != ''"):
            if run.info.run_id not in self.ids:
                self.done.append(f"{run.info.run_name}: not in the store, removed")
                if not self.dry_run:
                    self._delete(run)

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

    def _write(self, run: Run, artifacts: Artifacts, links: Mapping[str, str], shown: Any) -> Any:
        """Make the run, or update it."""
        if shown is not None and not self._updatable(shown, run):
            self._delete(shown)
            shown = None
        tags = {**run.identity, "study": self.study}
        if shown is None:
            shown = self.client.create_run(self.experiment, run_name=run.name, tags=tags)
        run_id = str(shown.info.run_id)
        self._log(run_id, run, shown, links)
        self._log_data(run_id, run, shown)
        self._log_model(run_id, run, links.get("training_run"))
        with tempfile.TemporaryDirectory() as folder:
            artifacts.write(Path(folder))
            self._send(run_id, shown.info.artifact_uri, Path(folder))
        self.client.set_terminated(run_id, _STATUSES[run.outcome.status])
        # Last, so that a recording that was cut short is done again.
        self.client.set_tag(run_id, "digest", run.digest)
        return shown

    def _delete(self, shown: Any) -> None:
        """Remove a run, and the model that it gave."""
        run_id = shown.info.run_id
        for model in _model_outputs(self.client.get_run(run_id)):
            self.client.delete_logged_model(model)
        self.client.delete_run(run_id)

    def _log_data(self, run_id: str, run: Run, shown: Any) -> None:
        """Name the data of a run where MLflow lists runs by their data."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        named = [entry.dataset.digest for entry in shown.inputs.dataset_inputs or ()]
        if run.data is not None and run.data.digest not in named:
            data = Dataset(run.data.name, run.data.digest, "xai_bench", run.data.source)
            tags = [InputTag("mlflow.data.context", "explained")]
            self.client.log_inputs(run_id, datasets=[DatasetInput(data, tags)])

    def _log_model(self, run_id: str, run: Run, training: str | None) -> None:
        """List the model that a training gave, and name it in the runs that explain it.

        It has no files here: its weights are in the folder of caches, under the cell's address.
        """
        from mlflow.entities import LoggedModelInput, LoggedModelOutput

        if run.model is None:
            return
        whole = self.client.get_run(run_id)  # what a search gives lacks the models
        if whole.inputs.model_inputs or _model_outputs(whole):
            return
        if training is None:
            model = self.client.create_logged_model(
                self.experiment, run.model, run_id, params=dict(run.params), model_type="explained"
            )
            self.client.finalize_logged_model(model.model_id, "READY")
            self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
            self.models[run_id] = model.model_id
        elif (explained := self._model_of(training)) is not None:
            self.client.log_inputs(run_id, models=[LoggedModelInput(explained)])

    def _model_of(self, training: str) -> str | None:
        """The id of the model that a training gave."""
        if training not in self.models:
            outputs = _model_outputs(self.client.get_run(training))
            self.models[training] = outputs[0] if outputs else None
        return self.models[training]

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


def _model_outputs(shown: Any) -> list[str]:
    """The ids of the models that a run gave."""
    outputs = getattr(shown, "outputs", None)
    return [output.model_id for output in (outputs.model_outputs if outputs else None) or ()]


def _batches(entities: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (entities[start : start + size] for start in range(0, len(entities), size))
