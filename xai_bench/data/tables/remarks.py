"""What a user should know of a table before its results are believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from xai_bench.core.spelling import listed
from xai_bench.data.labels import Labels
from xai_bench.data.tables.columns import Categories, Column, Numbers
from xai_bench.data.tables.texts import words_among

if TYPE_CHECKING:
    import pandas as pd

MOSTLY = 0.5
"""A column with a larger share of missing values is remarked upon."""
N_LEAST = 20
"""Fewer training rows say nothing of identifiers and copies."""
COPY = 0.01
"""A column that is wrong about the target in at most this share of the rows is a near-copy."""
RANKS = 0.999
"""So is one with this rank correlation with the target of a regression."""
N_ROWS = 5_000
"""Training rows that are looked at."""


def remarks(
    columns: Sequence[Column], frame: pd.DataFrame, target: str, labels: Labels, train: Tensor
) -> tuple[str, ...]:
    """Sentences on missing values, identifiers, constants and near-copies of the target.

    `frame` has the rows of the labels, and `train` are the numbers of the training rows.
    """
    rows = train[:N_ROWS].numpy()
    y = labels.y.numpy()[rows]
    notes = [*_words([*(frame[c.name] for c in columns), frame[target]])]
    for column in columns:
        values, name = _values(column)[rows], column.name
        notes += _missing(frame[name])
        if len(rows) < N_LEAST or (column_note := _single(name, values, column)):
            notes += [column_note] if len(rows) >= N_LEAST else []
        else:
            notes += _copy(name, values, y, target, labels, ordered=isinstance(column, Numbers))
    return tuple(notes)


def _values(column: Column) -> npt.NDArray[Any]:
    """`[N]`: numbers with NaN, or codes with -1, where missing."""
    if isinstance(column, Numbers):
        return column.values.numpy()
    assert isinstance(column, Categories)
    return column.codes.numpy()


def _words(columns: Sequence[pd.Series[Any]]) -> Iterator[str]:
    for column in columns:
        words = words_among(column)
        if words:
            marks = ",".join(repr(word) for word in words)
            yield (
                f"column {str(column.name)!r} holds the texts {listed(words)}, which are taken for "
                f'values like any other; "data.na_values=[{marks}]" makes them missing'
            )


def _missing(column: pd.Series[Any]) -> Iterator[str]:
    share = float(column.isna().mean())
    if share > MOSTLY:
        yield (
            f"column {str(column.name)!r} is missing in {share:.0%} of {len(column):,} rows, which "
            f"all get the same value; data.drop=[{column.name}] leaves it out"
        )


def _single(name: str, values: npt.NDArray[Any], column: Column) -> str:
    """A sentence on a column that is constant, or an identifier: another value in every row."""
    distinct = np.unique(values[~np.isnan(values)])
    if len(distinct) == 1:
        return f"column {name!r} has a single value in the training rows, which tells nothing"
    are_whole = bool((distinct == np.floor(distinct)).all())
    if len(distinct) < len(values) or not are_whole:
        return ""
    # Numbers of all rows, of which the training part is a share, lie within about their count;
    # whole numbers that are measured, such as incomes, spread further.
    dense = distinct[-1] - distinct[0] < 2 * len(distinct) * (1 / _share(len(values), column))
    if not (isinstance(column, Categories) or dense or _is_id(name)):
        return ""
    return (
        f"column {name!r} has another value in each of {len(values):,} training rows, as an "
        f"identifier has; data.ignore=[{name}] leaves it out"
    )


def _share(n_rows: int, column: Column) -> float:
    return n_rows / max(len(_values(column)), 1)


def _is_id(name: str) -> bool:
    parts = name.lower().replace("-", "_").replace(" ", "_").split("_")
    return bool({parts[0], parts[-1]} & {"id", "idx", "index", "key", "uuid", "nr", "number"})


def _copy(
    name: str, values: npt.NDArray[Any], y: npt.NDArray[Any], target: str, labels: Labels,
    *, ordered: bool,
) -> Iterator[str]:  # fmt: skip
    """A sentence on a column from which alone the target can be read."""
    if labels.task == "regression":
        if ordered and (rho := _rank_correlation(values, y)) >= RANKS:
            yield (
                f"column {name!r} and the target {target!r} have a rank correlation of {rho:.4f}; "
                f"if it is not known before the target is, data.ignore=[{name}] leaves it out"
            )
        return
    wrong = _wrong(values, y, len(labels.class_names), ordered=ordered)
    most_frequent = np.bincount(y).max()
    # And a tenth of what the most frequent class gets wrong: rare classes would make all copies.
    if wrong <= min(COPY * len(y), 0.1 * (len(y) - most_frequent)):
        yield (
            f"column {name!r} alone gives the target {target!r} in {1 - wrong / len(y):.1%} of "
            f"{len(y):,} training rows; if it is not known before the target is, "
            f"data.ignore=[{name}] leaves it out"
        )


def _rank_correlation(values: npt.NDArray[Any], y: npt.NDArray[Any]) -> float:
    from scipy.stats import spearmanr

    present = ~np.isnan(values)
    if len(np.unique(values[present])) < 3:
        return 0.0
    return abs(float(spearmanr(values[present], y[present]).statistic))


def _wrong(
    values: npt.NDArray[Any], y: npt.NDArray[Any], n_classes: int, *, ordered: bool
) -> float:
    """Rows that the best rule of this column alone gets wrong.

    A number may cut its range into as many pieces as there are classes, about: each change of the
    most frequent class along its values, beyond those, counts for half a row. Categories with a
    class each have no such order, but must not be nearly as many as the rows.
    """
    # Missing is a value of its own, at one end.
    values = np.nan_to_num(values, nan=np.inf)
    distinct, place = np.unique(values, return_inverse=True)
    counts = np.zeros((len(distinct), n_classes))
    np.add.at(counts, (place, y), 1)
    errors = float(len(y) - counts.max(1).sum())
    if not ordered:
        return errors if len(distinct) <= len(y) / 5 else float(len(y))
    changes = int((np.diff(counts.argmax(1)) != 0).sum())
    return errors + max(0, changes - (n_classes - 1)) / 2
