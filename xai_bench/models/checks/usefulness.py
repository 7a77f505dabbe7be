"""Whether a model that was not trained here says anything about the data it is given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from xai_bench.data.bundle import Bundle
from xai_bench.models.base import Predictor

N_ROWS = 1_000
"""Test rows that are looked at."""
N_LEAST = 20
"""Fewer test rows decide nothing."""
MARGIN = 0.05
"""Balanced accuracy above chance that is no chance."""
AUC = 0.6
"""A model that ranks the rows of a class so well knows something, whatever class it names."""


@torch.no_grad()
def fault(predictor: Predictor, bundle: Bundle) -> str:
    """How a model is no better than a constant on the test part, with numbers; empty if it is.

    A classifier is, where it names the right class no more often than the most frequent class is
    right, and its outputs do not tell the classes apart either; a regressor, where r2 is not
    above 0.
    """
    part = bundle.test
    if len(part) < N_LEAST:
        return ""
    x, y = part.x[:N_ROWS], part.y[:N_ROWS].numpy()
    context = {name: value[:N_ROWS] for name, value in part.context.items()}
    outputs = predictor(x, context).double().numpy()
    if bundle.task == "classification":
        return _classifier(outputs, y)
    error, spread = ((outputs[:, 0] - y) ** 2).mean(), y.astype(np.float64).var()
    r2 = 1 - error / spread if spread > 0 else 0.0
    return "" if r2 > 0 else f"r2 is {r2:.3g}, and 0 for the mean of the target"


def _classifier(outputs: npt.NDArray[np.float64], y: npt.NDArray[np.int64]) -> str:
    classes, counts = np.unique(y, return_counts=True)
    named = outputs.argmax(1)
    accuracy, most = float((named == y).mean()), counts.max() / len(y)
    # Against the imbalance of classes, where always naming the largest one is often right.
    balanced = float(np.mean([(named[y == c] == c).mean() for c in classes]))
    if accuracy > most or balanced > 1 / len(classes) + MARGIN or _auc(outputs, y) >= AUC:
        return ""
    return f"accuracy is {accuracy:.3f}, and {most:.3f} for always the most frequent class"


def _auc(outputs: npt.NDArray[np.float64], y: npt.NDArray[np.int64]) -> float:
    """The mean over classes of how well an output ranks the rows of its class first."""
    from scipy.stats import rankdata

    # Logits of two rows have no common zero, so rows are ranked by log-probabilities.
    shares = outputs - np.logaddexp.reduce(outputs, axis=1, keepdims=True)
    areas = []
    for c in np.unique(y):
        own = y == c
        n, others = own.sum(), (~own).sum()
        if others:
            ranks = rankdata(shares[:, c])
            areas.append((ranks[own].sum() - n * (n + 1) / 2) / (n * others))
    return float(np.mean(areas)) if areas else 0.0
