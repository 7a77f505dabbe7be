"""A database that cannot be read just now is not one that is damaged."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.disk import files_up_to
from xai_bench.results.tracking import database, server
from xai_bench.results.tracking.mlflow import MlflowRecorder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a database as MLflow leaves it, with write-ahead logging."""
    with closing(sqlite3.connect(database.path(tmp_path))) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE experiments (artifact_location)")
        connection.execute("INSERT INTO experiments VALUES ('here')")
        connection.execute("CREATE TABLE alembic_version (version_num)")
        connection.execute("INSERT INTO alembic_version VALUES ('1')")
        connection.commit()
    return tmp_path


def test_an_intact_database_on_a_full_disk_is_read(root: Path) -> None:
    with files_up_to(64):
        assert database.problem(root) is None
        with closing(database.read_only(database.path(root))) as connection:
            assert connection.execute("SELECT * FROM experiments").fetchall() == [("here",)]


def test_what_cannot_be_read_now_is_not_said_to_be_damaged(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    with closing(sqlite3.connect(database.path(root))) as connection:
        connection.execute("INSERT INTO experiments VALUES ('there')")
        connection.commit()
        for name in ("mlflow.db", "mlflow.db-wal"):  # as after a kill
            shutil.copyfile(root / name, copy / name)
    with files_up_to(64), pytest.raises(ValueError, match="cannot be read now: disk I/O error"):
        database.problem(copy)
    assert database.problem(copy) is None


@pytest.mark.parametrize("content", [b"text" * 400, None], ids=["no database", "truncated"])
def test_a_damaged_one_is_said_to_be(root: Path, content: bytes | None) -> None:
    place = database.path(root)
    place.write_bytes(place.read_bytes()[:4500] if content is None else content)
    assert database.problem(root)


def test_a_server_that_could_not_open_it_is_not_started(root: Path) -> None:
    with files_up_to(64):
        assert server.problem(root) == "disk I/O error"
    assert server.problem(root) == ""


def test_tables_that_were_not_finished_are_damage(root: Path) -> None:
    with closing(sqlite3.connect(database.path(root))) as connection:
        connection.execute("DELETE FROM alembic_version")
        connection.commit()
    assert database.problem(root) == "its tables were not finished"


@pytest.mark.slow
def test_a_database_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    with files_up_to(20_000), pytest.raises(ValueError, match="cannot be written"):
        MlflowRecorder().experiment(tmp_path, "s")
    assert [path.name for path in tmp_path.iterdir()] == [".mlflow.lock"]
