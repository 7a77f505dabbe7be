"""Proves that one run at several budgets gives the results and costs of a run at each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import torch
from torch import Tensor

from tests.evaluation.test_loop import Again, Noisy, Rows, Sum, configured, context
from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.runner.cells.test_reproducible import assert_same_store
from tests.support import command_line
from tests.support.reports import written
from xai_bench.core.cost import timed
from xai_bench.evaluation.budgets import evaluate_at_budgets
from xai_bench.evaluation.context import ConfiguredExplainer
from xai_bench.evaluation.loop import evaluate
from xai_bench.results import ExplainerResult
from xai_bench.results.report.sections import budgets
from xai_bench.results.report.summary import blocks
from xai_bench.results.report.writer import write
from xai_bench.results.store.store import Store
from xai_bench.types import Anytime, Explanation, Inputs, Kind, Model, Rng, Unsupported


@dataclass(frozen=True)
class Walk:
    """The mean of `budget` draws; each asks the model for a row. Below `least`, it cannot."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "test"

    budget: int = 8
    least: int = 1
    cracks_at: int = 0

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        (answer,) = self.anytime(model, inputs, targets, [self.budget], rng=rng)
        return answer

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Explanation]:
        total, done = torch.zeros_like(inputs.x), 0
        for budget in budgets:
            if budget < self.least:
                raise Unsupported(f"{budget} is too small")
            for k in range(done, budget):
                model.target_output(inputs, targets)
                total = total + rng.child(k).normal(*inputs.x.shape[1:])
            done = budget
            if budget == self.cracks_at and 3 in inputs.index:
                raise RuntimeError("cracked")
            yield Explanation(total / budget)


def walkers(*budgets: int, **changes: Any) -> list[ConfiguredExplainer]:
    made = [Walk(budget=budget, **changes) for budget in budgets]
    return [
        ConfiguredExplainer("walk", one, f"k{one.budget}", {"budget": one.budget}) for one in made
    ]


def at_budgets(
    *explainers: ConfiguredExplainer, metrics: Sequence[Any] = (Rows(),)
) -> dict[str, ExplainerResult]:
    steps: list[int] = []
    found = evaluate_at_budgets(context(), explainers, configured(*metrics), on_step=steps.append)
    assert sum(steps) <= 3 * len(explainers) * (1 + len(metrics))
    return {one.key: one for one in found}


def alone(explainer: ConfiguredExplainer, metrics: Sequence[Any] = (Rows(),)) -> ExplainerResult:
    return evaluate(context(), explainer, configured(*metrics))


def test_each_result_and_its_cost_are_those_of_a_run_at_its_budget_alone() -> None:
    explainers = walkers(2, 3, 8)
    found = at_budgets(*explainers, metrics=[Rows(), Sum(), Again()])
    assert list(found) == ["k2", "k3", "k8"]
    for explainer in explainers:
        one, other = found[explainer.key], alone(explainer, [Rows(), Sum(), Again()])
        assert torch.equal(one.explanation.attribution, other.explanation.attribution)
        for name, scores in other.scores.items():
            assert torch.equal(one.scores[name].values, scores.values), name
    assert [one.scores["Rows"].values[0].item() for one in found.values()] == [2, 3, 8]


def test_the_model_is_evaluated_for_the_largest_budget_only() -> None:
    shared = context(batch_size=5)
    with timed(shared.model) as metered:
        evaluate_at_budgets(
            replace(shared, model=metered), walkers(2, 4, 8), [], on_step=lambda _: None
        )
    assert metered.usage.rows.forward == 5 * 8, (
        "one run, and no rehearsal where nobody asks for time"
    )


def test_a_budget_that_is_too_small_leaves_the_others_unchanged() -> None:
    assert list(at_budgets(*walkers(2, 4, 8, least=3))) == ["k4", "k8"]


def test_a_budget_that_fails_half_way_leaves_the_others_unchanged() -> None:
    """It breaks in the second of three batches; those above it run without it."""
    found = at_budgets(*walkers(2, 4, 8, cracks_at=4))
    assert list(found) == ["k2", "k8"]
    for explainer in walkers(2, 8):
        one, budget = found[explainer.key], explainer.config["budget"]
        assert torch.equal(one.explanation.attribution, alone(explainer).explanation.attribution)
        assert one.scores["Rows"].values.tolist() == [budget] * 5


def test_an_explainer_without_anytime_has_no_results_here() -> None:
    assert isinstance(Walk(), Anytime)
    assert (
        at_budgets(
            ConfiguredExplainer("noisy", Noisy(), "a"), ConfiguredExplainer("noisy", Noisy(), "b")
        )
        == {}
    )


def test_a_missing_explanation_is_left_out() -> None:
    @dataclass(frozen=True)
    class Short(Walk):
        def anytime(self, *arguments: Any, rng: Rng) -> Iterator[Explanation]:
            yield from list(super().anytime(*arguments, rng=rng))[:2]

    made = [
        ConfiguredExplainer("short", Short(budget=b), f"k{b}", {"budget": b}) for b in (1, 2, 3)
    ]
    assert list(at_budgets(*made)) == ["k1", "k2"]


def test_usage_can_be_read_during_a_measurement() -> None:
    shared = context()
    with timed(shared.model) as metered:
        metered.outputs(shared.inputs)
        early = metered.usage.so_far()
        metered.outputs(shared.inputs)
    assert (early.rows.forward, metered.usage.rows.forward) == (5, 10)
    assert 0 < early.seconds < metered.usage.seconds


# The report


def at(name: str, budget: int, values: list[float], rows: float) -> ExplainerResult:
    fidelity = scored("abpc", values)
    cost = scored("forward_rows", [rows] * 3, "cost", higher_is_better=False)
    config = {"_target_": f"x.{name}", "budget": budget}
    made = explanation(name, fidelity, cost, key=f"{name}-{budget}", config=config)
    return replace(made, regime=f"budget {budget} rows")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """`lime` is at its last answer from 62 rows on, `shap` never before its last."""
    store = Store(tmp_path)
    known = [
        at("lime", 16, [0.0, 0.1, 0.2], 16),
        at("lime", 64, [1.0, 0.9, 1.0], 62),
        at("lime", 256, [0.9, 1.0, 1.0], 256),
        at("shap", 16, [0.1, 0.2, 0.3], 16),
        at("shap", 64, [0.4, 0.5, 0.6], 64),
        explanation("saliency", scored("abpc", [0.5, 0.5, 0.5])),
        explanation("random", scored("abpc", [0.0, 0.1, 0.0]), category="controls"),
    ]
    add_to_study(store, "s", cell(), known)
    return store


def test_curves_have_the_counted_rows_on_their_axis(store: Store) -> None:
    [block] = blocks(store, "s")
    lime, shap = budgets.budget_curves(block)
    assert [(step.budget, step.rows) for step in lime.steps] == [(16, 16), (64, 62), (256, 256)]
    assert (lime.name, shap.name) == ("lime", "shap")
    points = budgets.points_of(block, [lime, shap])
    assert [point.settled for point in points] == [False, True, True, False, True]
    assert points[0].gap == pytest.approx(0.1 - 2.9 / 3)


@pytest.mark.exhaustive
def test_the_report_has_a_picture_a_table_and_a_csv(store: Store) -> None:
    report = write(store, "s")
    text = report.markdown.read_text()
    assert "digits, cnn: scores by budget" in text
    assert "| lime | 62 |" in text
    assert "| shap | 64 |" in text
    folder = report.markdown.parent
    picture = (folder / "figures" / "anytime-0-digits-cnn.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert "(figures/anytime-0-digits-cnn.png)" in text
    table = pd.read_csv(folder / "anytime.csv")
    assert table["rows"].tolist() == [16, 62, 256, 16, 64]
    assert table["regime"].iloc[0] == "budget 16 rows"
    assert table["gap"].iloc[2] == 0
    write(store, "s", folder / "again")
    assert (folder / "again" / "figures" / "anytime-0-digits-cnn.png").read_bytes() == picture


def test_other_settings_make_another_curve(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plain = [at("lime", b, [0.1, 0.2, 0.3], b) for b in (8, 16)]
    wide = [
        replace(
            one,
            key=f"{one.key}-wide",
            regime=f"{one.regime}, wide",
            config={**one.config, "width": 1},
        )
        for one in plain
    ]
    add_to_study(store, "s", cell(), [*plain, *wide])
    [block] = blocks(store, "s")
    assert [c.name for c in budgets.budget_curves(block)] == ["lime", "lime (width=1)"]


def test_one_budget_makes_no_curve(tmp_path: Path) -> None:
    store = Store(tmp_path)
    add_to_study(store, "s", cell(), [at("lime", 8, [0.1, 0.2, 0.3], 8)])
    report = written(store, "s")
    assert "scores by budget" not in report.markdown.read_text()
    assert not (report.markdown.parent / "anytime.csv").exists()


# For real

BASE = ["data=digits", "model=linear", "recorder=none", "evaluation.n_samples=8", "study=same"]
BASE += ["report.figures=[]"]
CHOSEN = ["explainer=[kernel_shap,lime,random]", "metric=[abpc,repeatability,forward_rows,seconds]"]
BUDGETS = ["anytime=[8,40,64,200]"]


def arguments(results: Path, *overrides: str) -> list[str]:
    return ["run", *BASE, *CHOSEN, *overrides, f"results={results}"]


def ran(results: Path, *overrides: str) -> str:
    return command_line.succeed(results.parent, *arguments(results, *overrides))


def explanations(results: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in results.glob("store/*/*/scores.parquet")}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("reference") / "results"
    output = ran(results, *BUDGETS)
    assert output.count("a budget of 8 ") >= 2
    return results


@pytest.mark.exhaustive
def test_one_run_fills_the_store_as_a_sweep_does(reference: Path, tmp_path: Path) -> None:
    """But for seconds and memory, which are another file's."""
    ran(tmp_path / "results", "-m", "budget=8,40,64,200")
    assert_same_store(tmp_path / "results", reference)
    command_line.succeed(tmp_path, "report")
    figures = tmp_path / "results" / "reports" / "same" / "figures"
    assert (figures / "anytime-0-digits-linear.png").exists()


@pytest.mark.exhaustive
def test_a_killed_run_computes_nothing_twice(reference: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    process = [sys.executable, "-m", "xai_bench", *arguments(results, *BUDGETS)]
    started = subprocess.Popen(process, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(results.glob("store/*/*/explanation.json"))) < 3:
        assert started.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run wrote nothing"
        time.sleep(0.002)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    costs = {p: p.read_bytes() for p in results.glob("store/*/*/costs.parquet")}
    ran(results, *BUDGETS)
    assert {p: p.read_bytes() for p in costs} == costs, "explained again, and timed anew"
    assert_same_store(results, reference)
    before = explanations(results)
    assert ran(results, *BUDGETS).count("already in the store") == len(before) == 9
    assert explanations(results) == before
