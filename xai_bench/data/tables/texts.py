"""What the texts of a column mean: numbers, percentages, dates, missing values or categories."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_bench.data.tables.formats import TextFormat
from xai_bench.data.tables.large_numbers import beyond_float64

if TYPE_CHECKING:
    import pandas as pd

_WORDS = "NA N/A n/a <NA> #N/A #NA NULL null Null None none NaN nan -nan -NaN NAN"
MISSING_WORDS = frozenset(_WORDS.split())
"""Among numbers these mean a missing value; among texts they may be a category like any other."""
MANY = 20
"""More different numbers than this in a column of texts are no categories."""
_USUAL = 0.8
"""A column is of a kind where at least this share of its texts looks like it."""
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_CLOCK = r"\d{1,3}:\d{2}(:\d{2}([.,]\d+)?)?( ?[ap]\.?m\.?)?"
_ISO_DATE = rf"\d{{4}}-\d{{1,2}}(-\d{{1,2}})?([t ]{_CLOCK}( ?z|[+-]\d\d:?\d\d)?)?"


@dataclass(frozen=True, slots=True)
class Unclear:
    """A kind of text that is neither a number as it stands nor a category.

    `advice` is a sentence's end with the column's name as `{name}`.
    """

    kind: str
    pattern: re.Pattern[str]
    advice: str
    n_least: int = 1


def _unclear(kind: str, pattern: str, advice: str, n_least: int = 1) -> Unclear:
    return Unclear(kind, re.compile(pattern, re.IGNORECASE), advice, n_least)


_NO_VALUES = (list, dict, tuple, set, bytes, np.ndarray)
UNCLEAR = (
    _unclear("dates", _ISO_DATE, "name it in data.dates=[{name}], which makes it days since 1970"),
    _unclear(
        "dates",
        rf"(\d{{1,2}}[./-]\d{{1,2}}[./-]\d{{2,4}}|\d{{4}}[./]\d{{1,2}}[./]\d{{1,2}}"
        rf"|\d{{1,2}}[. -]*{_MONTH}[ ,-]*\d{{2,4}}|{_MONTH} ?\d{{1,2}},? \d{{4}})( {_CLOCK})?",
        "name it in data.dates=[{name}], which makes it days since 1970, and write how days and "
        "months stand, such as data.date_format='%d.%m.%Y'",
    ),
    _unclear(
        "times or durations",
        rf"-?(\d+ days?,? ?)?{_CLOCK}|-?\d+ days?|P(\d+[YMWD])*(T(\d+([.]\d+)?[HMS])+)?",
        "write it as a number, such as minutes",
    ),
    _unclear("numbers with a decimal comma", r"[-+]?\d+,\d+", "set \"data.decimal=','\""),
    _unclear(
        "numbers with separated thousands",
        r"[-+]?\d{1,3}([,.' \u00a0\u202f_’]\d{3})+([.,]\d+)?",
        "set data.thousands (and data.decimal, where that is a comma)",
    ),
    _unclear("amounts of money", r"[-+]?[$€£¥] ?-?[\d.,' ]*\d", "write the numbers alone"),
    _unclear("amounts of money", r"[-+]?\d[\d.,' ]* ?[$€£¥]", "write the numbers alone"),
    _unclear("percentages", r"[-+]?[\d.,]+ ?%", "set data.decimal to the sign in them"),
    _unclear(
        "numbers with a unit",
        r"[-+]?\d[\d.,]* ?[a-zµ°²³/]{1,5}",
        "write the numbers alone",
        n_least=MANY + 1,
    ),
)


def is_text(column: pd.Series[Any]) -> bool:
    """Whether a column holds Python objects or strings."""
    import pandas as pd

    return bool(pd.api.types.is_object_dtype(column) or isinstance(column.dtype, pd.StringDtype))


def trimmed(column: pd.Series[Any]) -> pd.Series[Any]:
    """Texts without blanks at their ends, which nobody sees; missing where nothing is left."""
    import pandas as pd

    if not is_text(column) or pd.api.types.infer_dtype(column, skipna=True) != "string":
        return column
    texts = column.str.strip()
    return texts.mask(texts == "")


def numbers_of(texts: pd.Series[Any], text: TextFormat) -> pd.Series[Any]:
    """`[N]`: the number that each text is, NaN for one that is none."""
    import pandas as pd

    if text.plain_numbers:
        return pd.to_numeric(texts, errors="coerce")
    point, comma = re.escape(text.decimal), re.escape(text.thousands)
    grouped = rf"\d{{1,3}}(?:{comma}\d{{3}})+|\d+" if comma else r"\d+"
    pattern = rf"[-+]?(?:(?:{grouped})(?:{point}\d*)?|{point}\d+)(?:[eE][-+]?\d+)?"
    plain = texts.where(texts.str.fullmatch(pattern))
    if text.thousands:
        plain = plain.str.replace(text.thousands, "", regex=False)
    return pd.to_numeric(plain.str.replace(text.decimal, ".", regex=False), errors="coerce")


def typed(column: pd.Series[Any], text: TextFormat) -> pd.Series[Any]:
    """A column of numbers, of percentages or of truth values, as such; others as they are.

    Percentages keep their number: `12 %` is 12. Whole numbers that float64 does not hold stay
    texts, which can be categories. Raises ValueError for values that are neither
    numbers nor texts, such as lists.
    """
    import pandas as pd

    if not is_text(column):
        return column
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind == "decimal":
        rounded = column.astype(float)
        return column if beyond_float64(column, rounded.to_numpy()) else rounded
    if kind not in ("string", "mixed", "mixed-integer", "empty"):
        return column
    present = column.dropna()
    if present.map(lambda value: isinstance(value, _NO_VALUES)).any():
        raise ValueError(
            f"column {column.name!r} holds values such as {str(present.iloc[0])[:40]}, which are "
            f"neither a number nor a text; drop it (data.drop=[{column.name}])"
        )
    texts = present.astype(str).str.strip()
    texts = texts[~texts.isin(MISSING_WORDS)]
    for form in (texts, _without_percent(texts)):
        numbers = numbers_of(form, text)
        if len(texts) and numbers.notna().all():
            is_beyond = beyond_float64(texts, numbers.astype(np.float64).to_numpy())
            return column if is_beyond else numbers.reindex(column.index)
    truths = texts.map({"True": True, "False": False})
    # Where numbers are plain, pandas has read truth values by itself.
    return column if text.plain_numbers or truths.isna().any() else truths.reindex(column.index)


def _without_percent(texts: pd.Series[Any]) -> pd.Series[Any]:
    return texts.str.extract(r"^(.*[^%\s])\s*%$", expand=False)


def days(column: pd.Series[Any], date_format: str) -> pd.Series[Any]:
    """Dates as days since 1970, and lengths of time as days; NaN where missing.

    Raises ValueError for what is no date, or not in the form of `date_format`.
    """
    import pandas as pd

    if pd.api.types.is_timedelta64_dtype(column):
        lengths: pd.Series[Any] = column.dt.total_seconds() / 86_400
        return lengths
    words = column.isin(MISSING_WORDS) if is_text(column) else column.isna()
    values = column.mask(words)
    try:
        moments = pd.to_datetime(values, format=date_format or "ISO8601", errors="coerce", utc=True)
    except (ValueError, TypeError) as error:
        raise ValueError(f"data.date_format={date_format!r} is no format: {error}") from error
    strays = np.flatnonzero((moments.isna() & values.notna()).to_numpy())
    if len(strays):
        raise ValueError(
            f"data.dates: column {column.name!r} holds {str(values.iloc[strays[0]])!r} in data row "
            f"{column.index[strays[0]] + 1}, which is no date of the form "
            f"{date_format or 'YYYY-MM-DD'}; set data.date_format, such as '%d.%m.%Y'"
        )
    return (moments - pd.Timestamp(0, tz="UTC")).dt.total_seconds() / 86_400


def require_clear(column: pd.Series[Any]) -> None:
    """Raise ValueError for texts that are dates, durations, amounts or numbers in disguise."""
    import pandas as pd

    name, texts = column.name, column.dropna().astype(str).str.strip()
    distinct = texts[~texts.isin(MISSING_WORDS)].unique()
    leave = f"drop it (data.drop=[{name}]) or name it in data.categorical"
    for unclear in UNCLEAR if len(distinct) else ():
        fits = [unclear.pattern.fullmatch(value) is not None for value in distinct]
        if sum(fits) >= max(_USUAL * len(distinct), unclear.n_least):
            raise ValueError(
                f"column {name!r} holds {unclear.kind}, such as {distinct[fits.index(True)]!r}: "
                f"{unclear.advice.format(name=name)}, {leave}"
            )
    numbers = pd.to_numeric(pd.Series(distinct), errors="coerce").notna().to_numpy()
    if numbers.sum() > max(MANY, len(distinct) / 2) and not numbers.all():
        raise ValueError(
            f"column {name!r} holds {numbers.sum()} different numbers beside texts such as "
            f"{distinct[~numbers][0]!r}: name what means missing in data.na_values, {leave}"
        )


def words_among(column: pd.Series[Any]) -> Sequence[str]:
    """Texts of a column that elsewhere mean a missing value, and are a category here."""
    if not is_text(column):
        return ()
    present = column.dropna().astype(str)
    return sorted(present[present.isin(MISSING_WORDS)].unique())
