"""Whole numbers with more digits than float64 holds, such as identifiers: kept as written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_bench.data.labels import EXACT

if TYPE_CHECKING:
    import pandas as pd

_WHOLE = re.compile(r"[-+]?\d+(\.0*)?")
_MOST_DIGITS = 300
"""More do not fit into float64 at all."""


def beyond_float64(written: pd.Series[Any], numbers: npt.NDArray[np.floating[Any]]) -> bool:
    """Whether some of `numbers [N]` are `written` as whole numbers that float64 does not hold.

    Such numbers are told apart by every digit. Floats are not: 1e20 is a measurement.
    """
    large = np.abs(numbers) > EXACT
    return any(map(_is_lost, written[large]))


def as_written(
    frame: pd.DataFrame, written: Callable[[Sequence[Any]], pd.DataFrame]
) -> pd.DataFrame:
    """The frame, with its large whole numbers as they stand in the file.

    Where values are missing, or beyond 2^64, pandas reads whole numbers as float64, in which some
    of them become equal. `written` gives the columns that are named without that.
    """
    import pandas as pd

    large = [
        name
        for name in frame.columns
        if pd.api.types.is_float_dtype(frame[name]) and (frame[name].abs() > EXACT).any()
    ]
    if not large:
        return frame
    frame, whole = frame.copy(), written(large)
    for name in large:
        if beyond_float64(whole[name], frame[name].to_numpy(np.float64, na_value=np.nan)):
            frame[name] = whole[name].astype(object)
    return frame


def _is_lost(value: Any) -> bool:
    """Whether a value beyond 2^53 is a whole number of which float64 keeps not all digits."""
    if isinstance(value, str):
        text = value.strip()
        if not _WHOLE.fullmatch(text) or len(text) > _MOST_DIGITS:
            return len(text) > _MOST_DIGITS
        value = int(text.partition(".")[0])
    if isinstance(value, Decimal):
        return value == value.to_integral_value() and int(value) != int(float(value))
    return isinstance(value, (int, np.integer)) and int(value) != int(float(value))
