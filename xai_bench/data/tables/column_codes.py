"""One column of a table in x: numbers and times as they are, categories in one-hot form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from xai_bench.core.spelling import listed
from xai_bench.data.tables.columns import Axis
from xai_bench.types import Element

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
MISSING = "missing"
"""The label of a missing value."""
_EXACT = 2.0**53
"""Whole numbers beyond this have no float64 of their own."""
_DECIMALS = 7
"""Places behind the point that are looked for."""
_DAY = 86_400_000_000
"""Microseconds."""


@dataclass(frozen=True, slots=True, eq=False)
class NumberColumn:
    """Numbers as they are; where some are missing, a second element is 1 for those, and the first
    is their mean.

    Attributes:
        n_elements: of x, 2 where values are missing.
        mean: what stands in for a missing value in x; the model is given NaN.
        axis: which values it has, and how they lie in x, at `(value - axis.mean) / axis.scale`.
        decimals: how many places there are behind the point, where these are few; what was rounded
            in x is then put right.
        unit: `D` for a point in time, in days since 1970, `d` for a length of time in days.
        dtype: of the column in the frame.
    """

    name: str
    n_elements: int
    mean: float
    axis: Axis
    unit: str = ""
    dtype: Any = None
    decimals: int | None = None

    def encoded(self, values: pd.Series[Any]) -> Floats:
        """`[N, E]`. Raises ValueError where a value is missing and none was before."""
        numbers = (_numbers(values, self.unit) - self.axis.mean) / self.axis.scale
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
        values: Floats = self.axis.mean + self.axis.scale * block[:, 0]
        if self.decimals is not None:
            near = np.round(values, self.decimals)
            # Only what rounding may have moved: values that explainers make stay.
            values = np.where(np.abs(near - values) <= self._rounding, near, values)
        return np.where(block[:, -1] > 0.5, np.nan, values) if self._gaps else values

    def decoded(self, block: Floats) -> Any:
        """`[N, E]`, as a column of the frame: numbers as float64, times as they were."""
        import pandas as pd

        numbers = self.numbers(block)
        if not self.unit:
            return numbers
        # Rounded, because a part of a day in float64 falls short of its microseconds.
        moments = np.where(np.isnan(numbers), 0, np.round(numbers * _DAY)).astype(np.int64)
        kind = "datetime64[us]" if self.unit == "D" else "timedelta64[us]"
        column = pd.Series(moments.view(kind)).mask(np.isnan(numbers))
        zone = getattr(self.dtype, "tz", None)
        return column.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else column

    def axes(self) -> Mapping[str, Axis]:
        """A missing value may be filled by a counterfactual, and none is made."""
        value = {self.name: self.axis}
        gap = {f"{self.name} is missing": Axis(lowest=0, highest=0, step=1)}
        return value | gap if self._gaps else value

    def elements(self) -> tuple[Element, ...]:
        """The number in the unit of the column, then whether it is missing, where some are."""
        value = Element(self.axis.mean, self.axis.scale)
        return (value, Element(label=MISSING))[: self.n_elements]

    @property
    def _rounding(self) -> float:
        """How far a value may be off in single precision."""
        # Of a value up to ten deviations off the mean, rounded a few times on its way.
        return float(8 * np.finfo(np.float32).eps * (abs(self.axis.mean) + 10 * self.axis.scale))

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
        """One for each category, and one for gaps, where there are some."""
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
        """`[N, E] -> [N]`: the category, -1 where it is missing or no part is above 0."""
        codes = block.argmax(1).astype(np.int64)
        return np.where((codes == len(self.values)) | (block.max(1) <= 0), -1, codes)

    def decoded(self, block: Floats) -> Any:
        """`[N, E]`, as a column of the frame, of its own type."""
        import pandas as pd

        # The last one stays None: it is where code -1 leads.
        categories = np.empty(len(self.values) + 1, dtype=object)
        categories[:-1] = self.values
        column = pd.Series(categories[self.codes(block)])
        return column.infer_objects() if self.dtype is None else column.astype(self.dtype)

    def axes(self) -> Mapping[str, Axis]:
        """One axis of codes: a counterfactual changes the category as a whole."""
        return {self.name: Axis(self.n_elements, coded=True)}

    def elements(self) -> tuple[Element, ...]:
        """The categories by name, then the gap, where there are some."""
        labels = (*(str(value) for value in self.values), *([MISSING] if self.gaps else []))
        return tuple(Element(label=label) for label in labels)


def column_of_frame(values: pd.Series[Any], *, category: bool) -> NumberColumn | CategoryColumn:
    """How a column of a frame is brought into x. Raises ValueError where that loses something."""
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
    present = numbers[~gaps]
    if len(present) == 0:
        raise ValueError(f"column {name!r} has no values; drop it")
    if np.isinf(present).any():
        raise ValueError(f"column {name!r} holds an infinite value; expected finite numbers")
    are_whole = bool((present == np.floor(present)).all())
    if are_whole and np.abs(present).max() > _EXACT:
        raise ValueError(
            f"column {name!r} holds whole numbers beyond 2^53, which float64 cannot tell apart; "
            "drop it, or give it as text"
        )
    axis = _axis(np.unique(present), whole=are_whole)
    return NumberColumn(name, 1 + int(gaps.any()), float(present.mean()), axis, unit, dtype)


def _axis(known: Floats, *, whole: bool) -> Axis:
    """Two values are all there are; whole numbers stay whole."""
    if len(known) == 2:
        low, high = known.tolist()
        return Axis(lowest=low, highest=high, origin=low, step=high - low)
    return Axis(step=float(whole), observed=(float(known[0]), float(known[-1])))


def _numbers(values: pd.Series[Any], unit: str) -> Floats:
    """`[N]`, NaN where missing; times in days."""
    if not unit:
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    if unit == "D" and getattr(values.dtype, "tz", None) is not None:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    kind = "datetime64[us]" if unit == "D" else "timedelta64[us]"
    moments = values.to_numpy().astype(kind).view(np.int64)
    return np.where(values.isna(), np.nan, moments / _DAY)


def column_of_bundle(
    name: str, elements: Sequence[Element], x: Tensor
) -> NumberColumn | CategoryColumn:
    """A column of a bundle, by what its elements say, and its training rows `[N, E]`."""
    labels = [element.label for element in elements]
    if labels[0]:
        return CategoryColumn(name, _values(labels), gaps=False)
    axis = Axis(mean=elements[0].mean, scale=elements[0].scale)
    draft = NumberColumn(name, len(elements), 0.0, axis)
    numbers = draft.numbers(x.double().numpy())
    return replace(draft, decimals=_decimals(numbers[~np.isnan(numbers)], draft))


def _values(labels: Sequence[str]) -> tuple[Any, ...]:
    """Categories as they stand in a file: numbers where all of them are."""
    try:
        numbers = [float(label) for label in labels]
    except ValueError:
        return tuple(labels)
    are_whole = all(number.is_integer() for number in numbers)
    return tuple(int(number) if are_whole else number for number in numbers)


def _decimals(numbers: Floats, column: NumberColumn) -> int | None:
    """The fewest places behind the point that all numbers have, up to what was rounded."""
    for decimals in range(_DECIMALS):
        column = replace(column, decimals=decimals)
        if (np.abs(np.round(numbers, decimals) - numbers) <= column._rounding).all():
            # Where half a step is no more than what rounding moves, any number would fit.
            return decimals if 0.5 * 10**-decimals > column._rounding else None
    return None


def _key(value: Any) -> tuple[str, float, str]:
    """By which values of any type are told apart and put in order; 1 and 1.0 are one value."""
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        value = value.item()
    if isinstance(value, int | float):  # Python compares them exactly, beyond 2^53 too
        return "number", value, ""
    return "text" if isinstance(value, str) else type(value).__name__, 0.0, str(value)
