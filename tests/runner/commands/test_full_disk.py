"""A disk that is full or read-only is one sentence, loses nothing, and the next run goes on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support import disk
from tests.support.command_line import Finished, run, small_run
from xai_bench.results.store import digests
from xai_bench.runner.commands.doctor import Doctor

pytestmark = pytest.mark.slow

RUN = small_run("explainer=[random,constant]", "report.pictures=0")
SPARE = {"finished", "printed"}
"""Folders of what is only kept for speed, and the log of a run."""
TOLD = ("No space left on device", "Read-only file system", "File too large", "disk is full")


def told(finished: Finished, refused: disk.Disk) -> None:
    """One sentence of what is wrong with the disk, and an exit code that says so.

    Unless all that was refused is what makes the next run faster, or its log.
    """
    assert "Traceback" not in finished.text, finished.text
    if finished.code == 0:
        assert refused.names <= SPARE, refused.names
        return
    assert any(words in finished.text for words in TOLD), finished.text


def scores(root: Path) -> dict[str, object]:
    """What is the same in every run, by its place."""
    listed = digests.of_tree(root / "results" / "store")
    return {name: d for name, d in listed.items() if "cost" not in name and "machine" not in name}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Where a run has ended, and how often it wrote."""
    folder = tmp_path_factory.mktemp("whole")
    with disk.watched(disk.Disk(folder)) as counted:
        assert run(folder, *RUN).code == 0
    return folder, counted.written


STEP = 1 if os.environ.get("XAI_BENCH_FUZZ") == "full" else 9
"""CI tries every ninth write, `make test-fuzz` every one."""
EVERY = [pytest.param(left, marks=pytest.mark.exhaustive) for left in range(1, 100, STEP)]


@pytest.mark.sample(8)
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS], ids=errno.errorcode.get)
@pytest.mark.parametrize("left", [0, 8, *EVERY])
def test_a_run_is_told_and_goes_on(
    whole: tuple[Path, int], left: int, error: int, tmp_path: Path
) -> None:
    reference, n_writes = whole
    if left >= n_writes:
        pytest.skip(f"the run writes {n_writes} times")
    with disk.watched(disk.Disk(tmp_path, left, error)) as counted:
        ended = run(tmp_path, *RUN)
    told(ended, counted)
    results = tmp_path / "results"
    if results.is_dir():
        found = [finding.sentence for finding in Doctor(results, dry_run=True).examine()]
        assert not [sentence for sentence in found if "digest" in sentence]
    assert run(tmp_path, *RUN).code == 0
    assert scores(tmp_path) == scores(reference)


@pytest.mark.sample(2)
@pytest.mark.parametrize("command", ["report", "sync", "doctor", "list", "compare", "recommend"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS], ids=errno.errorcode.get)
def test_other_commands_read_on_or_are_told(
    whole: tuple[Path, int], command: str, error: int
) -> None:
    """What has nothing to write, or only what it would like to keep, does its work."""
    folder, _ = whole
    arguments = {"list": ["explainers"], "compare": ["default", "default"]}.get(command, [])
    with disk.watched(disk.Disk(folder, 0, error)) as counted:
        ended = run(folder, command, *arguments)
    assert "Traceback" not in ended.text
    if ended.code:
        told(ended, counted)
