"""Small real tables that ship with scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from xai_bench.core.spelling import suggest
from xai_bench.data.bundle import Bundle, Modality
from xai_bench.data.labels import Labels
from xai_bench.data.splits import FRACTIONS, divide, partition, standardise
from xai_bench.data.tables.columns import Numbers, axes, elements
from xai_bench.data.tables.constraints import Rules

NAMES = ("breast_cancer", "wine", "iris", "diabetes")


@dataclass(frozen=True)
class SklearnTable:
    """A table that ships with scikit-learn: breast_cancer, wine, iris or diabetes.

    Columns are standardised on the training part; so is the target of a regression (diabetes).
    `immutable`, `increasing`, `decreasing` and `ranges` are as in `custom_table`.
    """

    modality: ClassVar[Modality] = "tabular"
    name: str
    fractions: Sequence[float] = FRACTIONS
    split_seed: int = 0
    immutable: Sequence[str] = ()
    increasing: Sequence[str] = ()
    decreasing: Sequence[str] = ()
    ranges: Mapping[str, Sequence[float | None]] | None = None

    def load(self) -> Bundle:
        from sklearn import datasets

        if self.name not in NAMES:
            raise ValueError(
                f"there is no scikit-learn table {self.name!r}; {suggest(self.name, NAMES)}"
            )
        found = getattr(datasets, f"load_{self.name}")()
        x, labels = torch.from_numpy(found.data), _labels(found)
        parts = partition(labels.y, self.fractions, self.split_seed)
        units = torch.arange(x.shape[1])
        names = tuple(str(name) for name in found.feature_names)
        columns = [Numbers(n, values.double()) for n, values in zip(names, x.T, strict=True)]
        column_axes = axes(columns, parts.train)
        rules = Rules(self.immutable, self.increasing, self.decreasing, self.ranges)
        return Bundle(
            labels.task,
            self.modality,
            *divide(standardise(x, parts.train), labels.scaled(parts), units, parts),
            unit_names=names,
            class_names=labels.class_names,
            actionability=rules.of(column_axes),
            elements=elements(column_axes),
        )


def _labels(found: object) -> Labels:
    """The target of a scikit-learn bunch."""
    y = torch.from_numpy(found.target)  # type: ignore[attr-defined]
    names = tuple(str(name) for name in getattr(found, "target_names", ()))
    return Labels("classification", y.long(), names) if names else Labels("regression", y.double())
