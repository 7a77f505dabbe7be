"""What one tracked run says, before anyone knows of MLflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from xai_bench.results.values import Cell, ExplainerResult, Outcome, Scores

_GROUPS = ("data", "model", "seed", "view", "target", "baseline_explain", "baseline_measure")
_TAG_LIMIT = 4000


@dataclass(frozen=True)
class Run:
    """A flat run.

    Attributes:
        identity: tags by which the run is found again: study's cell, and explanation or training.
        metrics: `category/metric` -> mean over the scored samples.
        steps: one mapping of metrics per training epoch.
    """

    name: str
    identity: Mapping[str, str]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    steps: tuple[Mapping[str, float], ...] = ()
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def digest(self) -> str:
        """Changes when anything the run says does."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def explanation_run(cell: Cell, one: ExplainerResult) -> Run:
    """The run of one explainer in one cell."""
    ok = [s for s in one.scores.values() if s.outcome.status == "ok"]
    means = {f"{s.category}/{s.metric}": _mean(s.values) for s in ok}
    return Run(
        name=f"{one.explainer}{_mark(one)}-{cell.data}-{cell.model}-s{cell.seed}",
        identity={"kind": "explanation", "cell": cell.key, "explanation": one.key},
        params={
            "explainer": one.explainer,
            **_params(cell),
            **dict(_leaves(one.config, "explainer.")),
        },
        tags={
            **_provenance(cell),
            **_told(one.outcome),
            "family": one.category,
            "attribution": one.kind,
            **({"regime": one.regime[:_TAG_LIMIT]} if one.regime else {}),
            **(_tuning(one.tuning) if one.tuning else {}),
            **{name: value for s in one.scores.values() for name, value in _score_tags(s)},
        },
        metrics={name: value for name, value in means.items() if value is not None},
        outcome=one.outcome,
    )


def training_run(cell: Cell) -> Run:
    """The run of the training that all explainers of a cell share."""
    epochs = [_finite({f"training/{k}": v for k, v in epoch.items()}) for epoch in cell.history]
    return Run(
        name=f"training-{cell.data}-{cell.model}-s{cell.seed}",
        identity={"kind": "training", "cell": cell.key},
        params=_params(cell),
        tags={**_provenance(cell), **_told(cell.outcome)},
        metrics=_finite({f"model/{name}": value for name, value in cell.model_scores.items()}),
        steps=tuple(epochs),
        outcome=cell.outcome,
    )


def _mark(one: ExplainerResult) -> str:
    """What tells the runs of one explainer apart in a chart, short: names are cut there."""
    budget = f"@{one.config['budget']}" if "budget " in one.regime else ""
    return budget + ("-tuned" if one.tuning else "")


def _tuning(found: Mapping[str, Any]) -> dict[str, str]:
    """How the settings were found, but for the single trials."""
    return {f"tuning.{name}": value for name, value in _leaves(_without_trials(found), "")}


def _without_trials(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "trials"}


def _params(cell: Cell) -> dict[str, str]:
    groups = {name: str(getattr(cell, name)) for name in _GROUPS}
    return {**groups, **dict(_leaves(cell.config.get("model", {}), "model."))}


def _provenance(cell: Cell) -> dict[str, str]:
    known = ("git_commit", "code_version", "processor")
    environment = {k: v for k, v in cell.environment.items() if k in known and v}
    return {"fingerprint": cell.fingerprint, **environment}


def _told(outcome: Outcome) -> dict[str, str]:
    return {"status": outcome.status, "status_reason": outcome.reason[:_TAG_LIMIT]}


def _score_tags(scores: Scores) -> Iterable[tuple[str, str]]:
    """How sure a number is, or why there is none: tags, so that charts show scores alone."""
    name = f"{scores.category}/{scores.metric}"
    if scores.outcome.status != "ok":
        yield f"{scores.outcome.status}.{name}", scores.outcome.reason[:_TAG_LIMIT]
        return
    finite = scores.values[scores.values.isfinite()]
    yield f"scored.{name}", f"{len(finite)} of {len(scores.values)}"
    if len(finite) > 1:
        half = 1.96 * finite.std().item() / len(finite) ** 0.5
        yield f"interval.{name}", f"{finite.mean().item():.6g} ± {half:.3g}"


def _mean(values: Tensor) -> float | None:
    finite = values[values.isfinite()]
    return finite.mean().item() if len(finite) else None


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """MLflow stores infinity as the largest float, so only finite numbers are sent."""
    return {k: v for k, v in metrics.items() if torch.tensor(v).isfinite()}


def _leaves(config: Any, prefix: str) -> Iterable[tuple[str, str]]:
    """`{a: {b: 1}} -> prefix.a.b: 1`, without the names of classes."""
    if not isinstance(config, Mapping):
        yield prefix.removesuffix("."), str(config)[:_TAG_LIMIT]
        return
    for key, value in config.items():
        if key != "_target_":
            yield from _leaves(value, f"{prefix}{key}.")
