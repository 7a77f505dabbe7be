"""What is kept of a finished job, so that the same job is known to be done from digests alone.

A record says what the job depended on, and what its results were when it ended. It is kept under a
digest of the first, and believed only while all of the second is as it was; whoever finds no such
record does the job again, which takes longer and changes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from xai_bench.runner.finished.intact import IntactFolders
from xai_bench.runner.finished.surroundings import digest, of_path

FOLDER = Path("cache", "finished")
"""Where records are kept, in the results."""


@dataclass(frozen=True)
class JobRecord:
    """One finished job.

    Attributes:
        status: `ok` or `skipped`.
        title, scores: of its first line.
        lines: what is shown of it: mark, name, note.
        folders: folder in the results -> digest of its index.
        explanations: name, regime and content address of each, and whether it was tuned.
        metrics: name -> content address.
        runs: the digests of its runs in the MLflow database of the results folder.
        files: path -> digest of what data, models and own components were read from, also folders.
    """

    study: str
    cell: str
    status: str
    title: str
    scores: str
    lines: tuple[tuple[str, str, str], ...]
    folders: Mapping[str, str]
    explanations: tuple[tuple[str, str, str, bool], ...]
    metrics: Mapping[str, str]
    runs: tuple[str, ...]
    files: Mapping[str, str]

    def holds(self, intact: IntactFolders, command: str) -> bool:
        """Whether all is as it was when the job ended, and its study knows the command."""
        return (
            self._is_listed(intact, command)
            and all(intact.index(intact.root / name) == d for name, d in self.folders.items())
            and all(of_path(Path(path)) == d for path, d in self.files.items())
            and all((self.study, self.cell, run) in intact.shown for run in self.runs)
        )

    def _is_listed(self, intact: IntactFolders, command: str) -> bool:
        """Whether the study lists the command and just what the job had."""
        manifest = intact.manifest(self.study, self.cell)
        if manifest is None or command not in manifest.commands:
            return False
        return (
            all(manifest.explanations.get(n, {}).get(r) == k for n, r, k, _ in self.explanations)
            and all(key in manifest.tuning for _, _, key, tuned in self.explanations if tuned)
            and all(manifest.metrics.get(name) == key for name, key in self.metrics.items())
        )


def key(surroundings: str, overrides: Sequence[str]) -> str:
    """What the record of a job is kept under."""
    return digest({"surroundings": surroundings, "overrides": list(overrides)})


def write(results: Path, name: str, record: JobRecord) -> None:
    """Keep the record of a job that has ended."""
    save(results, name, asdict(record))


def read(results: Path, name: str) -> JobRecord | None:
    """The record of that key; None where there is none, or it is damaged."""
    fields = load(results, name)
    if fields is None:
        return None
    record = JobRecord(**fields)
    return replace(
        record,
        runs=tuple(record.runs),
        lines=tuple(tuple(line) for line in record.lines),  # type: ignore[misc]
        explanations=tuple(tuple(explanation) for explanation in record.explanations),  # type: ignore[misc]
    )


def save(results: Path, name: str, content: Mapping[str, Any]) -> None:
    """Write plain values with their digest; where that cannot be done, nothing is kept."""
    # As it will be read: the digest of lists is not that of tuples.
    plain = json.loads(json.dumps(content))
    path = results / FOLDER / f"{name}.json"
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_text(json.dumps({"content": plain, "digest": digest(plain)}))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def load(results: Path, name: str) -> dict[str, Any] | None:
    """What `save` wrote; None where it is absent or damaged."""
    try:
        stored = json.loads((results / FOLDER / f"{name}.json").read_bytes())
        content: dict[str, Any] = stored["content"]
        return content if stored["digest"] == digest(content) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
