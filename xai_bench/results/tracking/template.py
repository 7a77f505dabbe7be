"""A new MLflow database as a copy of an earlier one: making its tables takes most of a second.

The copy is kept in the user's folder of caches, under the version of MLflow, and holds tables
alone. Where it cannot be kept or read, MLflow makes its tables as always.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

_EMPTIED = ("experiments", "runs", "tags", "params", "metrics", "latest_metrics", "experiment_tags")
"""Tables whose rows belong to a results folder; MLflow makes its first experiment anew."""


def start(database: Path) -> None:
    """Put a database of the right version in its place, where there is none yet."""
    with suppress(OSError, sqlite3.Error):
        if is_new(database) and _is_sound(path()):
            draft = database.with_name(f".{database.name}.{os.getpid()}")
            try:
                shutil.copyfile(path(), draft)
                draft.replace(database)
            finally:
                draft.unlink(missing_ok=True)


def is_new(database: Path) -> bool:
    """Whether nothing is there yet: an empty file holds as much as none."""
    return not database.exists() or not database.stat().st_size


def keep(database: Path) -> None:
    """Keep the tables of a database that MLflow has just made, for the next one."""
    with suppress(OSError, sqlite3.Error):
        if path().exists():
            return
        path().parent.mkdir(parents=True, exist_ok=True)
        draft = path().with_name(f".{path().name}.{os.getpid()}")
        try:
            _copy(database, draft)
            draft.replace(path())
        finally:
            draft.unlink(missing_ok=True)


def path() -> Path:
    """Where the tables of this version of MLflow are kept."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(caches).expanduser() / "xai-bench" / f"mlflow-{version('mlflow')}.db"


def _copy(database: Path, draft: Path) -> None:
    """The tables of a database, and what is in them but for `_EMPTIED`."""
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(draft)) as copy:
        source.backup(copy)
        # Without a log beside it, so that the one file can be copied as it is.
        copy.execute("PRAGMA journal_mode=DELETE")
        names = {name for (name,) in copy.execute("SELECT name FROM sqlite_master")}
        for table in names.intersection(_EMPTIED):
            copy.execute(f"DELETE FROM {table}")
        copy.commit()


def is_current(database: Path) -> bool:
    """Whether a database is sound and known to be of this version of MLflow."""
    version_of = _version(path())
    return version_of is not None and version_of == _version(database)


def _is_sound(database: Path) -> bool:
    return _version(database) is not None


def _version(database: Path) -> str | None:
    """The version of the tables; None where there is no file, or it is not what SQLite wrote."""
    if not database.is_file():
        return None
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        [[answer], *_] = connection.execute("PRAGMA quick_check(1)").fetchall()
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if answer == "ok" and row else None
