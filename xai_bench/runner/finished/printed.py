"""What was printed of a report, as long as neither the results nor the report have changed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai_bench.results.store.digests import NAME
from xai_bench.runner.finished import job_record
from xai_bench.runner.finished.intact import IntactFolders
from xai_bench.runner.finished.surroundings import digest, surroundings

_LOOKS = ("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
"""Variables of the environment by which a terminal's text differs."""


@dataclass(frozen=True)
class PrintedReport:
    """The text of one report on this terminal, kept under the digest of all it is made of."""

    results: Path
    study: str
    key: str

    @classmethod
    def of(cls, results: Path, study: str, settings: Mapping[str, Any]) -> PrintedReport:
        """For a study with these settings; its key is empty where any result is damaged."""
        intact = IntactFolders(results)
        places = [results / "studies" / study, *intact.folders(study)]
        indices = {str(place.relative_to(results)): intact.index(place) for place in places}
        content = {
            "indices": indices,
            "settings": settings,
            "surroundings": surroundings(),
            "terminal": _terminal(),
            "MLflow": (results / "mlflow.db").exists(),
        }
        return cls(results, study, digest(content) if all(indices.values()) else "")

    def read(self) -> str | None:
        """The text, if the files of the report are as it was written for them."""
        kept = job_record.load(self.results, self.key) if self.key else None
        intact = IntactFolders(self.results)
        if kept is None or _report(intact, self.study) != kept["report"]:
            return None
        return str(kept["text"])

    def keep(self, text: str) -> None:
        """Remember a text that was printed."""
        report = _report(IntactFolders(self.results), self.study)
        if self.key and report and all(report.values()):
            job_record.save(self.results, self.key, {"report": report, "text": text})


def _report(intact: IntactFolders, study: str) -> dict[str, str]:
    """Every folder of a report with an index -> the digest of that."""
    folder = intact.root / "reports" / study
    indices = sorted(folder.rglob(NAME))
    return {str(path.parent.relative_to(folder)): intact.index(path.parent) for path in indices}


def _terminal() -> list[Any]:
    looks = {name: os.environ.get(name) for name in _LOOKS}
    return [sys.stdout.isatty(), list(shutil.get_terminal_size()), looks]
