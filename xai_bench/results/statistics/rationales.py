"""Agreement with human rationales over a whole corpus, as the scorer of ERASER counts it.

DeYoung+ 2020, arXiv:1911.03429. Of every document, the top `ceil(share * T)` tokens are predicted,
where `share` is the mean share of tokens that people marked; ties go to the earlier token. Letters:
`T` tokens of a document.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Span = tuple[int, int]
SAME_SPAN = 0.5
"""Spans match from this share of their union, as in ERASER's code."""


@dataclass(frozen=True)
class CorpusScores:
    """Attributes:
    token_f1, token_f1_micro: of the means of precision and recall over documents; over all
        tokens of all documents together.
    iou_f1, iou_f1_micro: the same over runs of tokens.
    auprc: mean area under precision and recall, by trapezoids.
    """

    token_f1: float
    token_f1_micro: float
    iou_f1: float
    iou_f1_micro: float
    auprc: float


@dataclass(frozen=True)
class _Hits:
    """How much of what is predicted is right, and how much of what is marked is found."""

    right: int
    predicted: int
    marked: int


def corpus_scores(scores: Sequence[Floats], marked: Sequence[Flags]) -> CorpusScores:
    """Of documents with `scores [T]` and `marked [T]`, in each of which something is marked."""
    share = float(np.mean([flags.mean() for flags in marked]))
    predicted = [_top(values, share) for values in scores]
    tokens = [
        _Hits(int((p & m).sum()), int(p.sum()), int(m.sum()))
        for p, m in zip(predicted, marked, strict=True)
    ]
    runs = [_of_runs(spans(p), spans(m)) for p, m in zip(predicted, marked, strict=True)]
    areas = [_area(values, flags) for values, flags in zip(scores, marked, strict=True)]
    return CorpusScores(
        _macro(tokens), _micro(tokens), _macro(runs), _micro(runs), float(np.mean(areas))
    )


def spans(flags: Flags) -> list[Span]:
    """Runs of what is flagged, end excluded."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _top(scores: Floats, share: float) -> Flags:
    k = math.ceil(share * len(scores) - 1e-9)
    flags = np.zeros(len(scores), dtype=bool)
    flags[np.argsort(-scores, kind="stable")[:k]] = True
    return flags


def _of_runs(predicted: list[Span], marked: list[Span]) -> _Hits:
    best = [max((_overlap(p, m) for m in marked), default=0.0) for p in predicted]
    # As ERASER counts: predicted runs that match are the hits of recall, too.
    return _Hits(sum(share >= SAME_SPAN for share in best), len(predicted), len(marked))


def _overlap(first: Span, second: Span) -> float:
    """Intersection over union."""
    both = min(first[1], second[1]) - max(first[0], second[0])
    return max(both, 0) / (first[1] - first[0] + second[1] - second[0] - max(both, 0))


def _macro(hits: Iterable[_Hits]) -> float:
    pairs = [
        (h.right / h.predicted if h.predicted else 0.0, h.right / h.marked if h.marked else 0.0)
        for h in hits
    ]
    precision, recall = np.mean(pairs, axis=0)
    return _f1(float(precision), float(recall))


def _micro(hits: Sequence[_Hits]) -> float:
    right, predicted, marked = (
        sum(getattr(h, name) for h in hits) for name in ("right", "predicted", "marked")
    )
    return _f1(right / predicted if predicted else 0.0, right / marked if marked else 0.0)


def _f1(precision: float, recall: float) -> float:
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def _area(scores: Floats, marked: Flags) -> float:
    """By trapezoids from recall 0 with precision 1, a point for every distinct score."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(marked[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    # By trapezoids, as in ERASER's code; average precision, by steps, is another number.
    precision = np.concatenate([[1.0], hits[last] / (last + 1)])
    recall = np.concatenate([[0.0], hits[last] / hits[-1]])
    return float(np.trapezoid(precision, recall))
