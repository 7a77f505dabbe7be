"""Proves gaps between groups on cases by hand, and the coverage of their intervals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.random import PCG64, Generator

from tests.results.report.test_table import shown
from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.support.reports import written
from xai_bench.results import ExplainerResult, Scores
from xai_bench.results.report.formats.console import terminal
from xai_bench.results.report.sections import fairness
from xai_bench.results.report.summary import Column, blocks
from xai_bench.results.statistics.intervals import student
from xai_bench.results.store.store import Store

NAN = float("nan")
SEX = [0] * 12 + [1] * 12 + [2] * 3
NAMES = {"sex": ("Female", "Male & co", "Other")}
COLUMN = Column("abpc", "key", "abpc", "fidelity", higher_is_better=True)
EVEN = [1.0] * 12 + [0.5] * 12 + [-9.0] * 3


def explained(name: str, *scores: Scores, n: int = 27) -> ExplainerResult:
    plain = explanation(name, *scores, attribution=torch.zeros(n, 2))
    return replace(plain, index=torch.arange(n))


def study(path: Path, *explanations: ExplainerResult, seeds: int = 1) -> Store:
    store = Store(path)
    for seed in range(seeds):
        one = cell(seed, groups={"sex": torch.tensor(SEX)}, group_names=NAMES)
        add_to_study(store, "s", one, list(explanations))
    return store


def only(store: Store) -> fairness.Gap:
    [block] = blocks(store, "s")
    [gap] = fairness.gaps(block)
    return gap


@pytest.mark.parametrize(("higher", "best"), [(True, 0), (False, 1)])
def test_the_gap_is_between_the_best_and_the_worst_group(
    tmp_path: Path, higher: bool, best: int
) -> None:
    """Three samples make no group to be judged by, but their mean is shown."""
    score = scored("abpc", EVEN, higher_is_better=higher)
    gap = only(study(tmp_path, explained("lime", score)))
    assert (gap.gap, gap.low, gap.high, gap.apart) == (0.5, 0.5, 0.5, True)
    assert (gap.best, gap.worst) == (best, 1 - best)
    assert gap.means.tolist() == [1.0, 0.5, -9.0]
    assert gap.sizes.tolist() == [12, 12, 3]


def test_unscored_samples_are_left_out(tmp_path: Path) -> None:
    """Five of twelve are too few to compete."""
    score = scored("abpc", [NAN] * 7 + EVEN[7:])
    gap = only(study(tmp_path, explained("lime", score)))
    assert gap.sizes.tolist() == [5, 12, 3]
    assert np.isnan(gap.gap)
    assert (gap.best, gap.worst, gap.apart) == (-1, -1, False)
    assert gap.means[0] == 1


def test_equal_groups_have_no_worst_one(tmp_path: Path) -> None:
    gap = only(study(tmp_path, explained("lime", scored("abpc", [0.25] * 27))))
    assert (gap.gap, gap.best, gap.worst, gap.apart) == (0, -1, -1, False)


def test_more_seeds_of_the_same_samples_are_not_more_samples(tmp_path: Path) -> None:
    values = Generator(PCG64(0)).normal(size=27).tolist()
    one = only(study(tmp_path / "one", explained("lime", scored("abpc", values))))
    four = only(study(tmp_path / "four", explained("lime", scored("abpc", values)), seeds=4))
    assert four.gap == pytest.approx(one.gap)
    assert four.high - four.low == pytest.approx(one.high - one.low, rel=0.15)
    assert four.sizes.tolist() == [48, 48, 12]


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("n_groups", [2, 4])
def test_equal_groups_rarely_differ_significantly(n_groups: int) -> None:
    """400 worlds, as 400 explainers, of 30 samples per group, in which all groups are alike."""
    scores = Generator(PCG64(1)).normal(size=(400, 30 * n_groups))
    codes = np.repeat(np.arange(n_groups), 30)
    of = (codes, np.zeros_like(codes), np.arange(len(codes)))
    found = [fairness.largest_gap(COLUMN, one, of, n_groups) for one in scores]
    share = np.mean([one["apart"] for one in found])
    assert 0.005 <= share <= 0.09


def test_two_groups_have_welchs_standard_error() -> None:
    """Of one seed, but for the factor by which rows of all groups are counted."""
    scores, codes = Generator(PCG64(2)).normal(size=50), np.repeat([0, 1], [20, 30])
    place = (np.zeros_like(codes), np.arange(50))
    half = fairness.gap_width(scores, codes, place, (0, 1), 0.95)
    left, right = scores[:20].var(ddof=1) / 20, scores[20:].var(ddof=1) / 30
    assert half == pytest.approx(student(0.025, 49) * np.sqrt((left + right) * 50 / 49))


def test_the_report_shows_gaps_and_the_csv_every_mean(tmp_path: Path) -> None:
    cost = scored("seconds", EVEN, "cost", higher_is_better=False)
    store = study(tmp_path, explained("lime", scored("abpc", EVEN), cost))
    report = written(store, "s")
    text = report.markdown.read_text()
    assert "## digits, cnn: gaps by sex" in text
    assert "| lime | **0.500 (Male & co)** |" in text
    assert "Samples: Female 12, Male & co 12, Other 3." in text
    assert "| lime, Other | -9 (3) |" in text
    assert text.count("<details>") == text.count("</details>")
    tex = (report.folder / "tables/details.tex").read_text()
    assert r"\textbf{0.500 (Male \& co)}" in tex
    assert "Other" not in tex.split("gaps by sex")[1].split(r"\begin{tabular}")[1]
    table = pd.read_csv(report.markdown.parent / "fairness.csv")
    assert table["metric"].tolist() == ["abpc"] * 3
    assert table["group"].tolist() == list(NAMES["sex"])
    assert table["mean"].tolist() == [1.0, 0.5, -9.0]
    assert table["is_worst"].tolist() == [False, True, False]


def test_without_groups_there_is_no_section(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = cell(groups={})
    add_to_study(store, "s", one, [explanation("lime", scored("abpc", [1.0, 2.0, 3.0]))])
    report = written(store, "s")
    assert "gaps by" not in report.markdown.read_text()
    assert not (report.markdown.parent / "fairness.csv").exists()
    assert "lime" in shown(terminal(blocks(store, "s")))


def test_names_of_groups_are_stored(tmp_path: Path) -> None:
    store = study(tmp_path, explained("lime", scored("abpc", EVEN)))
    found = store.read_cell("cell0")
    assert found is not None
    assert found.group_names == NAMES
