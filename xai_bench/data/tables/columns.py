"""Columns of a table: what is missing, how it is filled, encoded, and split into groups.

Everything that is learned (means, modes, scales, categories, medians) is learned on training rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from xai_bench.data.labels import value_name
from xai_bench.data.splits import moments, standardise
from xai_bench.types import Element

if TYPE_CHECKING:
    import pandas as pd

MAX_CATEGORIES = 100
"""More different texts than this in a column nobody declared look like names or dates."""
STRAY = 0.2
"""A text column with a smaller share of texts that are no numbers is taken for a broken number."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Which values a column has and where they are in x, at `(value - mean) / scale`.

    Attributes:
        n_elements: elements of x that stand for it.
        coded: whether they are a category in one-hot form; the rest then says nothing.
        lowest, highest: what no value can pass, where the column tells.
        origin, step: values are `origin + k * step`; a step of 0 allows any.
        labels: the categories, one per element.
    """

    n_elements: int = 1
    coded: bool = False
    mean: float = 0.0
    scale: float = 1.0
    lowest: float = -inf
    highest: float = inf
    origin: float = 0.0
    step: float = 0.0
    labels: tuple[str, ...] = ()

    def elements(self) -> tuple[Element, ...]:
        """What its elements say in the words of the file."""
        if self.coded:
            return tuple(Element(label=label) for label in self.labels)
        return (Element(self.mean, self.scale),)


class Column(Protocol):
    """One column; `N` rows."""

    @property
    def name(self) -> str: ...

    def axis(self, train: Tensor) -> Axis: ...

    def encoded(self, train: Tensor) -> Tensor:
        """`[N, E]` float32 without gaps: all that stands for this column in x."""
        ...

    def groups(self, train: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """`[N]` long codes and the name of each."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """`values [N]` float64, NaN where missing; standardised, gaps filled with the training mean."""

    name: str
    values: Tensor

    def encoded(self, train: Tensor) -> Tensor:
        return standardise(self._filled(train), train)[:, None]

    def groups(self, train: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """Two values are two groups; more are cut at the training median."""
        values = self._filled(train)
        found = values.unique()
        if len(found) <= 2:
            return torch.searchsorted(found, values), tuple(value_name(v) for v in found.tolist())
        middle = float(values[train].median())
        name = value_name(middle)
        return (values > middle).long(), (f"up to {name}", f"above {name}")

    def axis(self, train: Tensor) -> Axis:
        """Two values are all there are; whole numbers stay whole."""
        mean, scale = (float(m) for m in moments(self._filled(train), train))
        seen = self.values[train]
        seen = seen[~seen.isnan()]
        low, high = seen.min().item(), seen.max().item()
        if len(seen.unique()) == 2:
            return Axis(1, False, mean, scale, low, high, low, high - low)
        return Axis(1, False, mean, scale, step=float(bool((seen == seen.floor()).all())))

    def _filled(self, train: Tensor) -> Tensor:
        mean = self.values[train].nanmean()
        if mean.isnan():
            raise ValueError(
                f"column {self.name!r} has no values in the training part; drop it "
                f"(data.drop=[{self.name}])"
            )
        return torch.where(self.values.isnan(), mean, self.values)


@dataclass(frozen=True, slots=True, eq=False)
class Categories:
    """`codes [N]` long into `labels`, -1 where missing; one-hot, gaps get the training mode.

    One-hot parts stay 0 and 1. Categories without training rows get no part: such rows are all 0.
    """

    name: str
    codes: Tensor
    labels: tuple[str, ...]

    def encoded(self, train: Tensor) -> Tensor:
        filled = self._filled(train)
        found: Tensor = filled[train].unique()
        return (filled[:, None] == found).float()

    def groups(self, train: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        found, codes = self._filled(train).unique(return_inverse=True)
        return codes, tuple(self.labels[code] for code in found.tolist())

    def axis(self, train: Tensor) -> Axis:
        found = self._filled(train)[train].unique().tolist()
        return Axis(len(found), coded=True, labels=tuple(self.labels[code] for code in found))

    def _filled(self, train: Tensor) -> Tensor:
        known = self.codes[train]
        known = known[known >= 0]
        if len(known) == 0:
            raise ValueError(
                f"column {self.name!r} has no values in the training part; drop it "
                f"(data.drop=[{self.name}])"
            )
        return torch.where(self.codes < 0, known.bincount().argmax(), self.codes)


def axes(columns: Iterable[Column], train: Tensor) -> dict[str, Axis]:
    """Name -> axis, in the order of the columns."""
    return {column.name: column.axis(train) for column in columns}


def elements(axes: Mapping[str, Axis]) -> tuple[Element, ...]:
    """Of all columns, one after the other as in x."""
    return tuple(element for axis in axes.values() for element in axis.elements())


def read_column(column: pd.Series[Any], *, category: bool, number: bool) -> Column:
    """`category` and `number`: what the user declared; else what is no number is a category."""
    import pandas as pd

    name = str(column.name)
    if pd.api.types.is_datetime64_any_dtype(column):
        raise ValueError(f"column {name!r} holds dates; drop it (data.drop=[{name}])")
    if not category:
        values = _numbers(column, declared=number)
        if values is not None:
            return Numbers(name, values)
    codes, found = pd.factorize(column, sort=True)
    if len(found) > MAX_CATEGORIES and not category:
        raise ValueError(
            f"column {name!r} has {len(found)} different texts, such as {str(found[0])!r}, and "
            f"looks like names or dates; drop it (data.drop=[{name}]) or name it in "
            f"data.categorical"
        )
    labels = tuple(value_name(value) for value in found)
    return Categories(name, torch.from_numpy(codes.astype(np.int64)), labels)


def _numbers(column: pd.Series[Any], *, declared: bool) -> Tensor | None:
    """`[N]` float64, or None if the column is text. Stray text among numbers raises."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    parsed = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    strays = np.flatnonzero((np.isnan(parsed) & column.notna().to_numpy()) | np.isinf(parsed))
    present = int(column.notna().sum())
    if len(strays) == 0:
        return torch.from_numpy(parsed.copy())
    is_text = not pd.api.types.is_numeric_dtype(column)
    if is_text and not declared and len(strays) >= STRAY * present:
        return None
    first = int(strays[0])
    raise ValueError(
        f"column {column.name!r} should hold numbers, but data row {column.index[first] + 1} holds "
        f"{str(column.iloc[first])!r}; correct it, add the mark to data.na_values if it means "
        f"missing, or name the column in data.categorical"
    )
