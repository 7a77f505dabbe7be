"""Jobs of one cell at the same time compute no explanation twice, and none waits for nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import command_line
from xai_bench.results.store.store import Store
from xai_bench.runner.cells import job
from xai_bench.runner.sweeps import sharing


def test_what_one_has_reserved_no_other_gets(tmp_path: Path) -> None:
    with sharing.reserved(tmp_path, "saliency", wait=False) as mine:
        with sharing.reserved(tmp_path, "saliency", wait=False) as theirs:
            assert (mine, theirs) == (True, False)
        with sharing.reserved(tmp_path, "lime", wait=False) as other:
            assert other
    assert not list(tmp_path.iterdir())
    with sharing.reserved(tmp_path, "saliency", wait=True) as again:
        assert again


@pytest.mark.slow
def test_what_another_job_is_at_comes_last_and_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = command_line.small_run("explainer=[saliency,random]", "study=shared")
    command_line.succeed(tmp_path, *arguments, "results=theirs")
    [(cell, results)] = Store(tmp_path / "theirs").cells("shared")
    keys = {result.explainer: result.key for result in results}
    folders = [Store(tmp_path / n).folder(cell.key, keys["saliency"]) for n in ("theirs", "ours")]
    computed = []

    @contextmanager
    def busy(folder: Path, name: str, *, wait: bool) -> Iterator[bool]:
        is_theirs = name.endswith(keys["saliency"])
        if is_theirs and wait:  # until the other job has stored it
            assert computed == ["random"]
            shutil.copytree(*folders)
        yield wait or not is_theirs

    def evaluate(context: Any, explainer: Any, *args: Any, **settings: Any) -> Any:
        computed.append(explainer.name)
        return original(context, explainer, *args, **settings)

    original = job.evaluate
    monkeypatch.setattr(sharing, "reserved", busy)
    monkeypatch.setattr(job, "evaluate", evaluate)
    said = command_line.succeed(tmp_path, *arguments, "results=ours")
    assert computed == ["random"]
    assert said.index("random") < said.index("saliency")
    [(_, ours)] = Store(tmp_path / "ours").cells("shared")
    assert {result.explainer: result.key for result in ours} == keys
