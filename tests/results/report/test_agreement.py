"""Proves agreement between explainers on cases by hand, by chance, and against scipy."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from tests.results.test_store import add_to_study, cell, contents, explanation, scored
from tests.support import toy_worlds
from tests.support.reports import written
from xai_bench.results import Outcome
from xai_bench.results.report.sections import agreement
from xai_bench.results.report.summary import blocks
from xai_bench.results.report.writer import write
from xai_bench.results.store.store import Store

ALL = torch.ones(1, 4, dtype=torch.bool)


def compare(left: list[float], right: list[float], present: Tensor = ALL) -> tuple[float, float]:
    sizes = torch.tensor([[left], [right]], dtype=torch.float64)
    spearman, overlap, _ = agreement.compare(sizes, present)
    return spearman[0, 0, 1].item(), overlap[0, 0, 1].item()


def test_two_maps_by_hand() -> None:
    assert compare([4, 3, 2, 1], [9, 8, 7, 6]) == (pytest.approx(1), 1)
    assert compare([4, 3, 2, 1], [1, 2, 3, 4]) == (pytest.approx(-1), 0)
    assert compare([4, 3, 2, 1], [9, 6, 7, 8])[0] == pytest.approx(0.2), "1 - 6 * 8 / (4 * 15)"
    assert compare([4, 3, 2, 1], [9, 9, 1, 1])[1] == 0.5, "either of two is the top one"


def test_a_constant_map_agrees_by_chance() -> None:
    spearman, overlap = compare([4, 3, 2, 1], [0, 0, 0, 0])
    assert math.isnan(spearman)
    assert overlap == 0.25


def test_padding_is_left_out() -> None:
    """Five units, of which two are padding: the top quarter of three is one."""
    present = torch.tensor([[True, True, True, False, False]])
    spearman, overlap = compare([3, 2, 1, 0, 0], [3, 1, 2, 0, 0], present)
    assert spearman == pytest.approx(0.5), "of three units, the last two swapped"
    assert overlap == 1
    _, _, chance = agreement.compare(torch.ones(2, 1, 5).double(), present)
    assert chance.tolist() == [pytest.approx(1 / 3)]


def test_ranks_with_ties_are_those_of_scipy() -> None:
    sizes = toy_worlds.normal(3, 40, 9, seed=1).mul(2).round().abs()
    spearman, _, _ = agreement.compare(sizes, torch.ones(40, 9, dtype=torch.bool))
    for sample in range(40):
        for left in range(3):
            for right in range(3):
                mine = spearman[sample, left, right].item()
                peer = spearmanr(sizes[left, sample], sizes[right, sample]).statistic
                assert mine == pytest.approx(peer, nan_ok=True)


def test_random_maps_agree_by_chance() -> None:
    sizes = toy_worlds.normal(2, 4000, 10, seed=2).abs()
    spearman, overlap, chance = agreement.compare(sizes, torch.ones(4000, 10, dtype=torch.bool))
    assert chance.unique().tolist() == [0.3], "three of ten units"
    for found, expected in ((spearman[:, 0, 1], 0.0), (overlap[:, 0, 1], 0.3)):
        error = found.std().item() / 4000**0.5
        assert found.mean().item() == pytest.approx(expected, abs=4 * error)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """`shap` is `lime` negated, `swap` has the two units exchanged; `old` has no attribution."""
    store = Store(tmp_path)
    score = scored("abpc", [1.0, 2.0, 3.0])
    lime = torch.tensor([[1.0, -2.0], [0.5, 0.0], [0.25, 3.0]])
    found = [
        explanation("lime", score, attribution=lime),
        explanation("shap", score, attribution=-lime),
        explanation("swap", score, attribution=lime.flip(1), category="controls"),
        explanation("old", attribution=None, outcome=Outcome("failed", "no")),
    ]
    for seed in (0, 1):
        add_to_study(store, "s", cell(seed), found)
        inputs = toy_worlds.linear([1.0, 1.0], n=3).inputs
        store.write_inputs(f"cell{seed}", inputs)
    return store


@pytest.mark.slow
def test_the_report_shows_both_matrices(store: Store) -> None:
    report = write(store, "s")
    text = report.markdown.read_text()
    assert "agreement between explainers" in text
    assert "Overlap by chance is 0.500." in text
    assert "| explainer | Spearman<br>lime | Spearman<br>shap | Spearman<br>swap |" in text
    assert "| lime |  | 1 | -1 |" in text
    assert "| lime |  | 1 | 0 |" in text
    assert "figures/agreement-0.png" in text
    table = pd.read_csv(report.markdown.parent / "agreement.csv")
    assert table["other"].tolist() == ["shap", "swap", "swap"]
    assert table["spearman"].tolist() == pytest.approx([1, -1, -1])
    assert table["overlap"].tolist() == [1, 0, 0]
    assert table["n_samples"].tolist() == [6, 6, 6]
    assert contents(store.root / "reports")["s/figures/agreement-0.png"].startswith(b"\x89PNG")


def test_attributions_are_pooled_to_units(tmp_path: Path) -> None:
    """Within a unit the parts differ; their sums agree."""
    store = Store(tmp_path)
    score = scored("abpc", [1.0, 2.0, 3.0])
    left = torch.tensor([[5.0, -4.0, 3.0]]).expand(3, 3)
    right = torch.tensor([[0.5, 0.5, 3.0]]).expand(3, 3)
    one = [explanation("a", score, attribution=left), explanation("b", score, attribution=right)]
    add_to_study(store, "s", cell(), one)
    world = toy_worlds.linear([1.0, 1.0, 1.0], n=3)
    units = torch.tensor([0, 0, 1]).expand(3, 3)
    store.write_inputs("cell0", replace(world.inputs, units=units))
    [block] = blocks(store, "s")
    found = agreement.agreement(store, block)
    assert found is not None
    assert found.spearman[0, 1].item() == pytest.approx(1)


def test_without_stored_inputs_there_is_no_section(tmp_path: Path) -> None:
    store = Store(tmp_path)
    score = scored("abpc", [1.0, 2.0, 3.0])
    add_to_study(store, "s", cell(), [explanation("lime", score), explanation("shap", score)])
    report = written(store, "s")
    assert "agreement between" not in report.markdown.read_text()
    assert not (report.markdown.parent / "agreement.csv").exists()
