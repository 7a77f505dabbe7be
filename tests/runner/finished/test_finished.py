"""What is finished is not done again, and what has changed in any way is."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.command_line import small_run, succeed
from xai_bench.results.store.digests import NAME
from xai_bench.runner.commands import exit_summary, launch
from xai_bench.runner.finished import surroundings

pytestmark = pytest.mark.slow  # whole commands, or a whole folder of results

CSV = "a,b,y\n" + "\n".join(f"{i % 7},{(3 * i) % 5},{i % 2}" for i in range(60)) + "\n"
COMMAND = small_run("data=custom_table", "data.path=own.csv", "data.target=y", "recorder=mlflow")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the command has ended."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "own.csv").write_text(CSV)
    succeed(folder, *COMMAND)
    return folder


def starts_work(folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> bool:
    """Whether the command does more than to say that it is finished."""
    started = []

    def run(arguments: object) -> None:
        started.append(arguments)

    monkeypatch.setattr(launch, "run", run)
    text = succeed(folder, *COMMAND, *more)
    assert started or text.count("already in the store") == 1
    return bool(started)


def test_a_finished_command_starts_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exit_summary, "_write", lambda *_: pytest.fail("the report is made again"))
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert not starts_work(finished, monkeypatch)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def damage(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = next(folder.glob(f"results/store/**/{name}"))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return change


def forget_run(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "results" / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE runs SET lifecycle_stage = 'deleted'")


def leave_study(folder: Path) -> None:
    for path in folder.glob("results/studies/default/*"):
        path.unlink()


CHANGES: dict[str, Callable[[Path], object]] = {
    "attribution": damage("attribution.safetensors"),
    "scores": damage("scores.parquet"),
    "cell": damage("cell.json"),
    "inputs": damage("inputs.safetensors"),
    "index": damage(NAME),
    "explanation gone": lambda folder: shutil.rmtree(
        next(folder.glob("results/store/*/*/explanation.json")).parent
    ),
    "data": lambda folder: (folder / "own.csv").write_text(CSV.replace("6,", "9,")),
    "data gone": lambda folder: (folder / "own.csv").unlink(),
    "study": leave_study,
    "MLflow run": forget_run,
    "MLflow": lambda folder: (folder / "results" / "mlflow.db").unlink(),
    "record": lambda folder: shutil.rmtree(folder / "results" / "cache" / "finished"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_is_not_as_it_was_is_looked_at(
    change: Callable[[Path], object],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In the same place, because the current folder is part of what a command depends on.
    shutil.copytree(finished, tmp_path / "kept", symlinks=True)
    try:
        change(finished)
        assert starts_work(finished, monkeypatch)
    finally:
        shutil.rmtree(finished)
        shutil.copytree(tmp_path / "kept", finished)


def test_other_code_options_and_settings_are_looked_at(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert starts_work(finished, monkeypatch, "seed=1")
    with monkeypatch.context() as patch:
        patch.setattr(surroundings, "_ours", lambda: "other code")
        assert starts_work(finished, patch)
    with monkeypatch.context() as patch:
        patch.setattr(surroundings, "_installed", lambda _: ["torch-0.dist-info"])
        assert starts_work(finished, patch)
    with monkeypatch.context() as patch:
        patch.setenv("XAI_BENCH_DATA", "elsewhere")
        assert starts_work(finished, patch)


def test_a_report_is_made_again_where_a_file_of_it_is_gone(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = finished / "results" / "reports" / "default" / "report.html"
    page.unlink()
    assert not starts_work(finished, monkeypatch)
    assert page.exists()
