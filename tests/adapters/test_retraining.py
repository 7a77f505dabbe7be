"""Proves that metrics that retrain, and what needs labels of the background, work from Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression

import xai_bench

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(90, 4))
FRAME = pd.DataFrame(ROWS, columns=["a", "b", "c", "d"]).assign(d=np.tile(["x", "y", "z"], 30))
CLASSES = np.where(2 * ROWS[:, 0] - ROWS[:, 1] + 0.1 * RNG.normal(size=90) > 0, "yes", "no")
VALUES = 2 * ROWS[:, 0] - ROWS[:, 1]


def linear(rows: Any, labels: Any) -> LogisticRegression:
    return LogisticRegression().fit(rows, labels)


def bench_of(**given: Any) -> xai_bench.Workbench:
    rows = {"background": ROWS[20:], "background_labels": CLASSES[20:], "labels": CLASSES[:20]}
    return xai_bench.workbench(linear(ROWS, CLASSES), ROWS[:20], **{**rows, **given})


def test_a_recipe_fits_what_metrics_ask_for() -> None:
    seen = []

    def recipe(rows: Any, labels: Any) -> LogisticRegression:
        seen.append((rows, labels))
        return linear(rows, labels)

    bench = bench_of(recipe=recipe)
    table = bench.compare(["exact_shapley", "random"], ["roar", "kar", "model_agreement"])
    assert table.notna().all().all()
    # Without its important columns a model is worse off than without others.
    assert table.loc["exact_shapley", "roar"] > table.loc["random", "roar"]
    first = seen[0]
    assert isinstance(first[0], np.ndarray)
    assert first[0].shape == (70, 4)
    assert set(first[1]) == {"yes", "no"}
    again = bench_of(recipe=linear).compare(["exact_shapley"], ["roar"])
    assert table.loc["exact_shapley", "roar"] == again.loc["exact_shapley", "roar"]


def test_rows_and_labels_are_as_the_caller_has_them() -> None:
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    def recipe(rows: pd.DataFrame, labels: pd.Series) -> Any:
        assert isinstance(rows, pd.DataFrame)
        assert isinstance(labels, pd.Series)
        code = make_column_transformer((OneHotEncoder(), ["d"]), remainder="passthrough")
        return make_pipeline(code, LinearRegression()).fit(rows, labels)

    values = pd.Series(VALUES)
    bench = xai_bench.workbench(
        recipe(FRAME, values),
        FRAME[:9],
        background=FRAME,
        recipe=recipe,
        background_labels=values,
        labels=values[:9],
    )
    assert bool(bench.judge("leave_one_out", "roar")["roar"].isfinite().all())


@pytest.mark.slow
def test_a_recipe_of_networks_draws_other_weights_for_each_member() -> None:
    x, y = torch.from_numpy(ROWS).float(), torch.from_numpy(CLASSES == "yes").long()

    def recipe(rows: torch.Tensor, labels: torch.Tensor) -> torch.nn.Module:
        net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        step = torch.optim.SGD(net.parameters(), 0.5)
        for _ in range(20):
            step.zero_grad()
            torch.nn.functional.cross_entropy(net(rows), labels).backward()
            step.step()
        return net

    bench = xai_bench.workbench(
        recipe(x, y), x[:9], background=x, background_labels=y, recipe=recipe
    )
    before = torch.get_rng_state()
    models = [bench.context.variants.retrained(member) for member in (1, 2)]
    anew = xai_bench.workbench(
        recipe(x, y), x[:9], background=x, background_labels=y, recipe=recipe
    )
    models.append(anew.context.variants.retrained(1))
    outputs = [model.outputs(bench.context.inputs) for model in models]
    assert not torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    torch.set_rng_state(before)
    bench.context.variants.mislabelled()
    assert torch.equal(torch.get_rng_state(), before)
    agreement = bench.judge("gradient", "model_agreement")["model_agreement"]
    assert bool(agreement.isfinite().all())


def test_sage_credits_the_columns_that_labels_follow() -> None:
    by_column = bench_of().explain("sage", n_orders=64).attribution[0]
    assert int(by_column.argmax()) == 0
    own = xai_bench.workbench(linear(ROWS, CLASSES), ROWS, labels=CLASSES)
    assert int(own.explain("sage", n_orders=64).attribution[0].argmax()) == 0


def test_what_is_missing_is_named() -> None:
    with pytest.raises(xai_bench.Unsupported, match="background_labels="):
        bench_of(background_labels=None).explain("sage")
    with pytest.raises(xai_bench.Unsupported, match="recipe="):
        bench_of().judge("random", "roar")
    with pytest.raises(ValueError, match="recipe= fits models to the background rows"):
        bench_of(background_labels=None, recipe=linear)
    with pytest.raises(ValueError, match=r"labels have shape \[90\]; expected \[70\]"):
        bench_of(background_labels=CLASSES)
    three = linear(ROWS, np.arange(90) % 3)
    with pytest.raises(ValueError, match="gave a model of 3 outputs, and the one"):
        bench_of(recipe=lambda rows, labels: three).judge("random", "roar")
