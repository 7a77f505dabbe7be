"""`xai-bench doctor`: checks everything in a folder of results, and repairs what it can."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from xai_bench.core.system.disk import writable
from xai_bench.models.fitting import cache
from xai_bench.results.store import digests, files
from xai_bench.results.store.reader import Reader
from xai_bench.results.store.store import Store
from xai_bench.results.tracking import database
from xai_bench.results.tracking.mlflow import MlflowRecorder
from xai_bench.runner.commands import report

State = Literal["repaired", "to be computed again"]

_WRITTEN = ("report.html", "report.md", "report.csv", "report.tex", "references.bib", "tables/")
"""Of a report, beside its figures; what else lies there is somebody's own."""
_STORED = (".json", ".parquet", ".safetensors")


@dataclass(frozen=True)
class Finding:
    """One thing that was wrong, in a sentence that names it, and what became of it.

    Attributes:
        state: what is to be computed again is so by the command that the sentence names, or by the
            one that made it.
    """

    sentence: str
    state: State = "repaired"


@dataclass(frozen=True)
class Doctor:
    """Checks a folder of results. With `dry_run`, nothing is written and all is only said.

    Attributes:
        root: the folder that runs write to.
    """

    root: Path
    dry_run: bool = False

    def examine(self) -> Iterator[Finding]:
        """Everything that is wrong, each repaired, if it can be, before it is given.

        Raises ValueError where nothing can be written.
        """
        with writable(self.root):
            for folder in self._folders():
                yield from self._drafts(folder)
                for inner in [
                    folder,
                    *sorted(path for path in folder.glob("**/") if path != folder),
                ]:
                    yield from self._indexed(inner, folder)
            yield from self._models()
            yield from self._absent()
            yield from self._reports()
            yield from self._tracking()

    def _folders(self) -> list[Path]:
        """The folders that have a lock: of cells, of studies, of tuned settings."""
        places = [self.root / "store", self.root / "studies"]
        return [*(path for place in places for path in sorted(place.glob("*/"))), self._tuned]

    @property
    def _tuned(self) -> Path:
        return self.root / "cache" / "tuning"

    def _drafts(self, folder: Path) -> Iterator[Finding]:
        """Files that a killed run was writing."""
        drafts = files.drafts(folder)
        if drafts and not self.dry_run:
            # Behind the lock, because a run may be writing them now.
            with files.writing(folder):
                pass
        for path in drafts:
            yield Finding(f"{self._short(path)}: half-written by a run that was killed, removed")

    def _indexed(self, folder: Path, locked: Path) -> Iterator[Finding]:
        """The files of one folder, by the digests in its index; a folder without one gets one.

        `locked` is the folder whose lock counts for this one.
        """
        listed, there = digests.read(folder), digests.of_folder(folder)
        if listed is None and there:
            if not self.dry_run:
                with files.writing(locked):
                    files.list_all(folder)
            yield Finding(f"{self._short(folder)}: had no {digests.NAME}, its files are listed")
        if listed is None:
            return
        wrong = {name: "it is missing" for name in listed if name not in there}
        wrong |= {
            name: f"its digest is not the one in {digests.NAME}"
            for name, values in there.items()
            if not values <= listed.get(name, frozenset()) and Path(name).suffix in _STORED
        }
        if folder == self._tuned and wrong and not self.dry_run:
            with files.writing(folder):
                files.write(folder, {}, removed=list(wrong))
        for name, problem in wrong.items():
            sentence = f"{self._short(folder / name)}: {problem}"
            if folder == self._tuned:
                yield Finding(f"{sentence}; removed, the settings are tuned when needed")
            else:
                yield Finding(sentence, "to be computed again")

    def _models(self) -> Iterator[Finding]:
        """Trained models: one that is damaged is removed, and trained again when it is needed."""
        for folder in sorted((self.root / "cache" / "models").glob("*/")):
            is_draft = folder.suffix == ".draft"
            if not is_draft and cache.intact(folder):
                continue
            if not (self.dry_run or _removed(folder)):
                continue
            problem = "half-written by a run that was killed" if is_draft else "damaged"
            yield Finding(f"{self._short(folder)}: {problem}, removed; it is trained when needed")

    def _absent(self) -> Iterator[Finding]:
        """What studies list and the store does not have, with the commands that computed it."""
        store = Store(self.root, Reader(quiet=True))
        for study in store.studies():
            for path in sorted((self.root / "studies" / study).glob("*.json")):
                manifest = store.study_manifest(study, path.stem)
                commands = "".join(f"\n    {command}" for command in manifest.commands)
                cell = store.read_cell(path.stem, whole=True)
                lost = [] if cell is not None else ["the cell"]
                for name, key, _, _ in manifest.wanted():
                    result = store.read(path.stem, key, attribution=False)
                    is_whole = store.reader.whole(store.folder(path.stem, key))
                    lost += [name] if result is None or not is_whole else []
                if lost:
                    sentence = f"study {study}, cell {path.stem}: without {', '.join(lost)}"
                    yield Finding(f"{sentence}; run{commands}", "to be computed again")

    def _reports(self) -> Iterator[Finding]:
        """Pages, tables and figures, which are written and drawn again from the store."""
        for study in Store(self.root).studies():
            folder = self.root / "reports" / study
            wrong = list(_not_as_written(folder))
            if not wrong:
                continue
            if not self.dry_run:
                report.write(self.root, study, report.options_of([]))
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            yield Finding(f"{self._short(wrong[0])}{more}: missing or damaged, written again")

    def _tracking(self) -> Iterator[Finding]:
        """MLflow's database and what it shows of each study."""
        if not database.path(self.root).exists():
            return
        problem = database.problem(self.root)
        if problem is not None:
            name = "another name"
            if not self.dry_run:
                name = database.set_aside(self.root).name
            yield Finding(f"mlflow.db: {problem}; kept as {name}, and made anew from the store")
            if self.dry_run:
                return
        moved = [] if problem else database.misplaced(self.root)
        if not self.dry_run:
            database.relocate(self.root)
        for old in moved:
            yield Finding(f"mlflow.db: artifacts were at {old}, their place is corrected")
        if not (moved and self.dry_run):
            yield from self._runs()

    def _runs(self) -> Iterator[Finding]:
        store, recorder = Store(self.root, Reader(quiet=True)), MlflowRecorder()
        for study in store.studies():
            for sentence in recorder.sync(store, study, dry_run=self.dry_run):
                yield Finding(f"MLflow, study {study}, {sentence}")

    def _short(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _removed(folder: Path) -> bool:
    """Remove the folder of a model, unless a run is training it now."""
    try:
        # A draft, `KEY.draft`, is behind the lock of its model.
        with FileLock(f"{folder.with_suffix('')}.lock", timeout=0):
            shutil.rmtree(folder)
    except Timeout:
        return False
    return True


def _not_as_written(report: Path) -> Iterator[Path]:
    """What the folder of a report has not as it was written, and half-written files.

    Its figures and sheets are folders of their own, of which one without an index is damaged.
    """
    if not report.is_dir():
        return
    yield from files.drafts(report)
    for folder in (report, report / "figures", report / "sheets"):
        listed, there = digests.read(folder) or {}, digests.of_tree(folder)
        ours = [name for name in there if folder != report or name.startswith(_WRITTEN)]
        if not listed.keys() >= set(ours):
            yield folder / digests.NAME
        for name, of_name in listed.items():
            if there.get(name) != of_name:
                yield folder / name
