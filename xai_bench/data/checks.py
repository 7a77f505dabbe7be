"""Checks of the paths and column names that a user writes, each failing in one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from xai_bench.core.spelling import suggest

FOLDER = "XAI_BENCH_DATA"
"""The environment variable for the folder of the data whose options are shipped."""


def existing_path(path: str | Path) -> Path:
    """The path, with `~` expanded. Raises ValueError where nothing is there."""
    expanded = Path(path).expanduser()
    if expanded.exists():
        return expanded
    shipped = Path(os.environ.get(FOLDER, "data"))
    if expanded.is_relative_to(shipped):
        raise ValueError(
            f"there is no file {str(expanded)!r}: its data are not part of the package; "
            f"docs/data.md says where they come from, and {FOLDER}=FOLDER where they lie (now "
            f"{str(shipped)!r})"
        )
    folder = expanded.parent
    siblings = [sibling.name for sibling in folder.iterdir()] if folder.is_dir() else []
    place = f"in {folder}; {suggest(expanded.name, siblings)}"
    if not siblings:
        place = f"in {folder}, which does not exist or is empty"
    raise ValueError(
        f"there is no file {expanded.name!r} {place}; "
        "set its place in the data node (data.path=... or data.folder=...)"
    )


def require_columns(
    names: Iterable[str], columns: Iterable[str], setting: str, kind: str = "columns"
) -> None:
    """Raise ValueError for the first of `names` that is not among the `columns` of a table.

    `setting` is what the user wrote the names in, such as `data.drop:`; `kind` is what they name.
    """
    columns = [str(column) for column in columns]
    for name in names:
        if name not in columns:
            raise ValueError(
                f"{setting} {name!r} is not among the {kind}; {suggest(name, columns)}"
            )
