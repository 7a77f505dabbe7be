"""What is kept of a study: means and origin, no path of a machine; the smallest comes out again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.support import command_line
from tests.support.paths import ROOT
from xai_bench.results.report.options import ReportOptions
from xai_bench.results.report.writer import write
from xai_bench.results.store.store import Store
from xai_bench.runner.commands.publication import COLUMNS, differences, main, publish

PUBLISHED = ROOT / "results" / "published"
STUDIES = sorted(path.name for path in PUBLISHED.glob("*/"))
SMALLEST = "fairness"


def published(folder: Path, values: list[float]) -> Path:
    store = Store(folder / "results")
    results = [
        explanation("lime", scored("abpc", values), scored("seconds", [1.0, 2.0, 3.0], "cost")),
        explanation("shap", scored("abpc", [1.0, 2.0, 4.0])),
    ]
    command = "xai-bench run experiment=s results=/home/somebody/results recorder=none"
    add_to_study(store, "s", cell(), results, command)
    write(store, "s", options=ReportOptions(figures=()))
    return publish(store.root, "s", folder / "published")


@pytest.mark.slow
def test_a_study_is_kept_without_clocks_and_places(tmp_path: Path) -> None:
    folder = published(tmp_path, [1.0, 2.0, 3.0])
    frame = pd.read_csv(folder / "scores.csv")
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame["metric"].unique()) == ["abpc"]
    origin = json.loads((folder / "provenance.json").read_text())
    assert origin["commands"] == ["xai-bench run experiment=s"]
    assert (folder / "verdict.md").read_text().startswith("# s")


def test_a_mean_that_moved_is_named_and_noise_is_not(tmp_path: Path) -> None:
    before = published(tmp_path / "a", [1.0, 2.0, 3.0])
    assert list(differences(before, published(tmp_path / "b", [1.0, 2.0, 3.00001]))) == []
    [sentence] = differences(before, published(tmp_path / "c", [2.5, 4.0, 6.0]))
    assert "lime, abpc: 2 was published, 4.16667 comes out" in sentence


@pytest.mark.sample(3, others="slow")
@pytest.mark.parametrize("study", ["nosuch", "../s", ""])
def test_what_is_no_study_is_one_sentence_and_removes_nothing(tmp_path: Path, study: str) -> None:
    folder = published(tmp_path, [1.0, 2.0, 3.0])
    places = ["--results", str(tmp_path / "results"), "--to", str(tmp_path / "published" / "x")]
    with pytest.raises(SystemExit, match="has no report"):
        main([study, *places])
    assert (folder / "scores.csv").is_file()


@pytest.mark.parametrize("study", STUDIES)
def test_what_is_kept_says_where_it_comes_from(study: str) -> None:
    folder = PUBLISHED / study
    origin = json.loads((folder / "provenance.json").read_text())
    [command] = origin["commands"]
    # How many processes share a sweep out changes no number.
    assert re.fullmatch(rf"xai-bench run experiment={study}( n_jobs=\d+)?", command)
    assert all(len(of_cell["fingerprint"]) == 16 for of_cell in origin["cells"])
    assert (ROOT / "experiments" / study / "README.md").is_file()
    for path in folder.rglob("*"):
        if path.suffix in (".md", ".csv", ".json", ".tex", ".svg"):
            assert not re.search(r"/(home|root|work|tmp)/", path.read_text(encoding="utf-8")), path


@pytest.mark.exhaustive
def test_the_smallest_study_comes_out_again(tmp_path: Path) -> None:
    command_line.succeed(tmp_path, "run", f"experiment={SMALLEST}", "recorder=none")
    again = publish(tmp_path / "results", SMALLEST, tmp_path / "published")
    assert list(differences(PUBLISHED / SMALLEST, again)) == []
