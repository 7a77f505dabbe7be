"""`compare A B` and `recommend`, on frames made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.random import PCG64, Generator

from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.support import command_line
from xai_bench.results.statistics import changes, recommend
from xai_bench.results.store.store import Store

BASE = Generator(PCG64(0)).normal(size=(3, 40))


def frame(
    values: np.ndarray, explainer: str = "lime", metric: str = "abpc", **fields: object
) -> pd.DataFrame:
    """`[S, R]` scores as `load` gives them."""
    seeds, rows = np.indices(values.shape)
    plain = {
        "data": "digits", "model": "cnn", "view": "inputs", "target": "logit",
        "baseline_explain": "mean", "baseline_measure": "mean", "explainer": explainer,
        "family": "surrogate", "regime": "", "metric": metric, "category": "fidelity",
        "higher_is_better": True, "reproducible": True, "seed": seeds.ravel(),
        "sample": rows.ravel(), "score": values.ravel(), "cell": "c", "explanation": explainer,
    }  # fmt: skip
    return pd.DataFrame({**plain, **fields})


def test_nothing_moved_between_a_study_and_itself() -> None:
    found = changes.compare(frame(BASE), frame(BASE))
    assert [c.verdict for c in found.changes] == ["equivalent"]
    assert not found.regressed


@pytest.mark.parametrize(("higher", "verdict"), [(True, "worse"), (False, "better")])
def test_a_drop_is_worse_where_high_is_good(higher: bool, verdict: str) -> None:
    noise = 0.1 * Generator(PCG64(1)).normal(size=BASE.shape)
    before = frame(BASE, higher_is_better=higher)
    found = changes.compare(before, frame(BASE - 0.5 + noise, higher_is_better=higher))
    assert [c.verdict for c in found.changes] == [verdict]
    assert found.regressed == (verdict == "worse")
    assert changes.lines(found)[0].startswith(verdict)


def test_samples_are_paired_where_both_are_scored() -> None:
    """The hard half goes unscored: the mean rises, and nothing got better."""
    holed = np.where(np.median(BASE) > BASE, np.nan, BASE)
    [change] = changes.compare(frame(BASE), frame(holed)).changes
    assert (change.verdict, change.difference) == ("equivalent", 0)
    assert (change.n_before, change.n_after, change.n_pairs) == (120, 60, 60)


def test_scores_that_are_lost_are_a_regression() -> None:
    found = changes.compare(frame(BASE), frame(BASE * np.nan))
    assert found.regressed
    assert "no sample is scored any more (120 were)" in changes.lines(found)[0]


def test_clocks_and_lone_fields_are_left_out() -> None:
    clock = frame(BASE, metric="seconds", reproducible=False)
    found = changes.compare(
        pd.concat([frame(BASE), clock]), pd.concat([frame(BASE), clock, frame(BASE, "ig")])
    )
    assert (len(found.changes), found.only_before, found.only_after) == (1, 0, 1)


@pytest.mark.exhaustive
def test_a_change_by_chance_is_rare_among_many() -> None:
    """50 worlds of 20 fields without a change: a verdict in at most one in ten."""
    rng = Generator(PCG64(3))

    def study() -> pd.DataFrame:
        worlds = rng.normal(size=(20, 3, 16))
        return pd.concat([frame(w, metric=f"m{i}") for i, w in enumerate(worlds)])

    found = [changes.compare(study(), study()) for _ in range(50)]
    assert sum(one.regressed or bool(one.of("better")) for one in found) <= 5


def planted(means: Callable[[int], dict[str, float]], n: int, n_rows: int = 20) -> pd.DataFrame:
    """`n` data sets of other units each."""
    rng = Generator(PCG64(5))
    return pd.concat([
        frame((m + 0.1 * rng.normal(size=(1, n_rows))) * 10**d, name, data=f"d{d}")
        for d in range(n) for name, m in means(d).items()
    ])  # fmt: skip


def test_a_planted_winner_is_recommended() -> None:
    found = recommend.recommend(planted(lambda d: {"ig": 1.0, "lime": 0.0}, 6), "faithful")
    assert (found.method, found.rival, found.sure, found.held_out) == ("ig", "lime", True, (6, 6))
    assert found.sentence().startswith("ig: 1 ranks ahead of lime")


def test_a_planted_tie_is_left_open() -> None:
    found = recommend.recommend(planted(lambda d: {"ig": d % 2, "lime": 0.5}, 6), "faithful")
    assert not found.sure
    assert found.sentence().startswith("no recommendation: ")


def test_one_data_set_says_nothing_of_others() -> None:
    found = recommend.recommend(planted(lambda d: {"ig": 1.0, "lime": 0.0}, 1), "faithful")
    assert "one data set says nothing of others" in found.sentence()


def test_the_data_set_asked_about_is_held_out() -> None:
    scores = planted(lambda d: {"ig": 1.0, "lime": 0.0} if d else {"ig": 0.0, "lime": 9.0}, 5)
    assert recommend.recommend(scores, "faithful", data="d0").held_out == (4, 4)
    assert recommend.recommend(scores, "faithful").held_out[1] == 5


def test_a_budget_leaves_out_what_is_too_dear() -> None:
    scores = planted(lambda d: {"ig": 1.0, "lime": 0.0, "rise": 0.5}, 4)
    rows = pd.concat([
        frame(np.full((1, 20), n), name, "forward_rows", category="cost")
        for name, n in (("ig", 500.0), ("lime", 10.0))
    ])  # fmt: skip
    found = recommend.recommend(pd.concat([scores, rows]), "faithful", budget=100)
    assert found.too_dear == ("ig", "rise")
    assert found.sentence().endswith("lime is the only method scored on this question")


def test_controls_are_never_recommended_and_questions_are_known() -> None:
    scores = planted(lambda d: {"oracle": 1.0}, 3).assign(family="controls")
    assert recommend.recommend(scores, "faithful").method == ""
    with pytest.raises(ValueError, match="no question 'nice'; there are faithful"):
        recommend.recommend(scores, "nice")


def test_studies_without_a_common_score_are_no_success(tmp_path: Path) -> None:
    """Else a check for regressions would pass that compared nothing."""
    store = Store(tmp_path / "results")
    for place, data in enumerate(["iris", "wine"]):
        results = [explanation("lime", scored("abpc", [1.0, 2.0, 3.0]))]
        add_to_study(store, data, cell(key=data, seed=place, data=data), results)
    disjoint = command_line.run(tmp_path, "compare", "iris", "wine")
    assert disjoint.code == 2
    assert "iris and wine have no score in common" in disjoint.text
    assert command_line.run(tmp_path, "compare", "iris", "iris").code == 0
