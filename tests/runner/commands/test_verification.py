"""`xai-bench verify`: a study's numbers come out again, and one that does not is named."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import command_line
from xai_bench.results import Cell
from xai_bench.results.store.store import Store
from xai_bench.runner.commands.verification import chosen

pytestmark = pytest.mark.slow

STUDY = "s"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a sweep over two seeds."""
    folder = tmp_path_factory.mktemp("verify")
    parts = ("explainer=[saliency,lime]", "explainer.lime.budget=20", f"study={STUDY}")
    sweep = command_line.small_run("-m", "seed=0,1", *parts)
    command_line.succeed(folder, *sweep)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def seed_0(store: Store) -> Cell:
    return next(cell for cell, _ in store.cells(STUDY) if cell.seed == 0)


def scale_scores(folder: Path, factor: float) -> None:
    """Store other scores of lime for seed 0, with their digests: no damage, but wrong numbers."""
    store = Store(folder / "results")
    cell = seed_0(store)
    lime = next(r for r in store.explanations(STUDY, cell.key) if r.explainer == "lime")
    scores = {name: replace(s, values=s.values * factor) for name, s in lime.scores.items()}
    store.write(cell.key, replace(lime, scores=scores))


def test_the_same_versions_give_the_same_bits(folder: Path) -> None:
    said = command_line.succeed(folder, "verify", STUDY, "--share", "1")
    assert said.count("the same bits") == 2
    assert f"{STUDY}: 2 cells were run again, 0 of them differ" in said


def test_a_number_that_differs_is_named(folder: Path) -> None:
    scale_scores(folder, 1 + 1e-12)
    finished = command_line.run(folder, "verify", STUDY, "--share", "1")
    assert finished.code == 1
    assert "1 of 5 arrays differ, most lime" in finished.text
    assert "entropy (1e-12)" in finished.text
    assert "2 cells were run again, 1 of them differ" in finished.text


@pytest.mark.exhaustive
@pytest.mark.parametrize(("factor", "code"), [(1 + 1e-7, 0), (1 + 1e-3, 1)])
def test_other_versions_agree_within_a_tolerance(folder: Path, factor: float, code: int) -> None:
    scale_scores(folder, factor)
    store = Store(folder / "results")
    cell = seed_0(store)
    store.write_cell(replace(cell, environment={**cell.environment, "torch": "1.0"}))
    finished = command_line.run(folder, "verify", STUDY, "--share", "1")
    assert finished.code == code, finished.text
    assert ("torch 1.0 ->" in finished.text) == (code == 0)


def test_a_cell_that_no_command_gives_any_more_is_said(folder: Path) -> None:
    store = Store(folder / "results")
    for cell, _ in store.cells(STUDY):
        store.write_cell(replace(cell, config={**cell.config, "n_samples": 5}))
    finished = command_line.run(folder, "verify", STUDY)
    assert finished.code == 2
    assert "no command of the study gives this cell" in finished.text
    assert "Traceback" not in finished.text


def test_a_stored_command_is_trusted_with_no_package(folder: Path) -> None:
    (folder / "own.py").write_text("raise SystemExit('code of a results folder was run')\n")
    for path in (folder / "results" / "studies" / STUDY).glob("*.json"):
        text = path.read_text().replace("run -m", "run -m allow=[own] +model.x._target_=own.X")
        path.write_text(text)
    (folder / "results" / "studies" / STUDY / "SHA256SUMS").unlink()
    finished = command_line.run(folder, "verify", STUDY)
    assert finished.code == 2, finished.text
    assert "was run" not in finished.text


def test_a_share_is_at_least_one_cell_and_always_the_same_ones(made: Path) -> None:
    cells = [cell for cell, _ in Store(made / "results").cells(STUDY)]
    assert len(chosen(cells, 0.01)) == 1
    assert chosen(cells, 0.5) == chosen(cells[::-1], 0.5)
    assert len(chosen(cells, 1)) == 2


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["--share", "2"], "write a number above 0, up to 1"),
        (["--share", "nan"], "write a number above 0, up to 1"),
        (["--tolerance", "-1"], "write a number from 0 on"),
        (["--tolerance", "nan"], "write a number from 0 on"),
    ],
)
def test_a_number_that_is_no_share_or_bound_is_refused(
    made: Path, typed: list[str], sentence: str
) -> None:
    finished = command_line.run(made, "verify", STUDY, *typed)
    assert finished.code == 2
    assert sentence in finished.text
