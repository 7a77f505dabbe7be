"""The record of a job that has just ended, where its results can be known again by digests."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xai_bench.models.fitting.cache import Fingerprinted
from xai_bench.results import Cell, ExplainerResult, Status
from xai_bench.results.tracking import database
from xai_bench.runner.cells.plan import Plan
from xai_bench.runner.finished.intact import IntactFolders
from xai_bench.runner.finished.job_record import JobRecord
from xai_bench.runner.finished.surroundings import of_path
from xai_bench.runner.sweeps.progress import REUSED, model_scores, note_of

_COMPONENTS = ("data", "model", "view", "target", "baseline", "explainer", "metric")
_ELSEWHERE = ("xai_bench.data.tables.openml", "xai_bench.data.text.hf_data")
"""Modules of data that may come from a cache whose place the configuration does not say."""

_NO_RECORDER = "xai_bench.results.tracking.recorder.NoRecorder"
_MLFLOW = "xai_bench.results.tracking.mlflow.MlflowRecorder"
_PLACES = ("path", "folder", "file", "dir", "root")
_LARGEST = 1 << 28
"""Bytes of files that are read to know that they are the same; else the job looks itself."""


def record_of(
    plan: Plan, cell: Cell, results: Sequence[ExplainerResult], status: Status
) -> JobRecord | None:
    """What is kept of a job; None where it depends on more than can be compared."""
    read = _read_by(plan)
    intact = IntactFolders(plan.results)
    study, runs = plan.config["study"], _runs(plan, cell)
    folders = [intact.cell(cell.key), *(intact.cell(cell.key) / r.key for r in results)]
    indices = {str(f.relative_to(intact.root)): intact.index(f) for f in folders}
    if read is None or status == "failed" or runs is None or not all(indices.values()):
        return None
    return JobRecord(
        study=study,
        cell=cell.key,
        status=status,
        title=plan.title,
        scores=model_scores(cell) if cell.outcome.status == "ok" else cell.outcome.reason,
        lines=tuple((r.outcome.status, r.explainer, note_of(r, REUSED)) for r in results),
        folders=indices,
        explanations=tuple((r.explainer, r.regime, r.key, r.tuning is not None) for r in results),
        metrics=plan.metric_keys,
        runs=runs,
        files={str(path): of_path(path) for path in read},
    )


def _runs(plan: Plan, cell: Cell) -> tuple[str, ...] | None:
    """The runs of a cell in MLflow; None where they lie elsewhere than in the results folder."""
    recorder = plan.config["recorder"]
    if recorder["_target_"] == _NO_RECORDER:
        return ()
    if recorder["_target_"] != _MLFLOW or recorder.get("tracking_uri"):
        return None
    shown = database.shown(plan.results, cell.key)
    # Without any run it has not been shown yet, so that the job is not finished.
    return tuple(sorted(run for study, _, run in shown if study == plan.config["study"])) or None


def _read_by(plan: Plan) -> list[Path] | None:
    """The files that components are read from; None where not all are known, or they are large."""
    data, model = plan.config["data"], plan.config["model"]
    if str(data["_target_"]).startswith(_ELSEWHERE) or plan.config["tune"]:
        return None  # what was found by tuning lies in a cache that the run itself looks at
    texts = [text for group in _COMPONENTS for text in _texts(plan.config[group])]
    if any(text.startswith("hf:") for text in texts) or not all(map(_exists, _places(plan.config))):
        return None
    of_model = [text for text in _texts(model) if _exists(text)]
    if isinstance(plan.component("model"), Fingerprinted) and not of_model:
        return None
    paths = [Path(text).expanduser() for text in texts if _exists(text)]
    paths += _own_modules(texts)
    files = [f for path in paths for f in ([path] if path.is_file() else path.rglob("*"))]
    return paths if sum(f.stat().st_size for f in files if f.is_file()) < _LARGEST else None


def _texts(node: Any) -> Iterator[str]:
    """All texts in a node, at any depth."""
    if isinstance(node, str):
        yield node
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for value in inner:
        yield from _texts(value)


def _places(node: Any, key: str = "") -> Iterator[str]:
    """What settings called a path, folder or file name in the components, at any depth."""
    if isinstance(node, str) and node and key.endswith(_PLACES):
        yield node
    if isinstance(node, list):
        for item in node:
            yield from _places(item, key)
    elif isinstance(node, dict):
        for name, value in node.items():
            if key or name in _COMPONENTS:
                yield from _places(value, f"{key}.{name}")


def _exists(text: str) -> bool:
    """Whether a text is the path of something; a decimal point is not, though `.` is a folder."""
    try:
        return any(map(str.isalnum, text)) and Path(text).expanduser().exists()
    except (OSError, ValueError):
        return False


def _own_modules(texts: Sequence[str]) -> Iterator[Path]:
    """The source files of components that are not ours."""
    for text in texts:
        module = sys.modules.get(text.rpartition(".")[0])
        if module is not None and not text.startswith("xai_bench."):
            file = getattr(module, "__file__", None)
            if file is not None:
                yield Path(file)
