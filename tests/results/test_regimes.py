"""Proves that regimes follow from the settings, are stored, and are shown in reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.support import command_line
from tests.support.reports import written
from xai_bench.results import regimes
from xai_bench.results.report.regimes import sentence
from xai_bench.results.report.summary import blocks
from xai_bench.results.settings import natural
from xai_bench.results.store.store import Store
from xai_bench.results.tracking.runs import explanation_run
from xai_bench.runner.cells.plan import Plan
from xai_bench.runner.config.catalogue import conf_dir

SHIPPED = {"_target_": "a.B", "budget": 512, "width": 0.25, "baseline": {"value": 0}}


def composed(*overrides: str) -> Plan:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg: DictConfig = compose("config", [*overrides, "metric=entropy"])
    return Plan.of(cfg, names={})


@pytest.mark.parametrize(
    ("changes", "equal", "expected"),
    [
        ({}, False, "paper defaults"),
        ({"budget": 100}, False, "budget 100 rows"),
        ({"budget": 100}, True, "budget 100 rows"),
        ({}, True, "budget 512 rows"),
        ({"width": 0.5}, False, "width=0.5"),
        ({"width": 0.5, "budget": 9}, True, "budget 9 rows, width=0.5"),
        ({"baseline": {"value": 1}}, False, "baseline.value=1"),
        ({"extra": True}, False, "extra=True"),
    ],
)
def test_a_regime_names_the_settings_that_differ_from_the_shipped_ones(
    changes: dict[str, Any], equal: bool, expected: str
) -> None:
    assert regimes.describe({**SHIPPED, **changes}, SHIPPED, equal=equal) == expected


def test_a_missing_setting_and_an_explainer_without_yaml_are_named() -> None:
    less = {key: value for key, value in SHIPPED.items() if key != "width"}
    assert regimes.describe(less, SHIPPED) == "width=left out"
    assert regimes.describe(SHIPPED, {}) == "own settings"


@pytest.mark.slow
def test_an_equal_budget_changes_the_address_of_explainers_with_a_budget_only() -> None:
    explainers = "explainer=[kernel_shap,saliency]"
    equal = {c.name: c for c in composed(explainers, "budget=100").explainers()}
    own = composed(explainers, "explainer.kernel_shap.budget=100").explainers()
    shipped = {c.name: c for c in composed(explainers).explainers()}
    assert [c.key for c in own] == [c.key for c in equal.values()]
    assert equal["kernel_shap"].explainer.budget == 100
    assert equal["kernel_shap"].key != shipped["kernel_shap"].key
    assert equal["saliency"].key == shipped["saliency"].key
    assert {n: c.regime for n, c in equal.items()} == {
        "kernel_shap": "budget 100 rows",
        "saliency": "paper defaults",
    }
    assert {c.regime for c in shipped.values()} == {"paper defaults"}


@pytest.mark.slow
def test_regimes_are_no_part_of_a_cells_identity() -> None:
    one, two = composed("budget=100"), composed("tune=true", "tuning.n_trials=3")
    assert one.identity == two.identity == composed("anytime=[1,2]").identity


def test_several_budgets_make_several_configured_explainers() -> None:
    found = composed("explainer=[kernel_shap,random]", "anytime=[64,128]").explainers()
    assert [(c.name, c.regime) for c in found] == [
        ("kernel_shap", "budget 64 rows"),
        ("kernel_shap", "budget 128 rows"),
        ("random", "paper defaults"),
    ]


def at(budget: int, *values: float, **changes: Any) -> Any:
    plain = explanation(
        "lime",
        scored("abpc", list(values)),
        key=f"lime-{budget}",
        config={"_target_": "a.B", "budget": budget},
        regime=f"budget {budget} rows",
    )
    return replace(plain, **changes)


def test_a_study_keeps_one_explanation_per_regime(tmp_path: Path) -> None:
    store = Store(tmp_path)
    add_to_study(store, "s", cell(), [at(10, 1, 2, 3)])
    add_to_study(store, "s", cell(), [at(100, 2, 3, 4), at(9, 1, 1, 1, regime="paper defaults")])
    add_to_study(store, "s", cell(), [at(100, 2, 3, 4, regime="paper defaults")])
    found = {one.key: one.regime for one in store.explanations("s", "cell0")}
    assert found == {"lime-10": "budget 10 rows", "lime-100": "budget 100 rows; paper defaults"}


def test_manifests_of_version_0_1_are_read_and_extended(tmp_path: Path) -> None:
    store = Store(tmp_path)
    add_to_study(store, "s", cell(), [at(10, 1, 2, 3)])
    path = tmp_path / "studies" / "s" / "cell0.json"
    fields = {**json.loads(path.read_text()), "explanations": {"lime": "lime-10"}}
    del fields["tuning"]
    path.write_text(json.dumps(fields))
    (path.parent / "SHA256SUMS").unlink()  # which came later
    assert [one.key for one in store.explanations("s", "cell0")] == ["lime-10"]
    add_to_study(store, "s", cell(), [at(10, 1, 2, 3)])
    assert store.study_manifest("s", "cell0").explanations == {
        "lime": {"budget 10 rows": "lime-10"}
    }


def test_the_report_names_the_regimes_in_caption_and_csv(tmp_path: Path) -> None:
    store = Store(tmp_path)
    saliency = explanation("saliency", scored("abpc", [0.0, 1.0, 2.0]), regime="paper defaults")
    random = explanation("random", scored("abpc", [0.0] * 3), category="controls", regime="x")
    listed = [at(b, 1, 2, 3) for b in (1000, 9, 100)]
    add_to_study(store, "s", cell(), [*listed, saliency, random])
    [block] = blocks(store, "s")
    assert block.explainers == (
        "lime (budget=9)", "lime (budget=100)", "lime (budget=1000)", "saliency", "random",
    )  # fmt: skip
    report = written(store, "s")
    expected = "Settings: budget 9, 100 and 1000 rows (lime); paper defaults (saliency)."
    assert expected in report.markdown.read_text()
    assert expected in (report.folder / "tables/main.html").read_text()
    table = pd.read_csv(report.markdown.parent / "report.csv")
    assert dict(zip(table["explainer"], table["regime"], strict=True))["lime (budget=9)"] == (
        "budget 9 rows"
    )
    assert set(store.frame("s")["regime"]) == {*table["regime"]}


@pytest.mark.parametrize(
    ("of_each", "expected"),
    [
        ({"a": ["paper defaults"], "b": ["paper defaults"]}, "Settings: paper defaults."),
        ({"a": [""], "b": []}, ""),
        ({"a": ["budget 9 rows"], "b": ["budget 9 rows"]}, "Settings: budget 9 rows."),
        (
            {"lime": ["width=0.5"], **{name: ["paper defaults"] for name in "abcde"}},
            "Settings: width=0.5 (lime); paper defaults (all others).",
        ),
    ],
)
def test_the_caption_names_each_regime_once(of_each: dict[str, list[str]], expected: str) -> None:
    assert sentence(of_each) == expected


def test_names_are_sorted_by_their_numbers() -> None:
    names = ["a (b=1000)", "a (b=32)", "a", "b", "a (b=9)"]
    assert sorted(names, key=natural) == ["a", "a (b=9)", "a (b=32)", "a (b=1000)", "b"]


def test_mlflow_shows_the_regime() -> None:
    run = explanation_run(cell(), at(100, 1, 2, 3))
    assert run.name == "lime@100-digits-cnn-s0"
    assert run.tags["regime"] == "budget 100 rows"
    assert run.params["explainer.budget"] == "100"
    plain = explanation_run(cell(), at(100, 1, 2, 3, regime="paper defaults"))
    assert plain.name == "lime-digits-cnn-s0"


def ran(folder: Path, *overrides: str) -> str:
    base = ["run", "recorder=none", "data=digits", "study=s", "report.figures=[]"]
    small = ["model=linear", "evaluation.n_samples=6", "metric=[abpc,forward_rows]"]
    return command_line.succeed(folder, *base, *small, *overrides)


@pytest.mark.exhaustive
def test_a_sweep_of_budgets_is_one_table_and_recomputes_nothing(tmp_path: Path) -> None:
    chosen = "explainer=[kernel_shap,saliency,random]"
    output = ran(tmp_path, "-m", chosen, "budget=1,50,100", "n_jobs=1")
    assert "a budget of 1 " in output
    assert output.count("already in the store") == 4
    assert ran(tmp_path, chosen, "explainer.kernel_shap.budget=50").count("already in") == 3
    table = pd.read_csv(tmp_path / "results/reports/s/report.csv")
    rows = table[table.metric == "forward_rows"].set_index("explainer")
    assert rows.loc["kernel_shap (budget=1)", "status"] == "skipped"
    assert "too small" in rows.loc["kernel_shap (budget=1)", "reasons"]
    assert rows.loc["kernel_shap (budget=50)", "mean"] == 50
    assert rows.loc["kernel_shap (budget=100)", "mean"] == 100
    assert len(rows) == 5
