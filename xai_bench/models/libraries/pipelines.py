"""Pipelines of scikit-learn: what comes before the model works on rows that were already changed,
so that a column is removed before it is encoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from xai_bench.models.libraries.sklearn_columns import sources_of
from xai_bench.models.libraries.table_model import Floats, TableModel, TableTrees
from xai_bench.types import Column, Unsupported


@dataclass(frozen=True, eq=False)
class PipelineModel:
    """The transformers of a pipeline, and the model at its end, which may be of any library."""

    transformers: Any
    final: TableModel
    takes: ClassVar[Literal["frame", "numbers"]] = "frame"
    categories: ClassVar[Mapping[int, Sequence[Any]]] = {}

    @property
    def library(self) -> str:
        """The package that the model is of."""
        return self.final.library

    @property
    def columns(self) -> tuple[str, ...]:
        """The names that it was fitted on; empty where it was fitted on an array."""
        return tuple(str(name) for name in getattr(self.transformers, "feature_names_in_", ()))

    @property
    def n_columns(self) -> int:
        """How many columns it was fitted on; 0 where that is unknown."""
        return int(getattr(self.transformers, "n_features_in_", 0))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes as the model names them; empty for regression."""
        return self.final.class_names

    @property
    def n_outputs(self) -> int:
        """One for each class; 1 for regression."""
        return self.final.n_outputs

    def outputs(self, table: Any) -> Floats:
        """`[N, C]`: logits of a classifier, values of a regressor."""
        return self.final.outputs(self.transformed(table))

    def trees(self, column: Column) -> TableTrees | None:
        """How outputs or probabilities come about; see `TableModel.trees`."""
        final = self.final.trees(column)
        if final is None:
            return None
        if not self.n_columns:
            raise Unsupported("TreeSHAP needs a pipeline that knows how many columns it takes")
        n_made = self.final.n_columns
        source = sources_of(self.transformers, self.n_columns, n_made)
        if final.source is not None:
            source = (final.source.astype(np.int64) @ source.astype(np.int64)) > 0

        def make(table: Any) -> Floats:
            inner = self.transformed(table)
            return as_numbers(inner) if final.make is None else final.make(inner)

        return TableTrees(final.trees, make, source)

    def transformed(self, table: Any) -> Any:
        """The table as the model at the end takes it."""
        made = self.transformers.transform(table)
        return as_numbers(made) if self.final.takes == "numbers" else made


def as_numbers(table: Any) -> Floats:
    """`[N, Q]` of an array, a sparse matrix or a frame of numbers. Raises `Unsupported`."""
    dense = table.toarray() if hasattr(table, "toarray") else table
    try:
        return np.asarray(dense, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise Unsupported(f"this part of the pipeline takes more than numbers: {error}") from None
