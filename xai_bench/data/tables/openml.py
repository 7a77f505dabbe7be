"""Tables from OpenML, kept as Parquet once they were downloaded."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from xai_bench.data.bundle import Bundle, Modality
from xai_bench.data.tables.files import CustomTable
from xai_bench.data.tables.formats import TextFormat, read_frame
from xai_bench.data.tables.settings import FileSettings

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenMl(FileSettings):
    """A table from openml.org by name and version; downloaded once, and only if `download` is true.

    `target` defaults to the one OpenML names. Everything else is as in `custom_table`.
    """

    modality: ClassVar[Modality] = "tabular"
    name: str
    version: int
    cache: str
    download: bool = False
    target: str | None = None

    def load(self) -> Bundle:
        """Read the downloaded table. Raises ValueError where it is absent and not to be fetched."""
        if not self.file.exists():
            self._fetch()
        frame = read_frame(self.file, TextFormat(na_values=self.na_values))
        # OpenML's own target is kept in the last column.
        target = self.target or str(frame.columns[-1])
        table = CustomTable(str(self.file), target, **self.file_settings())
        return table.bundle(frame, len(frame))

    @property
    def file(self) -> Path:
        """The Parquet file that the table is kept in."""
        return Path(self.cache).expanduser() / f"{self.name}-{self.version}.parquet"

    def _fetch(self) -> None:
        if not self.download:
            raise ValueError(
                f"OpenML table {self.name!r} version {self.version} is not in {self.cache}; set "
                "data.download=true to download it"
            )
        from sklearn.datasets import fetch_openml

        log.info("downloading %s version %s from OpenML", self.name, self.version)
        bunch = fetch_openml(self.name, version=self.version, as_frame=True, data_home=self.cache)
        _write(bunch.data.assign(**bunch.target.to_frame()), self.file)


def _write(frame: pd.DataFrame, file: Path) -> None:
    """Write the whole table or nothing: an interrupted download leaves a temporary file only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".tmp")
    frame.to_parquet(unfinished, index=False)
    unfinished.replace(file)
