"""Which folders of the results are as they were written, by the digests in their indices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from xai_bench.results.store import digests
from xai_bench.results.store.manifest import StudyManifest
from xai_bench.results.tracking import database


@dataclass(eq=False)
class IntactFolders:
    """A results folder, each of whose folders is compared with its index once."""

    root: Path
    _seen: dict[Path, str] = field(default_factory=dict)

    def index(self, folder: Path) -> str:
        """The digest of a folder's index; empty unless all files are as it lists them."""
        if folder not in self._seen:
            self._seen[folder] = _index(folder)
        return self._seen[folder]

    def cell(self, key: str) -> Path:
        """The folder of a cell."""
        return self.root / "store" / key

    def manifest(self, study: str, cell: str) -> StudyManifest | None:
        """What a study lists of a cell; None where that is absent or damaged."""
        folder = self.root / "studies" / study
        path = folder / f"{cell}.json"
        if not self.index(folder) or not path.exists():
            return None
        return StudyManifest.of(json.loads(path.read_bytes()))

    def cells(self, study: str) -> list[str]:
        """The cells of a study."""
        return sorted(path.stem for path in (self.root / "studies" / study).glob("*.json"))

    def folders(self, study: str) -> Iterator[Path]:
        """The folder of every cell and of every explanation that a study lists."""
        for cell in self.cells(study):
            yield self.cell(cell)
            manifest = self.manifest(study, cell)
            for _, key, _, _ in () if manifest is None else manifest.wanted():
                yield self.cell(cell) / key

    @cached_property
    def shown(self) -> set[tuple[str, str, str]]:
        """Study, cell and digest of every run in the MLflow database of this folder."""
        return database.shown(self.root)


def _index(folder: Path) -> str:
    """The digest of the index of a folder, `SHA256SUMS`, if all that it lists is so."""
    try:
        text = (folder / digests.NAME).read_bytes()
        listed = digests.read(folder) or {}
        contents = {name: hashlib.sha256((folder / name).read_bytes()) for name in listed}
    except OSError:
        return ""
    # A file that is being replaced has two digests there, and is not known.
    is_whole = all({digest.hexdigest()} == listed[name] for name, digest in contents.items())
    return hashlib.sha256(text).hexdigest() if is_whole and listed else ""
