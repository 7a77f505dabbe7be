"""Report cards of metrics whose worth is planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.random import PCG64, Generator

from tests.results.statistics.test_changes import frame
from xai_bench.results.statistics import report_card

TRUTH = {
    "oracle": 1.0, "degraded_oracle": 0.7, "ig": 0.8, "lime": 0.5, "saliency": 0.3,
    "random": 0.0, "constant": 0.0, "games_gini": 0.0,
}  # fmt: skip
CONTROLS = ("oracle", "degraded_oracle", "random", "constant", "games_gini")


def study(**metrics: dict[str, float]) -> pd.DataFrame:
    rng = Generator(PCG64(0))
    parts = [
        frame(
            value + 0.01 * rng.normal(size=(2, 20)), name, metric, data=data,
            family="controls" if name in CONTROLS else "gradient", category="fidelity",
        )
        for metric, values in metrics.items()
        for name, value in values.items()
        for data in ("a", "b")
    ]  # fmt: skip
    return pd.concat(parts)


def card(name: str, **values: dict[str, float]) -> report_card.Card:
    found = report_card.cards(study(cosine_to_shapley=TRUTH, **values))
    return next(one for one in found if one.metric == name)


def test_a_metric_that_is_the_truth_is_an_a() -> None:
    found = card("cosine_to_shapley")
    assert (found.grade, found.ordered, found.truth, found.gamed_by) == ("A", 1, 1, ())
    assert found.power == pytest.approx(1)
    assert (found.n_fields, found.n_unscored) == (2, 0)


def test_a_metric_upside_down_is_a_d() -> None:
    found = card("upside", upside={name: -value for name, value in TRUTH.items()})
    assert found.grade.startswith("D")
    assert found.truth == pytest.approx(-1, abs=0.05)


def test_a_metric_that_a_blind_map_maxes_is_gameable() -> None:
    found = card("gini", gini={**TRUTH, "games_gini": 1.2})
    assert found.gamed_by == ("games_gini",)
    assert found.grade.endswith("gameable")


def test_a_blind_map_that_has_the_truth_games_nothing() -> None:
    values = {**TRUTH, "constant": 1.0}
    found = report_card.cards(study(cosine_to_shapley=values, abpc=values))
    assert [one.gamed_by for one in found] == [(), ()]


def test_metrics_that_agree_are_one_cluster() -> None:
    found = report_card.cards(
        study(cosine_to_shapley=TRUTH, abpc=TRUTH, upside={n: -v for n, v in TRUTH.items()})
    )
    number = {one.metric: one.cluster for one in found}
    assert number["abpc"] == number["cosine_to_shapley"] != number["upside"]


def test_a_metric_without_scores_of_the_controls_is_ungraded() -> None:
    found = card("blank", blank={**TRUTH, "oracle": np.nan})
    assert (found.grade, found.n_fields, found.n_unscored) == ("ungraded", 0, 2)


def test_the_controls_must_be_there() -> None:
    with pytest.raises(ValueError, match="the study lacks oracle, degraded_oracle, random"):
        report_card.cards(frame(np.zeros((1, 3))))
