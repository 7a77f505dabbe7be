"""Small real tables that ship with scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from xai_bench.data.bundle import Bundle, Modality
from xai_bench.data.checks import near
from xai_bench.data.labels import Labels
from xai_bench.data.splits import FRACTIONS, divide, partition, standardise

NAMES = ("breast_cancer", "wine", "iris", "diabetes")


@dataclass(frozen=True)
class SklearnTable:
    """A table that ships with scikit-learn: breast_cancer, wine, iris or diabetes.

    Columns are standardised on the training part; so is the target of a regression (diabetes).
    """

    modality: ClassVar[Modality] = "tabular"
    name: str
    fractions: Sequence[float] = FRACTIONS
    split_seed: int = 0

    def load(self) -> Bundle:
        from sklearn import datasets

        if self.name not in NAMES:
            raise ValueError(
                f"scikit-learn table {self.name!r} is not known{near(self.name, NAMES)}; "
                f"choose from {', '.join(NAMES)}"
            )
        found = getattr(datasets, f"load_{self.name}")()
        x, labels = torch.from_numpy(found.data), _labels(found)
        parts = partition(labels.y, self.fractions, self.split_seed)
        units = torch.arange(x.shape[1])
        return Bundle(
            labels.task,
            self.modality,
            *divide(standardise(x, parts.train), labels.scaled(parts), units, parts),
            unit_names=tuple(str(name) for name in found.feature_names),
            class_names=labels.class_names,
        )


def _labels(found: object) -> Labels:
    """The target of a scikit-learn bunch."""
    y = torch.from_numpy(found.target)  # type: ignore[attr-defined]
    names = tuple(str(name) for name in getattr(found, "target_names", ()))
    return Labels("classification", y.long(), names) if names else Labels("regression", y.double())
