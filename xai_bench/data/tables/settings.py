"""Settings that the data configs of tables have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from xai_bench.data.splits import FRACTIONS
from xai_bench.data.tables.constraints import Bounds, Rules

Missing = Literal["mean", "drop", "error"]


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """How a table is split, and which of its columns may change.

    Attributes:
        fractions: shares of the rows that train, validate and test.
        split_seed: seed of the split.
        immutable: columns that no counterfactual may change.
        increasing, decreasing: number columns that may only go up, or only down.
        ranges: column -> [low, high], in the units of the file; null leaves an end open.
    """

    fractions: Sequence[float] = FRACTIONS
    split_seed: int = 0
    immutable: Sequence[str] = ()
    increasing: Sequence[str] = ()
    decreasing: Sequence[str] = ()
    ranges: Bounds | None = None

    @property
    def rules(self) -> Rules:
        """What the settings say of changes, to be checked against the columns."""
        return Rules(self.immutable, self.increasing, self.decreasing, self.ranges)


@dataclass(frozen=True, kw_only=True)
class FileSettings(TableSettings):
    """How a table of mixed columns is read from a file.

    Attributes:
        drop: columns that are never features.
        categorical: columns that are categories, whatever their values look like.
        sensitive: columns that give groups. They stay features unless they are dropped. A number
            with more than two values is cut at its training median.
        missing: `mean` fills gaps with the training mean, or the most frequent category; `drop`
            drops rows with gaps; `error` refuses them.
    """

    drop: Sequence[str] = ()
    categorical: Sequence[str] = ()
    sensitive: Sequence[str] = ()
    missing: Missing = "mean"

    def file_settings(self) -> dict[str, Any]:
        """These settings by name, for another reader of the same table."""
        return {field.name: getattr(self, field.name) for field in fields(FileSettings)}
