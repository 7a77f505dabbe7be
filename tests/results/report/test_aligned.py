"""Scores stand in the column of their own test row, whichever samples other explainers have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.results.test_store import add_to_study, cell, explanation, scored
from xai_bench.results.report.aligned import AlignedCell, joined
from xai_bench.results.report.page import samples
from xai_bench.results.report.summary import blocks
from xai_bench.results.store.store import Store
from xai_bench.results.values import Outcome

NAN = np.nan
KEY = ("abpc", "abpc-v1")


@pytest.fixture
def aligned() -> AlignedCell:
    """`few` has rows 5 and 2 alone, in this order, and `all` has 2, 3 and 5."""
    few = explanation("few", scored("abpc", [50.0, 20.0]), index=torch.tensor([5, 2]))
    every = explanation("all", scored("abpc", [2.0, 3.0, 5.0]), index=torch.tensor([2, 3, 5]))
    return AlignedCell.of(cell(seed=7), [few, every])


def test_a_score_stands_in_the_column_of_its_row(aligned: AlignedCell) -> None:
    found = aligned.scores(["all", "few", "absent"], *KEY)
    np.testing.assert_array_equal(found.scores, [[2, 3, 5], [20, NAN, 50], [NAN, NAN, NAN]])
    assert found.rows.tolist() == [2, 3, 5]
    assert found.seeds.tolist() == [7, 7, 7]
    assert found.keys == ["all-key", "few-key", ""]
    assert [one and one.status for one in found.outcomes] == ["ok", "ok", None]


def test_another_setting_of_a_metric_is_not_its_score(aligned: AlignedCell) -> None:
    found = aligned.scores(["all"], "abpc", "abpc-v2")
    assert np.isnan(found.scores).all()
    assert found.outcomes == [None]


def test_who_failed_says_so_where_a_metric_has_no_outcome() -> None:
    failed = Outcome("failed", "it broke")
    result = explanation("all", attribution=None, outcome=failed)
    found = AlignedCell.of(cell(), [result]).scores(["all"], *KEY)
    assert found.outcomes == [failed]


def test_cells_are_joined_row_by_row(aligned: AlignedCell) -> None:
    other = AlignedCell.of(cell(seed=8), [explanation("all", scored("abpc", [7.0, 8.0, 9.0]))])
    scores, seeds, rows = joined([each.scores(["all"], *KEY) for each in (aligned, other)])
    assert scores.tolist() == [[2, 3, 5, 7, 8, 9]]
    assert seeds.tolist() == [7, 7, 7, 8, 8, 8]
    assert rows.tolist() == [2, 3, 5, 0, 1, 2]


def test_the_page_shows_the_samples_of_the_first_seed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(2):
        values = [seed + 0.25, seed + 0.5, seed + 0.75]
        results = [explanation(name, scored("abpc", values)) for name in ("lime", "shap")]
        one = replace(cell(seed), model_scores={"accuracy": 0.5})
        add_to_study(store, "s", one, results)
    [block] = blocks(store, "s")
    assert [one.seed for one in block.cells] == [0, 1]
    shown = samples._block(block)["metrics"][0]["scores"]
    assert shown == {"lime": [0.25, 0.5, 0.75], "shap": [0.25, 0.5, 0.75]}
