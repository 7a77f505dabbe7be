"""The content of one tracked run, independent of MLflow."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xai_bench.results.settings import flattened
from xai_bench.results.statistics.intervals import mean_intervals
from xai_bench.results.store import digests
from xai_bench.results.values import Cell, ExplainerResult, Outcome, Scores

_GROUPS = ("data", "model", "seed", "view", "target", "baseline_explain", "baseline_measure")
_PROVENANCE = ("git_commit", "code_version", "processor", "device")
_TAG_LIMIT = 4000
"""Characters of a tag or parameter, below what MLflow takes (6000 of a parameter)."""


@dataclass(frozen=True)
class DataSet:
    """The data of a run, by which MLflow lists it among the runs of the same data.

    Attributes:
        digest: the fingerprint of the data.
        source: how it was chosen, as JSON.
    """

    name: str
    digest: str
    source: str


@dataclass(frozen=True)
class Run:
    """A flat run.

    Attributes:
        identity: tags by which the run is searched: kind, cell, and explanation where it is one.
        metrics: `category/metric` -> mean over the scored samples.
        steps: one mapping of metrics per training epoch.
        data: what it was computed on; None where nobody knows.
        model: the name of the model that it gave or explained; None where there is none.
    """

    name: str
    identity: Mapping[str, str]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    steps: tuple[Mapping[str, float], ...] = ()
    outcome: Outcome = field(default_factory=Outcome)
    data: DataSet | None = None
    model: str | None = None

    @property
    def digest(self) -> str:
        """16 hex digits that change when anything in the run does."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def explanation_run(cell: Cell, result: ExplainerResult) -> Run:
    """The run of one explainer in one cell."""
    intervals = _intervals(result)
    return Run(
        name=f"{result.explainer}{_mark(result)}-{cell.data}-{cell.model}-s{cell.seed}",
        identity={"kind": "explanation", "cell": cell.key, "explanation": result.key},
        params={
            "explainer": result.explainer,
            **_params(cell),
            **_texts(result.config, "explainer."),
        },
        tags={
            **_provenance(cell),
            **_status(result.outcome),
            "family": result.category,
            "attribution": result.kind,
            **({"regime": result.regime[:_TAG_LIMIT]} if result.regime else {}),
            **_tuning(result.tuning or {}),
            **{k: v for scores in result.scores.values() for k, v in _score_tags(scores)},
            **dict(_interval_tags(intervals)),
        },
        metrics={name: mean for name, (mean, _, _) in intervals.items()},
        outcome=result.outcome,
        data=_data(cell),
        model=_model(cell),
    )


def training_run(cell: Cell) -> Run:
    """The run of the training that all explainers of a cell share."""
    epochs = [_finite({f"training/{k}": v for k, v in epoch.items()}) for epoch in cell.history]
    return Run(
        name=f"training-{cell.data}-{cell.model}-s{cell.seed}",
        identity={"kind": "training", "cell": cell.key},
        params=_params(cell),
        tags={**_provenance(cell), **_status(cell.outcome)},
        metrics=_finite({f"model/{name}": value for name, value in cell.model_scores.items()}),
        steps=tuple(epochs),
        outcome=cell.outcome,
        data=_data(cell),
        model=_model(cell),
    )


def report_run(study: str, report: Path) -> Run:
    """The run of a study itself, which holds its report."""
    content = digests.of(digests.dumps(digests.of_tree(report)))
    return Run(f"report-{study}", {"kind": "report"}, {}, {"report": content[:16]}, {})


def _data(cell: Cell) -> DataSet | None:
    """None of a cell that failed before its data were there."""
    chosen = json.dumps(cell.config.get("data", {}), sort_keys=True, default=str)
    if len(chosen) > _TAG_LIMIT:  # cut, it would be no JSON
        chosen = json.dumps({"data": cell.data})
    return DataSet(cell.data, cell.fingerprint, chosen) if cell.fingerprint else None


def _model(cell: Cell) -> str | None:
    """In letters that MLflow takes; None of a cell that has no model."""
    named = re.sub(r"[/:.%\"']", "_", f"{cell.model}-{cell.data}-s{cell.seed}")
    return named if cell.outcome.status == "ok" else None


def _mark(result: ExplainerResult) -> str:
    """Tells the runs of one explainer apart; short, because charts cut names at 10 letters."""
    budget = f"@{result.config['budget']}" if "budget " in result.regime else ""
    return budget + ("-tuned" if result.tuning else "")


def _intervals(result: ExplainerResult) -> dict[str, tuple[float, float, float]]:
    """`category/metric` -> mean and bounds, for metrics with a score."""
    scored = [s for s in result.scores.values() if s.outcome.status == "ok"]
    if not scored:
        return {}
    index = result.index.numpy()
    values = np.stack([s.values.numpy() for s in scored])
    # One seed, because a run is one cell: the interval is over samples alone.
    means, lows, highs = mean_intervals(values, np.zeros_like(index), index)
    bounds = zip(means.tolist(), lows.tolist(), highs.tolist(), strict=True)
    named = {_name(scores): numbers for scores, numbers in zip(scored, bounds, strict=True)}
    return {name: numbers for name, numbers in named.items() if math.isfinite(numbers[0])}


def _interval_tags(
    intervals: Mapping[str, tuple[float, float, float]],
) -> Iterator[tuple[str, str]]:
    for name, (mean, low, high) in intervals.items():
        if math.isfinite(high - low):
            yield f"interval.{name}", f"{mean:.6g} ± {(high - low) / 2:.3g}"


def _score_tags(scores: Scores) -> Iterator[tuple[str, str]]:
    """How many samples are scored, or why none is: tags, so that charts show scores alone."""
    if scores.outcome.status != "ok":
        yield f"{scores.outcome.status}.{_name(scores)}", scores.outcome.reason[:_TAG_LIMIT]
        return
    n_scored = int(scores.values.isfinite().sum())
    yield f"scored.{_name(scores)}", f"{n_scored} of {len(scores.values)}"


def _name(scores: Scores) -> str:
    """With a slash, by which the UI groups metrics into sections."""
    return f"{scores.category}/{scores.metric}"


def _tuning(tuning: Mapping[str, Any]) -> dict[str, str]:
    """The summary of the tuning, without its single trials."""
    return _texts({name: value for name, value in tuning.items() if name != "trials"}, "tuning.")


def _params(cell: Cell) -> dict[str, str]:
    groups = {name: str(getattr(cell, name)) for name in _GROUPS}
    return {**groups, **_texts(cell.config.get("model", {}), "model.")}


def _provenance(cell: Cell) -> dict[str, str]:
    environment = {k: v for k, v in cell.environment.items() if k in _PROVENANCE and v}
    return {"fingerprint": cell.fingerprint, **environment}


def _status(outcome: Outcome) -> dict[str, str]:
    return {"status": outcome.status, "status_reason": outcome.reason[:_TAG_LIMIT]}


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Only finite numbers: MLflow stores infinity as the largest float."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _texts(config: Any, prefix: str) -> dict[str, str]:
    """Flat settings as MLflow takes them, without the names of classes."""
    flat = flattened(config, prefix)
    return {k: str(v)[:_TAG_LIMIT] for k, v in flat.items() if not k.endswith("._target_")}
