"""Rows of a data frame as numbers, and back again without loss.

What is learned here are the categories only: numbers stay as they are, so that a model which was
fitted on the frame gets back what it knows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xai_bench.core.spelling import listed, suggest
from xai_bench.data.tables.columns import Axis
from xai_bench.data.tables.constraints import Rules
from xai_bench.types import Actionability, Element

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
MISSING = "missing"
"""The label of a missing value."""
MAX_PARTS = 10_000
"""Elements of x that a table may have at most."""
_EXACT = 2.0**53
"""Whole numbers beyond this have no float64 of their own."""
_DAY = 86_400_000_000
"""Microseconds."""


@dataclass(frozen=True, slots=True, eq=False)
class NumberColumn:
    """Numbers as they are; where some are missing, a second element is 1 for those, and the first
    is their mean.

    Attributes:
        n_elements: of x, 2 where values are missing.
        mean: what stands in for a missing value in x; the model is given NaN.
        axis: which values it has.
        unit: `D` for a point in time, in days since 1970, `d` for a length of time in days.
        dtype: of the column in the frame.
    """

    name: str
    n_elements: int
    mean: float
    axis: Axis
    unit: str = ""
    dtype: Any = None

    def encoded(self, values: pd.Series[Any]) -> Floats:
        """`[N, E]`. Raises ValueError where a value is missing and none was before."""
        numbers = _numbers(values, self.unit)
        gaps = np.isnan(numbers)
        if self.n_elements == 2:
            return np.stack([np.where(gaps, self.mean, numbers), gaps.astype(np.float64)], 1)
        if gaps.any():
            raise ValueError(
                f"column {self.name!r} has a missing value, and no row before had one; "
                "give a background with such a row"
            )
        return numbers[:, None]

    def numbers(self, block: Floats) -> Floats:
        """`[N, E] -> [N]`, NaN where missing."""
        return np.where(block[:, -1] > 0.5, np.nan, block[:, 0]) if self._gaps else block[:, 0]

    def decoded(self, block: Floats) -> Any:
        """`[N, E]`, as a column of the frame: numbers as float64, times as they were."""
        import pandas as pd

        numbers = self.numbers(block)
        if not self.unit:
            return numbers
        moments = np.where(np.isnan(numbers), 0, np.round(numbers * _DAY)).astype(np.int64)
        kind = "datetime64[us]" if self.unit == "D" else "timedelta64[us]"
        found = pd.Series(moments.view(kind)).mask(np.isnan(numbers))
        zone = getattr(self.dtype, "tz", None)
        return found.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else found

    def axes(self) -> Mapping[str, Axis]:
        """A missing value may be filled by a counterfactual, and none is made."""
        value = {self.name: self.axis}
        gap = {f"{self.name} is missing": Axis(lowest=0, highest=0, step=1)}
        return value | gap if self._gaps else value

    def elements(self) -> tuple[Element, ...]:
        return (Element(), Element(label=MISSING))[: self.n_elements]

    @property
    def _gaps(self) -> bool:
        return self.n_elements == 2


@dataclass(frozen=True, slots=True, eq=False)
class CategoryColumn:
    """One element of x per category, 1 for the present one; missing is one of them.

    What lies between, such as a mean, is read as the category with the largest part.

    Attributes:
        values: the categories as they stand in the frame, without the missing one.
        gaps: whether some are missing: the last element then says so.
        dtype: of the column in the frame.
    """

    name: str
    values: tuple[Any, ...]
    gaps: bool
    dtype: Any = None

    @property
    def n_elements(self) -> int:
        return len(self.values) + self.gaps

    def encoded(self, values: pd.Series[Any]) -> Floats:
        """`[N, E]`. Raises ValueError for a category that was not there before."""
        place = {_key(value): k for k, value in enumerate(self.values)}
        codes = np.array([place.get(_key(v), -1) for v in values.astype(object)], dtype=np.int64)
        gaps = values.isna().to_numpy()
        codes = np.where(gaps, len(self.values), codes)
        strange = (codes < 0) | (gaps & (not self.gaps))
        if strange.any():
            raise ValueError(
                f"column {self.name!r} holds {values[strange].iloc[0]!r}, which no row of the "
                f"background has; there is {listed(map(str, self.values))}"
            )
        return np.eye(self.n_elements)[codes]

    def codes(self, block: Floats) -> npt.NDArray[np.int64]:
        """`[N, E] -> [N]`: the category, -1 where it is missing."""
        codes = block.argmax(1).astype(np.int64)
        return np.where(codes == len(self.values), -1, codes)

    def decoded(self, block: Floats) -> Any:
        """`[N, E]`, as a column of the frame, of its own type."""
        import pandas as pd

        known = np.empty(len(self.values) + 1, dtype=object)
        known[:-1] = self.values
        return pd.Series(known[self.codes(block)]).astype(self.dtype)

    def axes(self) -> Mapping[str, Axis]:
        return {self.name: Axis(self.n_elements, coded=True)}

    def elements(self) -> tuple[Element, ...]:
        labels = (*(str(value) for value in self.values), *([MISSING] if self.gaps else []))
        return tuple(Element(label=label) for label in labels)


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
        columns = tuple(_column(frame[name], str(name) in categorical) for name in frame.columns)
        found = cls(columns, named=frame is table)
        if len(found.units) > MAX_PARTS:
            widest = max(columns, key=lambda column: column.n_elements)
            raise ValueError(
                f"column {widest.name!r} holds {widest.n_elements} different values, each of which "
                f"would be an element of x; drop it, or give it as numbers"
            )
        return found

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def units(self) -> Tensor:
        """`[E]`: the column of each element."""
        widths = torch.tensor([column.n_elements for column in self.columns])
        return torch.arange(len(self.columns)).repeat_interleave(widths)

    @property
    def elements(self) -> tuple[Element, ...]:
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


def _column(values: pd.Series[Any], category: bool) -> NumberColumn | CategoryColumn:
    """How a column is brought into x."""
    import pandas as pd

    name, dtype = str(values.name), values.dtype
    unit = {"M": "D", "m": "d"}.get(dtype.kind, "") if hasattr(dtype, "kind") else ""
    is_number = pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)
    if (is_number or unit) and not category:
        return _number_column(name, _numbers(values, unit), unit, dtype)
    if isinstance(dtype, pd.CategoricalDtype):
        present = set(values.dropna().unique())
        kinds = [value for value in dtype.categories if value in present]
    else:
        kinds = sorted(values.dropna().unique().tolist(), key=_key)
    if not kinds:
        raise ValueError(f"column {name!r} has no values; drop it")
    return CategoryColumn(name, tuple(kinds), bool(values.isna().any()), dtype)


def _number_column(name: str, numbers: Floats, unit: str, dtype: Any) -> NumberColumn:
    gaps = np.isnan(numbers)
    known = numbers[~gaps]
    if len(known) == 0:
        raise ValueError(f"column {name!r} has no values; drop it")
    if np.isinf(known).any():
        raise ValueError(f"column {name!r} holds an infinite value; expected finite numbers")
    whole = bool((known == np.floor(known)).all())
    if whole and np.abs(known).max() > _EXACT:
        raise ValueError(
            f"column {name!r} holds whole numbers beyond 2^53, which float64 cannot tell apart; "
            "drop it, or give it as text"
        )
    axis = _axis(np.unique(known), whole=whole)
    return NumberColumn(name, 1 + int(gaps.any()), float(known.mean()), axis, unit, dtype)


def _axis(known: Floats, *, whole: bool) -> Axis:
    """Two values are all there are; whole numbers stay whole."""
    if len(known) == 2:
        low, high = known.tolist()
        return Axis(lowest=low, highest=high, origin=low, step=high - low)
    return Axis(step=float(whole))


def _numbers(values: pd.Series[Any], unit: str) -> Floats:
    """`[N]`, NaN where missing; times in days."""
    if not unit:
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    if unit == "D" and getattr(values.dtype, "tz", None) is not None:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    kind = "datetime64[us]" if unit == "D" else "timedelta64[us]"
    moments = values.to_numpy().astype(kind).view(np.int64)
    return np.where(values.isna(), np.nan, moments / _DAY)


def _key(value: Any) -> tuple[str, float, str]:
    """By which values of any type are told apart and put in order; 1 and 1.0 are one value."""
    if isinstance(value, int | float | np.number | np.bool_):
        return "number", float(value), ""
    return "text" if isinstance(value, str) else type(value).__name__, 0.0, str(value)
