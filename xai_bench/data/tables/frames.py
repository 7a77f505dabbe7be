"""Filtering and recoding the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xai_bench.data.tables.conditions import WHAT_IT_MAY_BE, rows_where

if TYPE_CHECKING:
    import pandas as pd


def filtered(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """The rows that a condition keeps, with the index that numbers them as in the file."""
    if not where:
        return frame
    try:
        kept = frame[rows_where(frame, where)]
    except ValueError as error:
        raise ValueError(f"data.where={where!r}: {error}; {WHAT_IT_MAY_BE}") from error
    if kept.empty:
        raise ValueError(f"data.where={where!r} keeps none of the {len(frame)} rows")
    return kept


def require_one_header(frame: pd.DataFrame) -> None:
    """Raise ValueError where a row repeats the names of the columns."""
    first = frame.columns[0]
    likely = frame[frame[first].astype(str).str.strip() == str(first).strip()]
    for number, row in likely.iterrows():
        if [str(value).strip() for value in row] == [str(name).strip() for name in frame.columns]:
            raise ValueError(
                f"data row {int(str(number)) + 1} repeats the names of the columns, as in a file "
                "put together of several; remove such rows"
            )


def recoded(frame: pd.DataFrame, recode: Mapping[str, Mapping[Any, Any]]) -> pd.DataFrame:
    """The frame with `{column: {value: other value}}` applied.

    Raises ValueError where a column holds none of the values.
    """
    changed = {}
    for name, new in recode.items():
        matches = frame[name].isin(list(new))
        if not matches.any():
            raise ValueError(
                f"data.recode: column {name!r} holds none of {list(new)}; it holds values such as "
                f"{frame[name].unique()[:5].tolist()}"
            )
        column = frame[name].astype(object).where(~matches, frame[name].map(dict(new)))
        changed[name] = column.infer_objects()
    return frame.assign(**changed)
