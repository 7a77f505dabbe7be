"""What is done to MLflow's own SQLite file in a results folder, which its client cannot do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

ARTIFACTS = "mlartifacts"
"""The folder of artifacts, beside the database."""


def path(root: Path) -> Path:
    """The database of a results folder."""
    return root / "mlflow.db"


def address(root: Path) -> str:
    """The database of a results folder as SQLAlchemy names it, which reads some signs otherwise."""
    place = str(path(root.resolve()))
    # The percent sign first, because the codes of the others begin with one.
    for sign in "%?#":
        place = place.replace(sign, f"%{ord(sign):02X}")
    return f"sqlite:///{place}"


@contextmanager
def without_stray_folder(root: Path) -> Iterator[None]:
    """Take away the folders that MLflow makes where it reads an address as if it were a path."""
    stray = stray_folders(root)
    try:
        yield
    finally:
        remove(stray)


def stray_folders(root: Path) -> list[Path]:
    """What MLflow would make below folders that there are, the deepest first."""
    place = Path(address(root).removeprefix("sqlite:///")).parent
    return [folder for folder in (place, *place.parents) if not folder.exists()]


def remove(stray: Sequence[Path]) -> None:
    """Remove folders that are empty, the deepest first."""
    for folder in stray:
        with suppress(OSError):  # it is not empty, or was never made
            folder.rmdir()


def artifacts(root: Path) -> str:
    """The address of the artifacts of a results folder, as MLflow writes it: absolute."""
    return (root.resolve() / ARTIFACTS).as_uri()


def local(address: str) -> Path | None:
    """The folder at an address; None where it is not on this machine."""
    parts = urlsplit(address)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def problem(root: Path) -> str | None:
    """What is damaged in the database; None where nothing is, and where there is none yet.

    Raises ValueError where it cannot be read just now, as on a full disk: it may be intact.
    """
    database = path(root)
    if not database.exists() or not database.stat().st_size:
        return None
    try:
        with closing(read_only(database)) as connection:
            [[answer], *_] = connection.execute("PRAGMA quick_check(1)").fetchall()
            connection.execute("SELECT count(*) FROM experiments").fetchall()
            # MLflow writes it last, and would try for two minutes to finish what was cut short.
            is_whole = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error as error:
        if _of_the_file(error):
            return str(error)
        raise ValueError(
            f"{database} cannot be read now: {error}; make room on its disk, or wait until nobody "
            "else writes to it, and run the same command again"
        ) from error
    if not is_whole:
        return "its tables were not finished"
    return None if answer == "ok" else f"its check says: {answer}"


def remove_unfinished(root: Path) -> None:
    """Remove a database that MLflow could not make to the end: nothing is in it yet."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            path(root).with_name(f"{path(root).name}{suffix}").unlink()


def misplaced(root: Path) -> list[str]:
    """Where artifacts were when the folder had another place; empty where it was not moved."""
    if not path(root).exists() or not path(root).stat().st_size:
        return []
    here = artifacts(root)
    with closing(read_only(path(root))) as connection:
        rows = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    locations = [str(location) for (location,) in rows]
    return [
        location
        for location in locations
        if location.startswith("file:") and location.endswith(f"/{ARTIFACTS}") and location != here
    ]


def relocate(root: Path) -> None:
    """Let the runs of a results folder that was moved or copied know its artifacts again.

    MLflow stores absolute addresses only. Raises ValueError where nothing can be written.
    """
    for old in misplaced(root):
        try:
            _replace_address(path(root), old, artifacts(root))
        except sqlite3.Error as error:
            raise ValueError(
                f"{path(root)} was moved, and where its artifacts are cannot be corrected: {error}"
            ) from error


def _replace_address(database: Path, old: str, new: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            # In SQL, the first letter has the number 1.
            "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
            "WHERE substr(artifact_uri, 1, ?) = ?",
            (new, len(old) + 1, len(old) + 1, f"{old}/"),
        )
        connection.execute(
            "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (new, old)
        )


def write_ahead(root: Path) -> None:
    """Write-ahead logging lets the UI read during a write; the database keeps the setting."""
    with closing(sqlite3.connect(path(root))) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def set_aside(root: Path) -> Path:
    """Rename a broken database, so that another one is made; returns its new name."""
    database = path(root)
    names = (database.with_name(f"{database.name}.broken{n or ''}") for n in range(1000))
    aside = next(name for name in names if not name.exists())
    database.replace(aside)
    # SQLite would take them for those of the next database of this name.
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    return aside


def shown(root: Path, cell: str = "%") -> set[tuple[str, str, str]]:
    """Study, cell and digest of each run, read without MLflow; empty where that cannot be done.

    It cannot in a folder that was moved, whose runs have to learn where their artifacts are.
    """
    try:
        if misplaced(root) or not path(root).exists():
            return set()
        with closing(read_only(path(root))) as connection:
            return {(str(s), str(c), str(d)) for s, c, d in connection.execute(_SHOWN, (cell,))}
    except sqlite3.Error:
        return set()


_SHOWN = """
    SELECT experiments.name, cell.value, digest.value FROM runs
    JOIN experiments ON experiments.experiment_id = runs.experiment_id
    JOIN tags AS cell ON cell.run_uuid = runs.run_uuid AND cell.key = 'cell'
    JOIN tags AS digest ON digest.run_uuid = runs.run_uuid AND digest.key = 'digest'
    WHERE runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active'
    AND cell.value LIKE ?
"""


def read_only(database: Path) -> sqlite3.Connection:
    """A connection that changes nothing, beside a server that writes.

    To read with write-ahead logging SQLite makes two files. On a full disk it cannot, and need not
    where nobody writes.
    """
    address = f"{database.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(address, uri=True)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
    except sqlite3.Error as error:
        ahead = database.with_name(f"{database.name}-wal")
        if _of_the_file(error) or (ahead.exists() and ahead.stat().st_size):
            return connection
        connection.close()
        return sqlite3.connect(f"{address}&immutable=1", uri=True)
    return connection


_OF_THE_DISK = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_IOERR,
}  # fmt: skip
"""SQLite's codes for what is wrong around a database, and not in it."""


def _of_the_file(error: sqlite3.Error) -> bool:
    """Whether an error says that a database is damaged: not that it cannot be read just now."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    # A file that ends too early, which is damage and not a fault of the disk.
    is_short = code == sqlite3.SQLITE_IOERR_SHORT_READ
    # The lowest byte is the kind of error, the others say it more exactly.
    return is_short or code & 0xFF not in _OF_THE_DISK
