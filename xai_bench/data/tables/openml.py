"""Tables from OpenML, kept as Parquet once they were downloaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from xai_bench.data.bundle import Bundle, Modality
from xai_bench.data.splits import FRACTIONS
from xai_bench.data.tables.files import CustomTable, Missing
from xai_bench.data.tables.frames import read_frame

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenMl:
    """A table from openml.org by name and version; downloaded once, and only if `download` is true.

    `target` defaults to the one OpenML names. Everything else is as in `custom_table`.
    """

    modality: ClassVar[Modality] = "tabular"
    name: str
    version: int
    cache: str
    download: bool = False
    target: str | None = None
    categorical: Sequence[str] = ()
    sensitive: Sequence[str] = ()
    drop: Sequence[str] = ()
    missing: Missing = "mean"
    fractions: Sequence[float] = FRACTIONS
    split_seed: int = 0
    immutable: Sequence[str] = ()
    increasing: Sequence[str] = ()
    decreasing: Sequence[str] = ()
    ranges: Mapping[str, Sequence[float | None]] | None = None

    def load(self) -> Bundle:
        if not self.file.exists():
            self._fetch()
        frame = read_frame(self.file, None, (), ",")
        table = CustomTable(
            str(self.file),
            # OpenML's own target is kept in the last column.
            self.target or str(frame.columns[-1]),
            categorical=self.categorical,
            sensitive=self.sensitive,
            drop=self.drop,
            missing=self.missing,
            fractions=self.fractions,
            split_seed=self.split_seed,
            immutable=self.immutable,
            increasing=self.increasing,
            decreasing=self.decreasing,
            ranges=self.ranges,
        )
        return table.bundle(frame, len(frame))

    @property
    def file(self) -> Path:
        """Where the table is kept."""
        return Path(self.cache).expanduser() / f"{self.name}-{self.version}.parquet"

    def _fetch(self) -> None:
        if not self.download:
            raise ValueError(
                f"OpenML table {self.name!r} version {self.version} is not in {self.cache}; set "
                "data.download=true to download it"
            )
        from sklearn.datasets import fetch_openml

        log.info("downloading %s version %s from OpenML", self.name, self.version)
        found = fetch_openml(self.name, version=self.version, as_frame=True, data_home=self.cache)
        _keep(found.data.assign(**found.target.to_frame()), self.file)


def _keep(frame: pd.DataFrame, file: Path) -> None:
    """Written whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".tmp")
    frame.to_parquet(unfinished, index=False)
    unfinished.replace(file)
