"""Proves that tuning uses other samples, equal trials and a cache, and is reported."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import torch
from torch import Tensor

from tests.evaluation.test_loop import Broken, Noisy, context
from tests.results.test_regimes import ran
from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.support.components import component, options
from tests.support.reports import written
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.results.report.summary import blocks
from xai_bench.results.store.store import Store
from xai_bench.results.tracking.runs import explanation_run
from xai_bench.runner.cells import provenance
from xai_bench.runner.cells.tuning import (
    Trial,
    TuningJob,
    best_of,
    search,
    spaces,
    tune_all,
    validation,
)
from xai_bench.types import Case, Choice, Explanation, Inputs, Range, Unsupported

REGIME = "tuned on 5 validation samples, 6 trials each, by near"


@dataclass(frozen=True)
class Scaled(Noisy):
    """`factor` times the input; three is best by `Near`."""

    search: ClassVar[Mapping[str, Range]] = {"factor": Range(0, 10), "budget": Range(1, 9)}
    factor: float = 1.0
    budget: int = 4

    def explain(self, model: Any, inputs: Inputs, targets: Tensor, *, rng: Any) -> Explanation:
        return Explanation(self.factor * torch.ones_like(inputs.x))


@dataclass(frozen=True)
class Near:
    """How close to three; above four it scores fewer samples, all of them as perfect."""

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True

    def score(self, case: Case) -> Tensor:
        found = case.attribution[:, 0]
        perfect = torch.where(case.inputs.index == 0, 0.0, torch.nan).double()
        return torch.where(found > 4, perfect, -((found - 3) ** 2))


KINDS = {"scaled": Scaled, "noisy": Noisy, "broken": Broken}


class Maker:
    """Makes configured explainers and records their configurations."""

    def __init__(self) -> None:
        self.configs: list[dict[str, Any]] = []

    def __call__(self, name: str, config: Mapping[str, Any]) -> ConfiguredExplainer:
        self.configs.append(dict(config))
        key = provenance.digest({"name": name, **config})
        return ConfiguredExplainer(name, KINDS[name](**config), key, config, "paper defaults")


def tuning_job(folder: Path, make: Maker, **changes: Any) -> TuningJob:
    plain = TuningJob(
        cell="cell",
        metric=ConfiguredMetric("near", Near(), "near-key"),
        n_trials=6,
        n_samples=5,
        context=context,
        make=make,
        folder=folder,
        on_trial=lambda name, number, best: None,
    )
    return replace(plain, **changes)


SHIPPED = {"factor": 1.0, "budget": 4}


def shipped(**changes: Any) -> ConfiguredExplainer:
    return Maker()("scaled", {**SHIPPED, **changes})


def test_the_best_trial_wins_and_all_trials_are_recorded(tmp_path: Path) -> None:
    make = Maker()
    [found] = tuning_job(tmp_path, make).tune([shipped()])
    assert found.regime == REGIME
    assert found.tuning is not None
    trials = found.tuning["trials"]
    assert len(trials) == found.tuning["n_trials"] == 6
    assert trials[0] == {"settings": {"factor": 1.0}, "score": -4, "n_scored": 5, "reason": ""}
    best = max(t["score"] for t in trials if t["n_scored"] == 5)
    assert found.tuning["score"] == best == pytest.approx(-((found.config["factor"] - 3) ** 2))
    assert found.tuning["shipped_score"] == -4
    assert found.explainer.factor == found.config["factor"] <= 4
    assert {config["budget"] for config in make.configs} == {4}, "a budget is never tuned"


def test_tuning_results_are_cached_by_content_address(tmp_path: Path) -> None:
    [first] = tuning_job(tmp_path, Maker()).tune([shipped()])
    again = Maker()
    known = tuning_job(tmp_path, again, context=lambda: pytest.fail("no model is needed"))
    [second] = known.tune([shipped()])
    assert (second.key, second.tuning) == (first.key, first.tuning)
    assert len(again.configs) == 1
    for changes in ({"n_trials": 3}, {"n_samples": 4}, {"cell": "other"}):
        tuning_job(tmp_path, Maker(), **changes).tune([shipped()])
    tuning_job(tmp_path, Maker()).tune([shipped(factor=2.0)])
    assert len(list(tmp_path.glob("*.json"))) == 5


def test_all_budgets_share_the_settings_tuned_at_the_largest(tmp_path: Path) -> None:
    some = [replace(shipped(budget=b), regime=f"budget {b} rows") for b in (2, 8)]
    low, high = tuning_job(tmp_path, Maker()).tune(some)
    assert (low.config["budget"], high.config["budget"]) == (2, 8)
    assert low.config["factor"] == high.config["factor"]
    assert low.tuning == high.tuning
    assert high.tuning is not None
    assert high.tuning["budget"] == 8
    assert low.regime == f"budget 2 rows, {REGIME}"


class RecordedProgress:
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def expect(self, total: int) -> None:
        self.calls.append(("expect", total))

    def tuned(self, name: str, found: Mapping[str, Any]) -> None:
        self.calls.append(("tuned", name))

    def untuned(self, name: str, reason: str) -> None:
        self.calls.append(("untuned", name, reason))


def test_an_explainer_without_a_search_space_is_left_untuned_with_a_reason(tmp_path: Path) -> None:
    noisy, progress = Maker()("noisy", {"calls": 1}), RecordedProgress()
    other = replace(noisy, name="again")
    found = tune_all([[noisy], [shipped()], [other]], tuning_job(tmp_path, Maker()), progress)
    assert found[0] is noisy
    assert found[1].regime == REGIME
    assert progress.calls == [
        ("expect", 6),
        ("tuned", "scaled"),
        ("untuned", "noisy, again", "no settings to tune"),
    ]


def test_an_explainer_that_fails_as_shipped_is_not_tuned(tmp_path: Path) -> None:
    class Searchable(Broken):
        search = {"calls": Range(1, 9, whole=True)}  # noqa: RUF012

    explainer = ConfiguredExplainer("broken", Searchable(), "k", {"calls": 3})
    made = tuning_job(tmp_path, Maker())
    with pytest.raises(Unsupported, match="as shipped it has no near: RuntimeError: this is why"):
        made.tune([explainer])
    assert list(tmp_path.iterdir()) == []


def settings_tried(space: Any, start: Any, n: int = 20, seed: int = 0) -> list[dict[str, Any]]:
    """The settings that are tried for the parabola around 3."""
    found: list[dict[str, Any]] = []

    def score(settings: Mapping[str, Any]) -> float:
        found.append(dict(settings))
        return (float(settings["a"]) - 3) ** 2

    search(space, start, score, n_trials=n, higher=False, seed=seed)
    return found


def test_the_shipped_settings_are_tried_first_and_the_search_is_reproducible() -> None:
    space = {"a": Range(0, 10)}
    found = settings_tried(space, {"a": 9.5})
    assert found[0] == {"a": 9.5}
    assert len(found) == 20
    assert min(abs(one["a"] - 3) for one in found) < 0.5
    assert found == settings_tried(space, {"a": 9.5})
    assert found != settings_tried(space, {"a": 9.5}, seed=1)


def test_integers_choices_log_scales_and_shipped_settings_outside_the_range() -> None:
    whole = settings_tried({"a": Range(1, 8, whole=True)}, {"a": 12})
    assert whole[0] == {"a": 12}
    assert all(type(one["a"]) is int and 1 <= one["a"] <= 12 for one in whole)
    chosen = settings_tried({"a": Choice((1, 2, 3))}, {"a": 2})
    assert chosen[0] == {"a": 2}
    assert {one["a"] for one in chosen} <= {1, 2, 3}
    logs = settings_tried({"a": Range(1e-4, 100.0, log=True)}, {"a": 1.0}, n=30)
    assert sum(one["a"] < 0.1 for one in logs) > 3


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(1.0, 5), (2.0, 5), (2.0, 5)], 1),
        ([(1.0, 5), (9.0, 4), (0.0, 5)], 0),
        ([(1.0, 5), (None, 0)], 0),
    ],
)
def test_a_trial_that_leaves_samples_unscored_never_wins(
    scores: list[tuple[float | None, int]], best: int
) -> None:
    assert best_of([Trial({}, value, n) for value, n in scores], True) == best


def test_without_optuna_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(Unsupported, match=r"pip install 'xai-bench\[tune\]'"):
        settings_tried({"a": Range(0, 1)}, {"a": 0.5})


class ModelVariants:
    def split(self, name: str) -> tuple[Inputs, Tensor, Tensor]:
        assert name == "valid"
        shared = context(n=9)
        return shared.inputs.with_x(shared.inputs.x + 100), shared.targets, torch.arange(9)


def test_trials_use_the_first_validation_rows_and_other_random_draws() -> None:
    shared: EvaluationContext = context(variants=ModelVariants())
    found = validation(shared, 4)
    assert (found.inputs.x > 50).all()
    assert found.inputs.index.tolist() == found.labels.tolist() == [0, 1, 2, 3]
    assert found.seeds != shared.seeds
    with pytest.raises(Unsupported, match="validation part"):
        validation(context(), 4)


def test_every_search_range_contains_the_shipped_setting() -> None:
    for name in options("explainer"):
        made = component("explainer", name)
        for setting, space in spaces(ConfiguredExplainer(name, made)).items():
            value = getattr(made, setting)
            choice = isinstance(space, Choice)
            inside = value in space.options if choice else space.low <= value <= space.high
            assert inside, f"{name}.{setting}"


def test_some_explainers_can_be_tuned() -> None:
    known = {
        n for n in options("explainer") if spaces(ConfiguredExplainer(n, component("explainer", n)))
    }
    assert {"lime", "smoothgrad", "occlusion"} <= known


# Store, report and MLflow


def found_at(seed: int, width: float) -> Any:
    tuning = {
        "metric": "abpc", "higher_is_better": True, "n_samples": 5, "n_trials": 2,
        "best": {"width": width}, "score": 0.5, "shipped_score": 0.25,
        "trials": [
            {"settings": {"width": 1.0}, "score": 0.25, "n_scored": 5, "reason": ""},
            {"settings": {"width": width}, "score": 0.5, "n_scored": 5, "reason": ""},
        ],
    }  # fmt: skip
    return explanation(
        "lime",
        scored("abpc", [1.0, 2.0, 3.0]),
        key=f"lime-{width}",
        config={"_target_": "a.B", "width": width, "ridge": 2},
        regime="tuned on 5 validation samples, 2 trials each, by abpc",
        tuning=tuning,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    add_to_study(store, "s", cell(0), [found_at(0, 3.0)])
    add_to_study(store, "s", cell(1), [found_at(1, 4.0)])
    return store


def test_tuned_settings_are_one_row_over_all_seeds(store: Store) -> None:
    [block] = blocks(store, "s")
    assert block.explainers == ("lime",)
    [number] = block.numbers.values()
    assert (number.n_scored, number.explanations) == (6, ("lime-3.0", "lime-4.0"))


def test_tuned_and_shipped_settings_are_two_rows_even_where_they_are_equal(
    store: Store,
) -> None:
    for seed, key in ((0, "lime-3.0"), (1, "lime-1.0")):
        config = {"_target_": "a.B", "width": float(key[5:]), "ridge": 2}
        one = explanation("lime", scored("abpc", [0.0, 1.0, 2.0]), key=key, config=config)
        add_to_study(store, "s", cell(seed), [replace(one, regime="paper defaults")])
    [block] = blocks(store, "s")
    assert "lime (width=tuned)" in block.explainers
    assert block.regimes["lime (width=tuned)"] == (found_at(0, 1).regime,)
    known = {(e.key, e.regime, e.tuning is None) for e in store.explanations("s", "cell0")}
    assert known == {
        ("lime-3.0", "paper defaults", True),
        ("lime-3.0", found_at(0, 1).regime, False),
    }


def test_the_report_shows_the_chosen_settings_and_every_trial(store: Store) -> None:
    report = written(store, "s")
    text = report.markdown.read_text()
    assert "Settings: tuned on 5 validation samples, 2 trials each, by abpc." in text
    assert "| lime, seed 0 | width=3.0 | abpc ↑ | 0.250 | 0.500 | 2 |" in text
    assert "| lime, seed 1 | width=4.0 |" in text
    table = pd.read_csv(report.markdown.parent / "tuning.csv")
    assert table["is_best"].tolist() == [False, True] * 2
    assert table["score"].tolist() == [0.25, 0.5] * 2
    assert json.loads(table["settings"][1]) == {"width": 3.0}


def test_mlflow_shows_the_chosen_settings() -> None:
    run = explanation_run(cell(), found_at(0, 3.0))
    assert run.name == "lime-tuned-digits-cnn-s0"
    assert run.params["explainer.width"] == "3.0"
    assert run.tags["regime"].startswith("tuned on 5")
    assert run.tags["tuning.best.width"] == "3.0"
    assert run.tags["tuning.shipped_score"] == "0.25"
    assert "tuning.trials" not in run.tags


@pytest.mark.exhaustive
def test_a_second_run_does_not_tune_again(tmp_path: Path) -> None:
    chosen = ["explainer=[occlusion,saliency,random]", "tune=true", "tuning.n_trials=4"]
    chosen += ["tuning.n_samples=5", "tuning.metric=deletion"]
    first = ran(tmp_path, *chosen)
    assert "saliency  not tuned: no settings to tune" in first
    [kept] = (tmp_path / "results" / "cache" / "tuning").glob("*.json")
    before = kept.stat().st_mtime_ns
    second = ran(tmp_path, *chosen)
    assert second.count("already in the store") == 3
    assert kept.stat().st_mtime_ns == before
    caption = "tuned on 5 validation samples, 4 trials each, by deletion (occlusion)"
    text = (tmp_path / "results/reports/s/report.md").read_text()
    assert caption in text
    assert "paper defaults (saliency)" in text
    assert "deletion ↓" in text
