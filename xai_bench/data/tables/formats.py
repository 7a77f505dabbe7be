"""Reading a table from a file: CSV, also gzipped, Parquet, Feather, Arrow and Excel."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_bench.data.sizes import require_size, unpacked_gzip, unpacked_zip
from xai_bench.data.tables.large_numbers import as_written

if TYPE_CHECKING:
    import pandas as pd

_EXPECTED = "expected a table: a line of column names, then a row per line"
_TAB = ("\\t", "tab")
_OTHERS = (".json", ".jsonl", ".pkl", ".pickle", ".h5", ".hdf5", ".sav", ".dta", ".xls", ".ods",
           ".bz2", ".xz", ".zst", ".tar", ".7z", ".rar")  # fmt: skip
"""Formats of tables that are not read; without this list they would be taken for CSV."""


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How a file writes a table down.

    Attributes:
        separator: between the values of a line; `tab` for the tabulator.
        decimal, thousands: the signs in numbers.
        encoding: of the letters.
        names: column names of a file without a header.
        na_values: texts that mean a missing value, beside empty ones.
    """

    separator: str = ","
    decimal: str = "."
    thousands: str = ""
    encoding: str = "utf-8"
    names: Sequence[str] | None = None
    na_values: Sequence[str] = ()

    def __post_init__(self) -> None:
        for setting in ("separator", "decimal", "thousands"):
            sign = getattr(self, setting)
            if (len(sign) > 1 and sign not in _TAB) or not (sign or setting == "thousands"):
                raise ValueError(f"data.{setting} must be a single character; found {sign!r}")
        if self.decimal in (self.thousands, self.sign):
            raise ValueError(
                f"data.decimal is {self.decimal!r}, and so is data.thousands or data.separator; "
                "write e.g. \"data.separator=';'\" \"data.decimal=','\""
            )

        try:
            # An empty text would not be decoded at all.
            b" ".decode(self.encoding, "replace")
        except LookupError as error:
            raise ValueError(
                f"data.encoding={self.encoding!r} cannot be read: no text has that encoding; "
                "expected e.g. utf-8, latin-1, cp1252 or utf-16"
            ) from error

    @property
    def sign(self) -> str:
        """The separator itself."""
        return "\t" if self.separator in _TAB else self.separator

    @property
    def plain_numbers(self) -> bool:
        """Whether numbers are written as in English programs, such as 1234.5."""
        return self.decimal == "." and not self.thousands


def read_frame(path: Path, text: TextFormat) -> pd.DataFrame:
    """The table in a file, by its ending; other endings are taken for CSV.

    In CSV and Excel files, only empty fields and `na_values` are missing. Raises ValueError where
    there is no table, no row, or a column without a name of its own.
    """
    reader = _READERS.get(path.suffix.lower(), _csv)
    if path.suffix.lower() in _OTHERS:
        raise ValueError(
            f"{path} is no format that is read here; expected CSV (also .gz), "
            f"{', '.join(sorted(_READERS))}: write it as one of these"
        )
    try:
        frame = reader(path, text)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, Warning) as error:
        raise ValueError(_unreadable(path, error, text)) from error
    if frame.empty:
        raise ValueError(f"{path} has no rows; {_EXPECTED}")
    return _named(frame.reset_index(drop=True), path)


def _csv(path: Path, text: TextFormat) -> pd.DataFrame:
    import pandas as pd

    if path.suffix == ".gz":
        require_size(path, unpacked_gzip(path))
    if path.suffix == ".zip":
        require_size(path, unpacked_zip(path))
    names = _header(path, text) if text.names is None else list(text.names)
    with warnings.catch_warnings():
        # Rows longer than the header would be cut, and only warned about.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        read: Any = partial(
            pd.read_csv,
            path,
            names=range(len(names)),
            header=0 if text.names is None else None,
            # In pieces, pandas may find another type in each of them.
            low_memory=False,
            **_options(text),
        )
        # pandas drops all points where they separate thousands: 01.02.2020 is no number.
        frame = read(dtype=None if text.plain_numbers else str)
        frame = as_written(frame, lambda columns: read(dtype=str, usecols=columns))
    return frame.set_axis(names, axis=1)


def _header(path: Path, text: TextFormat) -> list[str]:
    """The names in the first line as they stand there; pandas would rename a second `a`."""
    import pandas as pd

    line = pd.read_csv(path, header=None, nrows=1, dtype=str, **_options(text))
    names = ["" if pd.isna(name) else str(name) for name in line.iloc[0]]
    if len(names) == 1:
        _require_separator(names[0], text.sign)
    return names


def _options(text: TextFormat) -> dict[str, Any]:
    return {
        "sep": text.sign,
        "encoding": text.encoding,
        "index_col": False,
        "keep_default_na": False,
        "na_values": ["", *map(str, text.na_values)],
        "skipinitialspace": True,
    }


def _require_separator(line: str, sign: str) -> None:
    """Raise ValueError where the only name of a header is several, set apart by another sign."""
    counts = {other: line.count(other) for other in (";", "\t", "|", ",") if other != sign}
    best = max(counts, key=lambda other: counts[other])
    if counts[best]:
        shown = "tab" if best == "\t" else best
        raise ValueError(
            f"its first line, {line[:60]!r}, holds one name only where {sign!r} separates; it "
            f"looks like \"data.separator='{shown}'\""
        )


def _excel(path: Path, text: TextFormat) -> pd.DataFrame:
    import pandas as pd

    require_size(path, unpacked_zip(path))
    try:
        cells = pd.read_excel(
            path,
            header=None,
            dtype=object,
            keep_default_na=False,
            na_values=["", *map(str, text.na_values)],
        )
    except ImportError as error:
        raise ValueError("it needs another package: pip install 'xai-bench[excel]'") from error
    head, rows = text.names, cells
    if head is None:
        head = ["" if pd.isna(name) else str(name) for name in cells.iloc[:1].to_numpy().flatten()]
        rows = cells.iloc[1:].reset_index(drop=True)
    frame = as_written(rows.infer_objects(), lambda columns: rows[list(columns)])
    return _with_names(frame, list(head))


def _with_names(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    if len(names) != frame.shape[1]:
        raise ValueError(f"it has {frame.shape[1]} columns and {len(names)} names")
    return frame.set_axis(names, axis=1)


def _parquet(path: Path, text: TextFormat) -> pd.DataFrame:
    import pandas as pd
    import pyarrow.parquet

    # Equal values are stored once: a small file may hold billions of rows.
    head = pyarrow.parquet.read_metadata(path)
    require_size(path, head.num_rows * head.num_columns * 8)

    def whole(columns: Sequence[str]) -> pd.DataFrame:
        table = pyarrow.parquet.read_table(path, columns=list(columns))
        frame: pd.DataFrame = table.to_pandas(integer_object_nulls=True)
        return frame

    return _missing(as_written(pd.read_parquet(path), whole), text)


def _arrow(path: Path, text: TextFormat) -> pd.DataFrame:
    import pyarrow

    with pyarrow.memory_map(str(path)) as source:
        try:
            table = pyarrow.ipc.open_file(source).read_all()
        except pyarrow.ArrowInvalid:  # a stream has no list of its blocks at the end
            source.seek(0)
            table = pyarrow.ipc.open_stream(source).read_all()
        frame = as_written(
            table.to_pandas(),
            lambda columns: table.select(list(columns)).to_pandas(integer_object_nulls=True),
        )
        return _missing(frame, text)


def _missing(frame: pd.DataFrame, text: TextFormat) -> pd.DataFrame:
    marks = [mark for value in text.na_values for mark in (str(value), _number(value))]
    return frame.mask(frame.isin(marks)) if marks else frame


def _number(mark: str) -> Any:
    """A mark such as -999, as it stands in a column of numbers."""
    try:
        return float(mark)
    except ValueError:
        return mark


_READERS: Mapping[str, Callable[[Path, TextFormat], pd.DataFrame]] = {
    ".parquet": _parquet,
    ".pq": _parquet,
    ".feather": _arrow,
    ".arrow": _arrow,
    ".ipc": _arrow,
    ".xlsx": _excel,
    ".xlsm": _excel,
}


def _unreadable(path: Path, error: BaseException, text: TextFormat) -> str:
    import pandas as pd

    if isinstance(error, pd.errors.EmptyDataError):
        return f"{path} is empty; {_EXPECTED}"
    if isinstance(error, UnicodeError):
        return (
            f"{path} is not written in {text.encoding} ({error.reason}); set data.encoding to what "
            "the program that wrote it uses, such as latin-1, cp1252 or utf-16"
            if isinstance(error, UnicodeDecodeError)
            else f"{path} cannot be read in {text.encoding}: {error}; set data.encoding"
        )
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    how = f"; {_EXPECTED}, its values separated by {text.sign!r} (data.separator)"
    by_ending = path.suffix.lower() in _READERS
    return f"{path} cannot be read as a table: {reason}{'' if by_ending else how}"


def _named(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The frame with texts as names, blanks around them removed.

    A first column without a name that counts the rows is what pandas writes for an index: it is
    left out. Raises ValueError for other columns without a name, and for two of the same name.
    """
    names = [str(name).strip() for name in frame.columns]
    if not names[0] and _counts(frame.iloc[:, 0]):
        frame, names = frame.iloc[:, 1:], names[1:]
    for place, name in enumerate(names):
        if not name:
            raise ValueError(f"column {place + 1} of {path} has no name; give it one in the file")
        if name in names[:place]:
            raise ValueError(
                f"columns {names.index(name) + 1} and {place + 1} of {path} are both called "
                f"{name!r}; give each a name of its own in the file"
            )
    return frame.set_axis(names, axis=1)


def _counts(column: pd.Series[Any]) -> bool:
    """Whether a column is 0, 1, 2, ... or 1, 2, 3, ..."""
    steps = range(len(column))
    return column.tolist() in ([*steps], [step + 1 for step in steps])
