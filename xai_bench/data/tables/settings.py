"""Settings that the data configs of tables have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from xai_bench.data.splits import FRACTIONS
from xai_bench.data.tables.constraints import Bounds, Rules
from xai_bench.data.tables.formats import TextFormat

Missing = Literal["mean", "drop", "error"]
Scale = Literal["standard", "none"]


def is_raw(scale: str) -> bool:
    """Whether `scale` is `none`. Raises ValueError unless it is `standard` or `none`."""
    if scale not in ("standard", "none"):
        raise ValueError(f"data.scale must be standard or none; found {scale!r}")
    return scale == "none"


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """How a table is split, and which of its columns may change.

    Attributes:
        fractions: shares of the rows that train, validate and test.
        split_seed: seed of the split.
        scale: `standard` gives numbers, and the target of a regression, mean 0 and deviation 1 on
            the training part; `none` leaves them as they are in the file.
        immutable: columns that no counterfactual may change.
        increasing, decreasing: number columns that may only go up, or only down.
        ranges: column -> [low, high], in the units of the file; null leaves an end open. A column
            without any keeps to what its training rows hold.
    """

    fractions: Sequence[float] = FRACTIONS
    split_seed: int = 0
    scale: Scale = "standard"
    immutable: Sequence[str] = ()
    increasing: Sequence[str] = ()
    decreasing: Sequence[str] = ()
    ranges: Bounds | None = None

    @property
    def raw(self) -> bool:
        """Whether numbers stay as they are. Raises ValueError for an unknown `scale`."""
        return is_raw(self.scale)

    @property
    def rules(self) -> Rules:
        """What the settings say of changes, to be checked against the columns."""
        return Rules(self.immutable, self.increasing, self.decreasing, self.ranges)


@dataclass(frozen=True, kw_only=True)
class FileSettings(TableSettings):
    """How a table of mixed columns is read from a file.

    Attributes:
        drop: columns that are never features.
        ignore: columns that are left out as if the file did not have them.
        categorical: columns that are categories, whatever their values look like.
        sensitive: columns that give groups. They stay features unless they are dropped. A number
            with more than two values is cut at its training median.
        missing: `mean` fills gaps with the training mean, or the most frequent category; `drop`
            drops rows with gaps; `error` refuses them.
        numeric: columns that are numbers, or the file is refused.
        dates: columns of dates, which become days since 1970, or of lengths of time, in days.
        date_format: how dates are written, such as `%d.%m.%Y`; empty for ISO 8601.
        na_values: texts that mean a missing value, such as `?`, beside empty ones. Among numbers
            NA, null, None and NaN do so anyhow; among texts they are a category like any other.
        separator, decimal, thousands, encoding: of CSV files.
    """

    drop: Sequence[str] = ()
    ignore: Sequence[str] = ()
    categorical: Sequence[str] = ()
    numeric: Sequence[str] = ()
    dates: Sequence[str] = ()
    date_format: str = ""
    sensitive: Sequence[str] = ()
    missing: Missing = "mean"
    na_values: Sequence[str] = ()
    separator: str = ","
    decimal: str = "."
    thousands: str = ""
    encoding: str = "utf-8"

    def text_format(self, names: Sequence[str] | None = None) -> TextFormat:
        """How the file writes its table down. Raises ValueError for signs that cannot be."""
        return TextFormat(
            self.separator, self.decimal, self.thousands, self.encoding, names, self.na_values
        )

    def file_settings(self) -> dict[str, Any]:
        """These settings by name, for another reader of the same table."""
        return {field.name: getattr(self, field.name) for field in fields(FileSettings)}
