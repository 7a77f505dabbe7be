"""Proves that a winner under its own baseline only is flagged in the matrix of baselines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.support.reports import written
from xai_bench.results.report.sections import baselines
from xai_bench.results.report.summary import blocks
from xai_bench.results.store.store import Store

MEANS = {
    "shap": {"mean mean": 0.9, "mean zero": 0.2, "zero mean": 0.3, "zero zero": 0.9},
    "lime": {"mean mean": 0.5, "mean zero": 0.5, "zero mean": 0.5, "zero zero": 0.5},
    "random": {"mean mean": 9.0, "mean zero": 9.0, "zero mean": 9.0, "zero zero": 9.0},
}


def planted(path: Path, means: dict[str, dict[str, float]], *, higher: bool = True) -> Store:
    """`shap` is best where both baselines agree; `random` is a control."""
    store = Store(path)
    for number, place in enumerate(means["shap"]):
        explain, measure = place.split()
        config = {"baseline": {"explain": {"a": explain}, "measure": {"a": measure}}, "seed": 0}
        one = cell(baseline_explain=explain, baseline_measure=measure, config=config)
        sign = 1 if higher else -1
        found = [
            explanation(
                name,
                scored("abpc", [sign * values[place]] * 3, higher_is_better=higher),
                scored("gini", [0.5] * 3, "complexity"),
                category="controls" if name == "random" else "removal",
            )
            for name, values in means.items()
        ]
        add_to_study(store, "s", replace(one, key=f"cell{number}"), found)
    return store


def only(store: Store) -> baselines.Matrix:
    [matrix] = baselines.matrices(blocks(store, "s"))
    return matrix


@pytest.mark.parametrize("higher", [True, False])
def test_a_winner_on_the_diagonal_only_is_flagged(tmp_path: Path, higher: bool) -> None:
    matrix = only(planted(tmp_path, MEANS, higher=higher))
    assert matrix.explain == matrix.measure == ("mean", "zero")
    assert list(matrix.columns) == ["abpc"]
    assert matrix.only_on_diagonal("shap", "abpc")
    assert not matrix.only_on_diagonal("lime", "abpc")
    assert not matrix.only_on_diagonal("random", "abpc")


@pytest.mark.parametrize("place", ["mean zero", "zero mean"])
def test_a_win_off_the_diagonal_removes_the_flag(tmp_path: Path, place: str) -> None:
    means = {**MEANS, "shap": {**MEANS["shap"], place: 0.6}}
    assert not only(planted(tmp_path, means)).only_on_diagonal("shap", "abpc")


def test_the_diagonal_alone_flags_nothing(tmp_path: Path) -> None:
    means = {
        name: {place: v for place, v in values.items() if place in ("mean mean", "zero zero")}
        for name, values in MEANS.items()
    }
    assert not only(planted(tmp_path, means)).only_on_diagonal("shap", "abpc")


@pytest.mark.slow
def test_the_report_shows_the_matrix(tmp_path: Path) -> None:
    """Bold: the best of each column, over all explainers and their baselines; not the control."""
    report = written(planted(tmp_path, MEANS), "s")
    text = report.markdown.read_text()
    part = text[text.index("baselines of explainers and metrics") :]
    assert "| explainer, its baseline | abpc ↑<br>mean | abpc ↑<br>zero |" in part
    assert "| shap, mean | **0.900** [1] | 0.200 |" in part
    assert "| shap, zero | 0.300 | **0.900** [1] |" in part
    assert "| lime, mean | 0.500 | 0.500 |" in part
    assert "| random, mean | 9 | 9 |" in part
    assert "- [1] shap has the best abpc only where both baselines are the same" in part
    assert "baseline\\_explain=zero" in text, "blocks of one report have titles of their own"
    table = pd.read_csv(report.markdown.parent / "baselines.csv")
    assert len(table) == 12
    assert set(table[table["only_on_diagonal"]]["explainer"]) == {"shap"}
    mine = table.query("explainer == 'shap' and baseline_explain == 'mean'")
    assert mine["mean"].tolist() == pytest.approx([0.9, 0.2])


def test_a_missing_cell_is_a_dash(tmp_path: Path) -> None:
    means = {
        n: {p: v for p, v in values.items() if p != "zero mean"} for n, values in MEANS.items()
    }
    text = written(planted(tmp_path, means), "s").markdown.read_text()
    assert "| shap, zero | – | **0.900** [1] |" in text


def test_cells_that_differ_in_more_than_baselines_share_no_matrix(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = explanation("lime", scored("abpc", [1.0, 2.0, 3.0]))
    add_to_study(store, "s", cell(0), [one])
    add_to_study(store, "s", cell(1, data="wine", baseline_measure="zero"), [one])
    assert baselines.matrices(blocks(store, "s")) == []
    report = written(store, "s")
    assert not (report.markdown.parent / "baselines.csv").exists()


def test_baselines_of_one_name_are_labelled_by_their_settings(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = explanation("lime", scored("abpc", [1.0, 2.0, 3.0]))
    for sigma in (2, 4):
        config = {"baseline": {"explain": {}, "measure": {"sigma": sigma}}, "seed": 0}
        add_to_study(store, "s", replace(cell(config=config), key=f"cell{sigma}"), [one])
    assert only(store).measure == ("marginal (sigma=2)", "marginal (sigma=4)")
