"""The real server on results that were moved: their runs, pages and artifacts over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from tests.support import command_line
from xai_bench.runner.commands.ui import free_port

pytestmark = pytest.mark.exhaustive  # the server takes ten seconds to start

ODD = "a% b/né %41 #1?"
"""Signs that mean something in addresses."""


@contextmanager
def served(results: Path) -> Iterator[str]:
    """The address of `xai-bench ui` on these results, started in their folder."""
    port = free_port(5700)
    command = [sys.executable, "-m", "xai_bench", "ui", "--results", str(results)]
    log = results.parent / "ui.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=file,
            stderr=file,
            start_new_session=True,
            cwd=results,
            env={**os.environ, "PYTHONSAFEPATH": "1"},  # as the console script of a package
        )
    try:
        for _ in range(400):
            time.sleep(0.25)
            try:
                fetched(f"http://127.0.0.1:{port}/health")
                break
            except URLError:
                assert server.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)
        time.sleep(1)  # another process takes its stray folders away


def fetched(address: str, content: Any = None, **query: str) -> bytes:
    """What is at an address, or what comes back for some content."""
    sent = None if content is None else json.dumps(content).encode()
    request = Request(f"{address}?{urlencode(query)}", sent, {"Content-Type": "application/json"})
    with urlopen(request, timeout=20) as answer:
        return bytes(answer.read())


def folders(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.is_dir() and "runs" not in path.parts)


def test_the_artifacts_of_moved_results_open_in_the_server(tmp_path: Path) -> None:
    command_line.succeed(tmp_path, *command_line.small_run("recorder=mlflow"))
    moved = tmp_path / ODD / "results"
    moved.parent.mkdir(parents=True)
    shutil.move(tmp_path / "results", moved)
    for name in ("mlflow", "yaml", "sqlalchemy"):  # what others put there is not run
        (moved / f"{name}.py").write_text("raise SystemExit('taken from the results')")
    before = folders(tmp_path)
    with served(moved) as address:
        assert b"<html" in fetched(f"{address}/").lower()
        api = f"{address}/api/2.0/mlflow"
        found = json.loads(fetched(f"{api}/experiments/search", {"max_results": 10}))
        ids = [experiment["experiment_id"] for experiment in found["experiments"]]
        runs = json.loads(fetched(f"{api}/runs/search", {"experiment_ids": ids}))["runs"]
        names = [run["info"]["run_name"] for run in runs]
        assert sorted(name.partition("-")[0] for name in names) == ["random", "report", "training"]
        for run in runs:
            run_id = run["info"]["run_id"]
            listed = json.loads(fetched(f"{api}/artifacts/list", run_id=run_id))["files"]
            is_report = run["info"]["run_name"].startswith("report-")
            expected = "report.html" if is_report else "command.txt"
            assert expected in [file["path"] for file in listed]
            for file in [file for file in listed if not file["is_dir"]]:
                got = fetched(f"{address}/get-artifact", path=file["path"], run_id=run_id)
                place = moved / "mlartifacts" / run_id / "artifacts" / file["path"]
                assert got == place.read_bytes()
    assert folders(tmp_path) == before
