"""Scores by sample as Python users get them, with a reason for each metric that has none."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from xai_bench.results.values import ExplainerResult
from xai_bench.types import Unsupported

log = logging.getLogger(__name__)


class SampleScores(dict[str, Tensor]):
    """Metric name -> `[N]` scores, NaN where unscored; `reasons` say why a metric has none."""

    def __init__(self, scores: Mapping[str, Tensor], reasons: Mapping[str, str]) -> None:
        super().__init__(scores)
        self.reasons = dict(reasons)

    @property
    def nothing(self) -> bool:
        """Whether no metric at all could score."""
        return bool(self) and len(self.reasons) == len(self)


def sample_scores(result: ExplainerResult, metrics: Iterable[str]) -> SampleScores:
    """The scores of all metrics that were asked for, in that order."""
    scores, reasons = {}, {}
    for name in metrics:
        of_metric = result.scores.get(name)
        if of_metric is None:
            reasons[name] = "the cost of attributions made elsewhere is not known; use judge"
        elif of_metric.outcome.status != "ok":
            reasons[name] = of_metric.outcome.reason
        scored = of_metric is not None and name not in reasons
        unscored = torch.full((len(result.index),), torch.nan, dtype=torch.float64)
        scores[name] = of_metric.values if of_metric is not None and scored else unscored
    return SampleScores(scores, reasons)


def nothing_scored(reasons: Mapping[str, str], results: Iterable[ExplainerResult]) -> Exception:
    """The exception of a question without any answer: ValueError where anything failed.

    The traceback of the first failure is its note.
    """
    outcomes = [o for r in results for o in (r.outcome, *(s.outcome for s in r.scores.values()))]
    sentence = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    traces = [outcome.trace for outcome in outcomes if outcome.status == "failed"]
    if not traces:
        return Unsupported(sentence)
    error = ValueError(sentence)
    error.add_note(traces[0])
    return error


def asked_scores(
    result: ExplainerResult, metrics: Iterable[str], asked: Collection[str]
) -> SampleScores:
    """The scores, with a warning for each metric that was `asked` for by name and has none.

    Raises where no metric has any.
    """
    scores = sample_scores(result, metrics)
    if scores.nothing:
        raise nothing_scored(scores.reasons, [result])
    for name, reason in scores.reasons.items():
        if name in asked:
            log.warning("%s is not scored: %s", name, reason)
    return scores
