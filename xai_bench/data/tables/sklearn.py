"""Small real tables that ship with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from xai_bench.core.spelling import suggest
from xai_bench.data import shipped
from xai_bench.data.bundle import Bundle, Modality
from xai_bench.data.labels import Labels
from xai_bench.data.splits import divide, partition, standardise
from xai_bench.data.tables.columns import Numbers, axes, elements
from xai_bench.data.tables.settings import TableSettings

NAMES = ("breast_cancer", "wine", "iris", "diabetes")


@dataclass(frozen=True)
class SklearnTable(TableSettings):
    """A table that ships with scikit-learn: breast_cancer, wine, iris or diabetes.

    Columns are standardised on the training part; so is the target of a regression (diabetes);
    `scale=none` leaves both as they are.
    `immutable`, `increasing`, `decreasing` and `ranges` are as in `custom_table`.
    """

    modality: ClassVar[Modality] = "tabular"
    name: str

    def load(self) -> Bundle:
        """Split and scale the table. Raises ValueError for an unknown name."""
        if self.name not in NAMES:
            raise ValueError(
                f"there is no scikit-learn table {self.name!r}; {suggest(self.name, NAMES)}"
            )
        table = shipped.table(self.name)
        x, labels = torch.from_numpy(table.x), replace(_labels(table), raw=self.raw)
        parts = partition(labels.y, self.fractions, self.split_seed)
        units = torch.arange(x.shape[1])
        scaled = x.float() if self.raw else standardise(x, parts.train)
        columns = [
            Numbers(n, v.double(), self.raw) for n, v in zip(table.columns, x.T, strict=True)
        ]
        column_axes = axes(columns, parts.train)
        return Bundle(
            labels.task,
            self.modality,
            *divide(scaled, labels.scaled(parts), units, parts),
            unit_names=table.columns,
            class_names=labels.class_names,
            actionability=self.rules.actionability(column_axes),
            elements=elements(column_axes),
            y_element=labels.element(parts),
        )


def _labels(table: shipped.ShippedData) -> Labels:
    """The target: classes where they have names, else values."""
    y = torch.from_numpy(table.y)
    if table.class_names:
        return Labels("classification", y.long(), table.class_names)
    return Labels("regression", y.double())
