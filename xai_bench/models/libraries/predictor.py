"""A fitted model of a library as what explainers and metrics ask: x goes in, outputs come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_bench.core.spelling import listed
from xai_bench.core.tree_structure import evaluate
from xai_bench.data.bundle import Task
from xai_bench.data.tables.column_codes import CategoryColumn
from xai_bench.data.tables.encoding import TableEncoding, require_same_columns
from xai_bench.models.libraries.pipelines import as_numbers
from xai_bench.models.libraries.table_model import Floats, TableModel, TableTrees, task_of
from xai_bench.types import Column, Structure, TreeColumns, TreeStructure, Unsupported

_N_TRIED = 64
_AGREE = 1e-5
"""How far what is read of trees may be from the outputs, relative to these: single precision."""


@dataclass(frozen=True, eq=False)
class TablePredictor:
    """`x [B, *S]` as rows of a table to a fitted model, and its outputs back.

    Attributes:
        encoding: how a row of the table lies in x; without one, the elements of x are its columns.
        example: `[N, E]`, rows that what is read of trees is tried on.
    """

    model: TableModel
    encoding: TableEncoding | None = None
    example: Tensor | None = None
    differentiable: bool = False
    module: None = None

    @property
    def n_outputs(self) -> int:
        """One for each class; 1 for regression."""
        return self.model.n_outputs

    @property
    def task(self) -> Task:
        """Classification where there are classes, else regression."""
        return task_of(self.model)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes as the model names them; empty for regression."""
        return self.model.class_names

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        return torch.from_numpy(self.model.outputs(self.table(x))).to(x.dtype)

    def table(self, x: Tensor) -> Any:
        """`[N, *S]` to what the model takes: numbers `[N, Q]`, or a frame."""
        if self.encoding is None:
            return self._plain(x.detach().flatten(1).double().numpy())
        if self.model.takes == "frame":
            return self.encoding.decode(x)
        named = zip(self.encoding.columns, self.encoding.blocks(x), self._codes, strict=True)
        return np.stack(
            [
                codes[column.codes(block)]
                if isinstance(column, CategoryColumn)
                else column.numbers(block)
                for column, block, codes in named
            ],
            axis=1,
        )

    def structure(self, column: Column) -> Structure | None:
        """Raises `Unsupported` where the trees add up to something else."""
        if column not in self._read:
            self._read[column] = self._trees(column)
        return self._read[column]

    @cached_property
    def _read(self) -> dict[Column, TreeStructure | None]:
        """What has been read already, for it takes a while."""
        return {}

    @cached_property
    def _codes(self) -> list[Floats]:
        """Of each column, the number that the model knows each category by; NaN for missing."""
        if self.encoding is None:
            return []
        return [_codes_of(c, self.model, k) for k, c in enumerate(self.encoding.columns)]

    def _plain(self, rows: Floats) -> Any:
        if self.model.takes == "numbers" or not self.model.columns:
            return rows
        import pandas as pd

        # Asked without the names that it was fitted on, scikit-learn warns at every call.
        return pd.DataFrame(rows, columns=list(self.model.columns))

    def _trees(self, column: Column) -> TreeStructure | None:
        table_trees = self.model.trees(column)
        if table_trees is None:
            return None
        trees = table_trees.trees
        if self.encoding is not None or table_trees.make is not None:
            trees = replace(
                trees, columns=TreeColumns(self._reader(table_trees), self._source(table_trees))
            )
        if self.example is not None:
            self._try(trees, column, self.example[:_N_TRIED])
        return trees

    def _reader(self, table_trees: TableTrees) -> Any:
        def read(x: Tensor) -> Tensor:
            table = self.table(x)
            return torch.from_numpy(
                as_numbers(table) if table_trees.make is None else table_trees.make(table)
            )

        return read

    def _source(self, table_trees: TableTrees) -> Tensor:
        """`[Q, F]` bool: from the columns of the table to the elements of x."""
        n_columns = self.model.n_columns
        units = torch.arange(n_columns) if self.encoding is None else self.encoding.units
        elements = units == torch.arange(n_columns)[:, None]
        if table_trees.source is None:
            return elements
        return (torch.from_numpy(table_trees.source).double() @ elements.double()) > 0

    def _try(self, trees: TreeStructure, column: Column, x: Tensor) -> None:
        """Raise `Unsupported` where what is read is not what the model says."""
        outputs = torch.from_numpy(self.model.outputs(self.table(x)))
        expected = outputs.softmax(1) if column == "probabilities" else outputs
        gap = (evaluate(trees, x.flatten(1)) - expected).abs()
        # Relative to the outputs, and absolute where they are near 0.
        if (gap > _AGREE * (1 + expected.abs())).any():
            raise Unsupported(
                f"what is read of this {self.model.library} model misses its outputs by "
                f"{gap.max().item():.2g}: ask an explainer that needs no trees, such as kernel_shap"
            )


def require_fit(
    names: Sequence[str], n_columns: int, encoding: TableEncoding | None, n_elements: int
) -> None:
    """Raise ValueError where a model was fitted on other columns than the table has.

    `names` and `n_columns` are what the model knows; empty and 0 where it knows nothing.
    """
    if encoding is not None and encoding.named and names:
        require_same_columns(encoding.names, names, "the model was fitted on")
    n_in_x = n_elements if encoding is None else len(encoding.columns)
    if n_columns and n_columns != n_in_x:
        named = f": {listed(names)}" if names else ""
        raise ValueError(
            f"the model was fitted on {n_columns} columns{named}; a row of x has {n_in_x}"
        )


def _codes_of(column: Any, model: TableModel, number: int) -> Floats:
    """`[categories + 1]`: the code of each, and NaN for the missing one at the end."""
    if not isinstance(column, CategoryColumn):
        return np.zeros(0)
    categories = model.categories.get(number)
    if categories is None:
        # A model without a list of its own was fitted on the codes of the column's type.
        categories = getattr(column.dtype, "categories", None)
    if categories is None:
        raise ValueError(
            f"column {column.name!r} holds {column.values[0]!r}, and this {model.library} model "
            "takes numbers: give the column the type (pandas category) that it was fitted on"
        )
    places = {value: float(k) for k, value in enumerate(categories)}
    strange = [value for value in column.values if value not in places]
    if strange:
        raise ValueError(
            f"column {column.name!r} holds {strange[0]!r}, which the model has not seen in "
            f"training; it knows {listed(map(str, categories))}"
        )
    return np.array([*(places[value] for value in column.values), np.nan])
