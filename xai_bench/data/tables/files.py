"""Your own table: CSV or Parquet, with categories, gaps and sensitive columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from xai_bench.data.bundle import Bundle, Modality
from xai_bench.data.checks import existing_path, require_columns
from xai_bench.data.labels import AskedTask, read_labels
from xai_bench.data.splits import divide, partition
from xai_bench.data.tables.columns import Column, axes, elements, read_column
from xai_bench.data.tables.frames import filtered, read_frame, recoded
from xai_bench.data.tables.settings import FileSettings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CustomTable(FileSettings):
    """Your own table: a CSV or Parquet file and the name of its target column.

    Numbers are standardised on the training part, and so is the target of a regression. Text
    columns, and those in `categorical`, become one-hot; all parts of a column are one unit.

    Attributes:
        task: `auto` takes text and up to 20 different whole numbers for classes.
        features: the only columns used as features; None uses all but the target and `drop`.
        numeric: columns that are numbers, or the file is refused.
        where: keep only these rows, as a pandas query over any columns of the file.
        recode: column -> {value: other value}, applied before anything is read from it.
        names: column names of a file without a header.
        na_values: further marks for a missing value, such as `?`.
        test_path: a file with the official test part.
    """

    modality: ClassVar[Modality] = "tabular"
    path: str
    target: str
    task: AskedTask = "auto"
    features: Sequence[str] | None = None
    numeric: Sequence[str] = ()
    where: str = ""
    recode: Mapping[str, Mapping[Any, Any]] | None = None
    names: Sequence[str] | None = None
    na_values: Sequence[str] = ()
    separator: str = ","
    test_path: str | None = None

    def load(self) -> Bundle:
        """Read, split and scale. Raises ValueError with one sentence for a user's mistake."""
        import pandas as pd

        frame = self._read(self.path)
        n_first = len(frame)
        if self.test_path:
            frame = pd.concat([frame, self._read(self.test_path)], ignore_index=True)
        return self.bundle(frame, n_first)

    def bundle(self, frame: pd.DataFrame, n_first: int) -> Bundle:
        """The data of a frame with rows 0, 1, ...; from `n_first` on, an official test part."""
        self._check_names(frame)
        frame = self._without_gaps(recoded(filtered(frame, self.where), self.recode or {}))
        labels = read_labels(frame[self.target].to_numpy(), self.target, self.task)
        n_test = int((frame.index >= n_first).sum())
        parts = partition(labels.y, self.fractions, self.split_seed, n_test)
        names = self._features(frame)
        columns = [self._column(frame, name) for name in names]
        x, units = _encoded(columns, parts.train)
        groups = {n: self._column(frame, n).groups(parts.train) for n in self.sensitive}
        column_axes = axes(columns, parts.train)
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
        )

    def _read(self, path: str) -> pd.DataFrame:
        return read_frame(existing_path(path), self.names, self.na_values, self.separator)

    def _check_names(self, frame: pd.DataFrame) -> None:
        columns = list(frame.columns)
        require_columns([self.target], columns, "the target column")
        for setting in ("features", "drop", "categorical", "numeric", "sensitive", "recode"):
            require_columns(getattr(self, setting) or (), columns, f"data.{setting}:")
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
            frame[name], category=name in self.categorical, number=name in self.numeric
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


def _sensitive(names: Sequence[str], sensitive: Sequence[str], units: Tensor) -> Tensor | None:
    """`[E]` bool: the elements of sensitive columns; None where no feature is one."""
    places = [place for place, name in enumerate(names) if name in sensitive]
    return torch.isin(units, torch.tensor(places)) if places else None


def _encoded(columns: Sequence[Column], train: Tensor) -> tuple[Tensor, Tensor]:
    """`[N, E]` float32 and the unit of each of the `E` elements."""
    blocks = [column.encoded(train) for column in columns]
    widths = torch.tensor([block.shape[1] for block in blocks])
    return torch.cat(blocks, 1), torch.arange(len(blocks)).repeat_interleave(widths)
