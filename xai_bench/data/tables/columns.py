"""Columns of a table: how gaps are filled, values encoded, and rows split into groups.

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

from xai_bench.data.labels import in_single, require_exact, value_name
from xai_bench.data.splits import moments, standardise
from xai_bench.data.tables.large_numbers import beyond_float64
from xai_bench.data.tables.texts import is_text, require_clear
from xai_bench.types import Element

if TYPE_CHECKING:
    import pandas as pd

MAX_CATEGORIES = 100
"""A text column with more different values than this is refused unless it is declared."""
STRAY = 0.2
"""A text column with a smaller share of texts that are no numbers is a broken number column."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Which values a column has and where they are in x, at `(value - mean) / scale`.

    Attributes:
        n_elements: how many elements of x the column has.
        coded: whether they are a category in one-hot form; the numbers below then mean nothing.
        lowest, highest: bounds that follow from the values, such as those of two values.
        origin, step: values are `origin + k * step`; a step of 0 allows any.
        labels: the categories, one per element.
        observed: the least and the largest value that was seen: bounds unless the user gives some.
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
    observed: tuple[float, float] = (-inf, inf)

    def elements(self) -> tuple[Element, ...]:
        """Each element of x in the units and labels of the file."""
        if self.coded:
            return tuple(Element(label=label) for label in self.labels)
        return (Element(self.mean, self.scale),)


class Column(Protocol):
    """One column; `N` rows."""

    @property
    def name(self) -> str:
        """The name in the file."""
        ...

    def axis(self, train: Tensor) -> Axis:
        """Which values it has, learned on the rows `train`."""
        ...

    def encoded(self, train: Tensor) -> Tensor:
        """`[N, E]` float32 without gaps: the elements of x for this column."""
        ...

    def groups(self, train: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """`[N]` long codes and the name of each."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """`values [N]` float64, NaN where missing; standardised, gaps filled with the training mean.

    `raw` values are not standardised.
    """

    name: str
    values: Tensor
    raw: bool = False

    def encoded(self, train: Tensor) -> Tensor:
        """`[N, 1]` float32, standardised on the training rows unless raw."""
        if self.raw:
            return in_single(self._filled(train), self.name)[:, None]
        return standardise(self._filled(train), train)[:, None]

    def groups(self, train: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """Two values are two groups; more are cut at the training median."""
        values = self._filled(train)
        distinct = values.unique()
        if len(distinct) <= 2:
            names = tuple(value_name(value) for value in distinct.tolist())
            return torch.searchsorted(distinct, values), names
        middle = float(values[train].median())
        name = value_name(middle)
        return (values > middle).long(), (f"up to {name}", f"above {name}")

    def axis(self, train: Tensor) -> Axis:
        """A column of two values has no others; one of whole numbers has steps of 1.

        Values beyond those of the training rows are none that anybody has seen.
        """
        filled = self._filled(train)
        mean, scale = (0.0, 1.0) if self.raw else map(float, moments(filled, train))
        values = self.values[train]
        values = values[~values.isnan()]
        low, high = values.min().item(), values.max().item()
        if len(values.unique()) == 2:
            return Axis(1, False, mean, scale, low, high, low, high - low)
        step = float(bool((values == values.floor()).all()))
        return Axis(1, False, mean, scale, step=step, observed=(low, high))

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
        """`[N, E]` float32: one part per category of the training rows."""
        filled = self._filled(train)
        categories: Tensor = filled[train].unique()
        return (filled[:, None] == categories).float()

    def groups(self, train: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """One group per category."""
        categories, codes = self._filled(train).unique(return_inverse=True)
        return codes, tuple(self.labels[code] for code in categories.tolist())

    def axis(self, train: Tensor) -> Axis:
        """The categories of the training rows."""
        categories = self._filled(train)[train].unique().tolist()
        labels = tuple(self.labels[code] for code in categories)
        return Axis(len(categories), coded=True, labels=labels)

    def _filled(self, train: Tensor) -> Tensor:
        present = self.codes[train]
        present = present[present >= 0]
        if len(present) == 0:
            raise ValueError(
                f"column {self.name!r} has no values in the training part; drop it "
                f"(data.drop=[{self.name}])"
            )
        return torch.where(self.codes < 0, present.bincount().argmax(), self.codes)


def axes(columns: Iterable[Column], train: Tensor) -> dict[str, Axis]:
    """Name -> axis, in the order of the columns."""
    return {column.name: column.axis(train) for column in columns}


def elements(axes: Mapping[str, Axis]) -> tuple[Element, ...]:
    """The elements of all columns, one after the other as in x."""
    return tuple(element for axis in axes.values() for element in axis.elements())


def read_column(
    column: pd.Series[Any], *, category: bool, number: bool, raw: bool = False
) -> Column:
    """The column as the user declared it; undeclared, text is a category. `raw` numbers stay.

    Raises ValueError for dates, numbers in disguise, text with very many values, text among
    numbers, and numbers that float64 does not hold.
    """
    import pandas as pd

    name = str(column.name)
    if not category:
        _require_no_time(column)
        values = _numbers(column, declared=number)
        if values is not None:
            return Numbers(name, values, raw)
        require_clear(column)
    # Sorted, so that codes do not follow the order of the rows.
    codes, categories = pd.factorize(_comparable(column), sort=True)
    if len(categories) > MAX_CATEGORIES and not category:
        raise ValueError(
            f"column {name!r} has {len(categories)} different texts, such as "
            f"{str(categories[0])!r}, and "
            f"looks like names or dates; drop it (data.drop=[{name}]) or name it in "
            f"data.categorical"
        )
    labels = tuple(value_name(value) for value in categories)
    return Categories(name, torch.from_numpy(codes.astype(np.int64)), labels)


def require_told_apart(column: pd.Series[Any]) -> None:
    """Raise ValueError for a column of numbers that float64 does not tell apart."""
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    require_exact(numbers, str(column.name), whole=beyond_float64(column, numbers))


def _comparable(column: pd.Series[Any]) -> pd.Series[Any]:
    """Values of several types, which have no order, as texts."""
    import pandas as pd

    mixed = is_text(column) and pd.api.types.infer_dtype(column, skipna=True).startswith("mixed")
    return column.map(value_name, na_action="ignore") if mixed else column


def _require_no_time(column: pd.Series[Any]) -> None:
    """Raise ValueError for dates and lengths of time that were not named in `data.dates`."""
    import pandas as pd

    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind.startswith(("date", "time", "period")):
        raise ValueError(
            f"column {column.name!r} holds {'lengths of time' if 'delta' in kind else 'dates'}; "
            f"name it in data.dates=[{column.name}], which makes it days since 1970, or drop it "
            f"(data.drop=[{column.name}])"
        )


def _numbers(column: pd.Series[Any], *, declared: bool) -> Tensor | None:
    """`[N]` float64, or None if the column is text. Stray text among numbers raises."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if pd.api.types.is_complex_dtype(column):
        raise ValueError(f"column {column.name!r} holds complex numbers; expected real ones")
    numbers = pd.to_numeric(column, errors="coerce")
    parsed = numbers.to_numpy(np.float64, na_value=np.nan)
    strays = np.flatnonzero((np.isnan(parsed) & column.notna().to_numpy()) | np.isinf(parsed))
    present = int(column.notna().sum())
    if len(strays) == 0:
        require_exact(parsed, str(column.name), whole=beyond_float64(column, parsed))
        # A copy, because pandas hands out memory that cannot be written to.
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
