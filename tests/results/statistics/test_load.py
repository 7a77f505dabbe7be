"""`xai_bench.load`: the schema, and what missing results look like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import xai_bench
from tests.results.test_store import add_to_study, cell, explanation, scored
from xai_bench.results import Outcome
from xai_bench.results.statistics.load import ATTRIBUTIONS, SCORES, Results
from xai_bench.results.store.store import Store
from xai_bench.types import Domain, Inputs

NAN = float("nan")
FAIL = Outcome("failed", "ValueError: no")


@pytest.fixture
def found(tmp_path: Path) -> Results:
    store = Store(tmp_path)
    scores = [scored("abpc", [1.0, NAN, 3.0]), scored("road", [], outcome=FAIL)]
    for seed in (0, 1):
        add_to_study(store, "s", cell(seed), [explanation("lime", *scores)])
    units = torch.tensor([[0, 0], [0, 1], [0, -1]])
    domain = Domain(torch.zeros(1, 2), torch.ones(2))
    inputs = Inputs(torch.zeros(3, 2), units, torch.arange(3), domain)
    store.write_inputs(cell(0).key, inputs, ["age", "sex"])
    return xai_bench.load(tmp_path)


def test_the_columns_are_those_of_the_schema(found: Results) -> None:
    assert list(found.scores) == list(SCORES)
    assert list(found.attributions) == list(ATTRIBUTIONS)


def test_there_is_a_row_per_sample_scored_or_not(found: Results) -> None:
    frame = found.scores
    assert len(frame) == 2 * 2 * 3
    one = frame[(frame["seed"] == 0) & (frame["metric"] == "abpc")]
    assert one["sample"].tolist() == [0, 1, 2]
    assert one["score"].fillna(-1).tolist() == [1, -1, 3]
    failed = frame[frame["metric"] == "road"]
    assert failed["score"].isna().all()
    assert set(failed["reason"]) == {"ValueError: no"}


def test_attributions_are_summed_by_unit_without_padding(found: Results) -> None:
    frame = found.attributions
    stored = found.store.read(cell(0).key, explanation("lime").key, {})
    assert stored is not None
    assert stored.explanation is not None
    a = stored.explanation.attribution.tolist()
    expected = [a[0][0] + a[0][1], a[1][0], a[1][1], a[2][0]]
    assert frame["attribution"].tolist() == pytest.approx(expected)
    assert frame["unit_name"].tolist() == ["age", "age", "sex", "age"]
    assert frame["sample"].tolist() == [0, 1, 1, 2]


def test_no_folder_and_no_study_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no folder of results"):
        xai_bench.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="there is no study 'x'"):
        xai_bench.load(tmp_path, "x")


def test_an_empty_folder_has_the_same_columns(tmp_path: Path) -> None:
    assert list(xai_bench.load(tmp_path).scores) == list(SCORES)


def test_regimes_of_one_explainer_stay_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    both = [
        replace(explanation("lime", scored("abpc", [1.0, 2.0, 3.0]), key=f"k{b}"), regime=f"b {b}")
        for b in (10, 20)
    ]
    add_to_study(store, "s", cell(), both)
    assert set(xai_bench.load(tmp_path).scores["regime"]) == {"b 10", "b 20"}
