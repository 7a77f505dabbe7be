"""Rows of a data frame as numbers, and back again without loss.

What is learned here are the categories only: numbers stay as they are, so that a model which was
fitted on the frame gets back what it knows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xai_bench.core.spelling import listed, suggest
from xai_bench.data.bundle import Bundle
from xai_bench.data.tables.column_codes import (
    CategoryColumn,
    Floats,
    NumberColumn,
    column_of_bundle,
    column_of_frame,
)
from xai_bench.data.tables.constraints import Rules
from xai_bench.types import Actionability, Element

if TYPE_CHECKING:
    import pandas as pd

MAX_PARTS = 10_000
"""Elements of x that a table may have at most."""


@dataclass(frozen=True, slots=True, eq=False)
class TableEncoding:
    """The columns of a table, one after the other in x `[N, E]` float64; each is one unit.

    Attributes:
        named: whether rows are decoded to a data frame; else to an array.
    """

    columns: tuple[NumberColumn | CategoryColumn, ...]
    named: bool = True

    @classmethod
    def of(cls, table: Any, categorical: Collection[str] = ()) -> TableEncoding:
        """From all rows that are to be encoded: a data frame, or an array `[N, columns]`.

        Texts, truth values, pandas categories and what is named in `categorical` become
        categories. Raises ValueError for what cannot be brought into x without loss.
        """
        frame = _frame(table)
        columns = tuple(
            column_of_frame(frame[name], category=str(name) in categorical)
            for name in frame.columns
        )
        encoding = cls(columns, named=frame is table)
        if len(encoding.units) > MAX_PARTS:
            widest = max(columns, key=lambda column: column.n_elements)
            raise ValueError(
                f"column {widest.name!r} holds {widest.n_elements} different values, each of which "
                f"would be an element of x; drop it, or give it as numbers"
            )
        return encoding

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> TableEncoding | None:
        """How x stands for the rows of the file that data come from; None where nobody knows."""
        if not bundle.elements:
            return None
        units, x = bundle.train.units[0].flatten(), bundle.train.x.flatten(1)
        places = [(units == k).nonzero()[:, 0].tolist() for k in range(len(bundle.unit_names))]
        # Columns are cut out of x in one piece each.
        if [place for own in places for place in own] != list(range(len(units))):
            return None
        named = zip(bundle.unit_names, places, strict=True)
        columns = [
            column_of_bundle(name, [bundle.elements[k] for k in own], x[:, own])
            for name, own in named
        ]
        return cls(tuple(columns))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in their order."""
        return tuple(column.name for column in self.columns)

    @property
    def units(self) -> Tensor:
        """`[E]`: the column of each element."""
        widths = torch.tensor([column.n_elements for column in self.columns])
        return torch.arange(len(self.columns)).repeat_interleave(widths)

    @property
    def elements(self) -> tuple[Element, ...]:
        """What each element of x means, column by column."""
        return tuple(element for column in self.columns for element in column.elements())

    def actionability(self, rules: Rules | None = None) -> Actionability:
        """What counterfactuals may change, by the columns themselves and by the rules."""
        axes = {name: axis for column in self.columns for name, axis in column.axes().items()}
        return (rules or Rules()).actionability(axes)

    def encode(self, table: Any) -> Tensor:
        """`[N, E]` float64. Raises ValueError for other columns than those it was made of."""
        frame = _frame(table)
        require_same_columns(
            [str(name) for name in frame.columns], self.names, "the background has"
        )
        named = zip(frame.columns, self.columns, strict=True)
        blocks = [column.encoded(frame[name]) for name, column in named]
        return torch.from_numpy(np.concatenate(blocks, axis=1))

    def decode(self, x: Tensor) -> Any:
        """`[N, E]` to the frame, or to the array, that it stands for."""
        import pandas as pd

        parts = {
            c.name: c.decoded(block) for c, block in zip(self.columns, self.blocks(x), strict=True)
        }
        frame = pd.DataFrame(parts)
        return frame if self.named else frame.to_numpy()

    def blocks(self, x: Tensor) -> Sequence[Floats]:
        """`[N, E]`, cut into the elements of each column."""
        rows = x.detach().double().flatten(1).numpy()
        widths = [column.n_elements for column in self.columns]
        return np.split(rows, np.cumsum(widths)[:-1], axis=1)


def require_same_columns(found: Sequence[str], expected: Sequence[str], who: str) -> None:
    """Raise ValueError for a column that is missing, is too much or stands elsewhere.

    `who` begins a sentence on the expected ones, such as `the model was fitted on`.
    """
    missing = [name for name in expected if name not in found]
    spare = [name for name in found if name not in expected]
    if missing:
        hint = suggest(missing[0], spare)
        close = f" ({hint})" if hint.startswith("did you mean") else ""
        raise ValueError(f"the table lacks column {missing[0]!r}{close}; {who} {listed(expected)}")
    if spare:
        raise ValueError(
            f"the table has a column {spare[0]!r} too much; {who} {listed(expected)}: drop it"
        )
    if list(found) != list(expected):
        first = next(k for k, name in enumerate(expected) if found[k] != name)
        raise ValueError(
            f"the columns stand in another order: {found[first]!r} is where {expected[first]!r} "
            f"should be; {who} {listed(expected)}: reorder the columns of the table"
        )


def _frame(table: Any) -> pd.DataFrame:
    """The data frame itself, or one of an array `[N, columns]`."""
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        names = [str(name) for name in table.columns]
        twice = [name for k, name in enumerate(names) if name in names[:k]]
        if twice:
            raise ValueError(f"the table has two columns {twice[0]!r}; give each a name of its own")
        return table
    values = np.asarray(table)
    if values.ndim != 2:
        raise ValueError(
            f"a table has rows and columns; found an array of shape {list(values.shape)}"
        )
    return pd.DataFrame(
        values, columns=[f"x{k + 1}" for k in range(values.shape[1])]
    ).infer_objects()
