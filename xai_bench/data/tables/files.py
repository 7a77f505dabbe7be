"""Your own table: a file of any usual format, with categories, gaps and sensitive columns."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from xai_bench.data.bundle import Bundle, Modality
from xai_bench.data.checks import existing_path, require_columns
from xai_bench.data.labels import AskedTask, Labels, read_labels
from xai_bench.data.splits import divide, partition
from xai_bench.data.tables.columns import (
    Column,
    axes,
    elements,
    read_column,
    require_told_apart,
)
from xai_bench.data.tables.formats import read_frame
from xai_bench.data.tables.frames import filtered, recoded, require_one_header
from xai_bench.data.tables.remarks import remarks
from xai_bench.data.tables.settings import FileSettings
from xai_bench.data.tables.texts import days, is_text, require_clear, trimmed, typed

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CustomTable(FileSettings):
    """Your own table and the name of its target column: CSV, Parquet, Feather, Arrow or Excel.

    Numbers are standardised on the training part, and so is the target of a regression. Text
    columns, and those in `categorical`, become one-hot; all parts of a column are one unit.

    Attributes:
        task: `auto` takes text and up to 20 different whole numbers for classes.
        name: what results call the data; empty for the name of the option.
        features: the only columns used as features; None uses all but the target and `drop`.
        where: keep only these rows, by a condition over any columns of the file.
        recode: column -> {value: other value}, applied before anything is read from it.
        names: column names of a file without a header.
        test_path: a file with the official test part.
    """

    modality: ClassVar[Modality] = "tabular"
    path: str
    target: str
    task: AskedTask = "auto"
    features: Sequence[str] | None = None
    where: str = ""
    recode: Mapping[str, Mapping[Any, Any]] | None = None
    names: Sequence[str] | None = None
    test_path: str | None = None
    name: str = ""

    def load(self) -> Bundle:
        """Read, split and scale. Raises ValueError with one sentence for a user's mistake."""
        import pandas as pd

        frame = self._read(self.path)
        n_first = len(frame)
        if self.test_path:
            test = self._read(self.test_path)
            require_columns(frame.columns, test.columns, "data.test_path: column")
            frame = pd.concat([frame, test[frame.columns]], ignore_index=True)
        bundle = self.bundle(frame, n_first)
        for note in bundle.notes:
            log.warning("%s", note)
        return bundle

    def bundle(self, frame: pd.DataFrame, n_first: int) -> Bundle:
        """The data of a frame with rows 0, 1, ...; from `n_first` on, an official test part."""
        self._check_names(frame)
        require_one_header(frame)
        # By the values of the file; only then are they renamed.
        rows = filtered(self._typed(frame), self.where)
        frame = self._without_gaps(recoded(rows, self.recode or {}))
        labels = self._labels(frame[self.target])
        # The index still counts the rows of the files, whichever were left out.
        n_test = int((frame.index >= n_first).sum())
        parts = partition(labels.y, self.fractions, self.split_seed, n_test)
        names = self._features(frame)
        columns = [self._column(frame, name) for name in names]
        x, units = _encoded(columns, parts.train)
        groups = {n: self._column(frame, n).groups(parts.train) for n in self.sensitive}
        column_axes = axes(columns, parts.train)
        notes = remarks(columns, frame, self.target, labels, parts.train)
        codes = {name: group_codes for name, (group_codes, _) in groups.items()}
        return Bundle(
            labels.task,
            self.modality,
            *divide(x, labels.scaled(parts), units, parts, codes),
            unit_names=tuple(names),
            class_names=labels.class_names,
            group_names={name: group_names for name, (_, group_names) in groups.items()},
            sensitive=_sensitive(names, self.sensitive, units),
            actionability=self.rules.actionability(column_axes),
            elements=elements(column_axes),
            y_element=labels.element(parts),
            notes=notes,
            n_missing={name: int(rows[name].isna().sum()) for name in names},
        )

    def _read(self, path: str) -> pd.DataFrame:
        return read_frame(existing_path(path), self.text_format(self.names))

    def _typed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Without the ignored columns; texts that are numbers, and named dates, as numbers."""
        frame = frame.drop(columns=list(self.ignore))
        frame = frame.assign(**{name: trimmed(frame[name]) for name in frame.columns})
        dates = {name: days(frame[name], self.date_format) for name in self.dates}
        texts = [n for n in frame.columns if n not in {*self.categorical, *self.dates}]
        form = self.text_format()
        return frame.assign(**{name: typed(frame[name], form) for name in texts}, **dates)

    def _labels(self, column: pd.Series[Any]) -> Labels:
        if self.task != "classification" and is_text(column):
            require_told_apart(column)
            require_clear(column)
        return replace(read_labels(column.to_numpy(), self.target, self.task), raw=self.raw)

    def _check_names(self, frame: pd.DataFrame) -> None:
        columns = list(frame.columns)
        require_columns([self.target], columns, "the target column")
        require_columns(self.ignore, columns, "data.ignore:")
        used = [name for name in columns if name not in self.ignore]
        require_columns([self.target], used, "after data.ignore, the target column")
        for setting in _COLUMNS:
            require_columns(getattr(self, setting) or (), used, f"data.{setting}:")
        if self.missing not in ("mean", "drop", "error"):
            raise ValueError(f"data.missing must be mean, drop or error; found {self.missing!r}")

    def _features(self, frame: pd.DataFrame) -> list[str]:
        columns = list(frame.columns if self.features is None else self.features)
        features = [name for name in columns if name not in {self.target, *self.drop}]
        if not features:
            raise ValueError("the table has no feature columns beside the target and data.drop")
        return features

    def _column(self, frame: pd.DataFrame, name: str) -> Column:
        return read_column(
            frame[name],
            category=name in self.categorical,
            number=name in self.numeric,
            raw=self.raw,
        )

    def _without_gaps(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows dropped, or gaps refused, as `missing` says. A gap in the target is never filled."""
        used = list(dict.fromkeys([*self._features(frame), *self.sensitive, self.target]))
        if self.missing == "drop":
            frame = frame.dropna(subset=used)
            if frame.empty:
                raise ValueError("no row is without gaps; set data.missing=mean or drop columns")
            return frame
        strict = used if self.missing == "error" else [self.target]
        gaps = frame[strict].isna().sum()
        if gaps.any():
            name = str(gaps.idxmax())
            raise ValueError(
                f"column {name!r} has {gaps.max()} missing values; "
                f"set data.missing={'drop' if name == self.target else 'mean or data.missing=drop'}"
            )
        return frame


_COLUMNS = ("features", "drop", "categorical", "numeric", "dates", "sensitive", "recode")
"""Settings that hold names of columns."""


def _sensitive(names: Sequence[str], sensitive: Sequence[str], units: Tensor) -> Tensor | None:
    """`[E]` bool: the elements of sensitive columns; None where no feature is one."""
    places = [place for place, name in enumerate(names) if name in sensitive]
    return torch.isin(units, torch.tensor(places)) if places else None


def _encoded(columns: Sequence[Column], train: Tensor) -> tuple[Tensor, Tensor]:
    """`[N, E]` float32 and the unit of each of the `E` elements."""
    blocks = [column.encoded(train) for column in columns]
    widths = torch.tensor([block.shape[1] for block in blocks])
    return torch.cat(blocks, 1), torch.arange(len(blocks)).repeat_interleave(widths)
