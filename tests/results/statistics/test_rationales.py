"""ERASER's numbers over a corpus, by hand, and against another implementation of the area."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, precision_recall_curve

from xai_bench.results.statistics.rationales import corpus_scores, spans

FLAGS = [
    np.array([1, 1, 0, 0, 0, 0, 0, 0], dtype=bool),
    np.array([0, 0, 0, 1, 1, 1, 1, 0, 0, 0], dtype=bool),
]
"""Of eight tokens two are marked, of ten four: on average a share of 0.325, so 3 and 4 tokens."""


def scores(*tops: list[int]) -> list[np.ndarray]:
    """The tokens of each document in the order of their scores."""
    found = []
    for flags, order in zip(FLAGS, tops, strict=True):
        values = np.zeros(len(flags))
        values[order] = np.arange(len(order), 0, -1)
        found.append(values)
    return found


def test_runs() -> None:
    assert spans(np.array([1, 0, 0, 1, 1], dtype=bool)) == [(0, 1), (3, 5)]
    assert spans(np.zeros(3, dtype=bool)) == []
    assert spans(np.ones(3, dtype=bool)) == [(0, 3)]


def test_a_perfect_explanation_loses_precision_where_fewer_than_usual_are_marked() -> None:
    found = corpus_scores(scores([0, 1, 2], [3, 4, 5, 6]), FLAGS)
    precision, recall = (2 / 3 + 1) / 2, 1.0
    assert found.token_f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert found.token_f1_micro == pytest.approx(2 * 6 / (7 + 6))
    # The run 0 1 2 shares two thirds with 0 1.
    assert found.iou_f1 == found.iou_f1_micro == 1
    assert found.auprc == 1


def test_half_of_the_union_counts_and_less_does_not() -> None:
    """0 1 and 6: one run of two is right. 5 6 7 8 shares two of six with 3 4 5 6."""
    found = corpus_scores(scores([0, 1, 6], [5, 6, 7, 8]), FLAGS)
    macro_precision, macro_recall = (1 / 2 + 0) / 2, (1 + 0) / 2
    expected = 2 * macro_precision * macro_recall / (macro_precision + macro_recall)
    assert found.iou_f1 == pytest.approx(expected)
    assert found.iou_f1_micro == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    token_precision, token_recall = (2 / 3 + 2 / 4) / 2, (1 + 2 / 4) / 2
    expected = 2 * token_precision * token_recall / (token_precision + token_recall)
    assert found.token_f1 == pytest.approx(expected)
    exactly_half = corpus_scores(scores([0, 1, 2], [5, 6]), FLAGS)
    # 5 6 is half of 3 4 5 6; of the tied tokens the earliest, 0 1, are predicted, too.
    assert exactly_half.iou_f1_micro == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))
    assert exactly_half.iou_f1 == pytest.approx(2 * (3 / 4) / (3 / 4 + 1))


def test_nothing_right_is_zero() -> None:
    found = corpus_scores(scores([5, 6, 7], [0, 1, 2, 9]), FLAGS)
    assert found.token_f1 == found.iou_f1 == found.token_f1_micro == found.iou_f1_micro == 0


def test_the_area_is_the_one_by_trapezoids() -> None:
    draw = np.random.Generator(np.random.PCG64(0))
    values = [np.round(draw.normal(size=len(flags)), 1) for flags in FLAGS]
    curves = [
        precision_recall_curve(flags, own)[:2] for flags, own in zip(FLAGS, values, strict=True)
    ]
    expected = np.mean([auc(recall, precision) for precision, recall in curves])
    assert corpus_scores(values, FLAGS).auprc == pytest.approx(expected)
