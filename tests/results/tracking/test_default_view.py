"""The view in which MLflow opens a study: a few charts, of every question one, and all in a tag."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.results.tracking.test_mlflow import PLAIN
from xai_bench.results.store.store import Store
from xai_bench.results.tracking import default_view, server

NAMES = [
    "fidelity/abpc", "fidelity/deletion", "truth/auroc", "cost/seconds", "cost/forward_rows",
    "stability/max_sensitivity", "complexity/gini", "complexity/entropy",
    "fidelity/comprehensiveness", "randomisation/mprt_top_down", "distribution/ood_knn_ratio",
]  # fmt: skip


def unpacked(content: str) -> dict[str, Any]:
    """As MLflow's page reads it."""
    assert content.startswith("deflate;")
    return dict(json.loads(zlib.decompress(base64.b64decode(content[8:]))))


def test_every_question_has_a_chart_before_one_has_two() -> None:
    shown = default_view.charted(NAMES)
    assert len(shown) == default_view.N_CHARTS
    assert shown[0] == "fidelity/abpc"
    assert {name.partition("/")[0] for name in shown} >= {
        "fidelity",
        "stability",
        "complexity",
        "cost",
    }
    assert default_view.charted(NAMES[::-1]) == shown
    assert "distribution/ood_knn_ratio" not in shown, "it answers no question about an explainer"


def test_metrics_without_a_chart_are_deleted_so_that_the_page_makes_none() -> None:
    view = unpacked(default_view.state(dict.fromkeys(NAMES, "↑")))
    charts = view["compareRunCharts"]
    assert sorted(chart["metricKey"] for chart in charts) == sorted(NAMES)
    assert sum(not chart["deleted"] for chart in charts) == default_view.N_CHARTS
    assert charts[0]["displayName"] == "abpc ↑"
    [section] = view["compareRunSections"]
    assert {chart["metricSectionId"] for chart in charts} == {section["uuid"]}


def test_all_groups_are_closed_and_those_of_trainings_which_have_no_explainer_too() -> None:
    """The page writes `null` where a run lacks what it is grouped by."""
    groups = [default_view.Group(name, data) for name in ("lime", "sage") for data in ("a", "b")]
    closed = unpacked(default_view.state({"fidelity/abpc": "↑"}, groups))["groupsExpanded"]
    assert not any(closed.values())
    assert {group.id for group in groups} < set(closed)
    assert closed.keys() - {group.id for group in groups} == {
        "param.explainer,param.data",  # of the report, which has neither
        "param.explainer.null,param.data.a",
        "param.explainer.null,param.data.b",
    }


def test_a_hundred_metrics_fit_into_a_tag() -> None:
    arrows = {f"fidelity/metric_number_{i}": "↓" for i in range(120)}
    groups = {
        default_view.Group(f"explainer_{i}", f"data_{k}") for i in range(12) for k in range(6)
    }
    content = default_view.state(arrows, groups)
    assert len(content) < 5000
    assert default_view.read(content) == (arrows, groups)


@pytest.mark.parametrize("content", [None, "", "text", "deflate;text", "deflate;" + "e30="])
def test_a_view_that_is_not_ours_is_made_anew(content: str | None) -> None:
    assert default_view.read(content) == ({}, set())


@pytest.mark.slow
def test_each_cell_adds_its_metrics(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for key, metric in {"a": "abpc", "b": "deletion"}.items():
        seed = 0 if key == "a" else 1
        add_to_study(
            store,
            "s",
            cell(key=key, seed=seed),
            [explanation("lime", scored(metric, [1.0, 2.0, 3.0]))],
        )
        PLAIN.record(store, "s", key)
    client = PLAIN._client(tmp_path)
    tags = client.get_experiment_by_name("s").tags
    arrows, groups = default_view.read(tags[default_view.TAG])
    assert set(arrows) == {"fidelity/abpc", "fidelity/deletion"}
    assert [group.id for group in groups] == ["param.explainer.lime,param.data.digits"]
    experiment = client.get_experiment_by_name("s").experiment_id
    assert PLAIN.experiment(tmp_path, "s") == experiment
    assert server.experiments(tmp_path) == {"s": experiment}
    # As a study looks that an earlier version wrote.
    client.delete_experiment_tag(experiment, default_view.TAG)
    assert server.experiments(tmp_path) == {}
    assert PLAIN.experiment(tmp_path, "s") == experiment
    again = client.get_experiment_by_name("s").tags[default_view.TAG]
    assert default_view.read(again) == (arrows, groups)
    assert server.experiments(tmp_path) == {"s": experiment}
    client.delete_experiment(experiment)
    assert server.experiments(tmp_path) == {}, "MLflow has to be asked, which says what to do"
