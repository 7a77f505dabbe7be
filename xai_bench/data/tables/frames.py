"""Reading a file into a frame; filtering and recoding it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


_EXPECTED = "expected a table: a line of column names, then a row per line"


def read_frame(
    path: Path, names: Sequence[str] | None, na_values: Sequence[str], separator: str
) -> pd.DataFrame:
    """The frame of a CSV (also gzipped) or Parquet file. Raises ValueError where it has no rows."""
    import pandas as pd

    try:
        if path.suffix in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
        else:
            frame = _read_csv(path, names, na_values, separator)
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path} is empty; {_EXPECTED}") from error
    except (OSError, ValueError, EOFError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(
            f"{path} cannot be read as a table: {reason}; {_EXPECTED}, its values separated by "
            f"{separator!r} (data.separator)"
        ) from error
    if frame.empty:
        raise ValueError(f"{path} has no rows; {_EXPECTED}")
    return frame.reset_index(drop=True).rename(columns=lambda name: str(name).strip())


def _read_csv(
    path: Path, names: Sequence[str] | None, na_values: Sequence[str], separator: str
) -> pd.DataFrame:
    import pandas as pd

    with warnings.catch_warnings():
        # Rows longer than the header would be cut, and only warned about.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            path,
            sep=separator,
            names=None if names is None else list(names),
            header="infer" if names is None else None,
            index_col=False,
            na_values=list(na_values),
            skipinitialspace=True,
            low_memory=False,
        )


def filtered(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """The rows that a pandas query keeps, with the index that numbers them as in the file."""
    if not where:
        return frame
    try:
        kept = frame.query(where)
    except (NameError, SyntaxError, TypeError, ValueError, KeyError) as error:
        raise ValueError(
            f"data.where={where!r} is not a query over the columns: {error}"
        ) from error
    if kept.empty:
        raise ValueError(f"data.where={where!r} keeps none of the {len(frame)} rows")
    return kept


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
