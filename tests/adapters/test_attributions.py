"""Proves that attributions of any library are read as they were meant, and judged alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import xai_bench
from xai_bench import Workbench

X = torch.linspace(-1, 1, 12).view(4, 3)
TARGETS = torch.tensor([0, 1, 1, 0])
VALUES = torch.arange(24).view(4, 3, 2).double()  # of each output
CHOSEN = torch.stack([VALUES[n, :, t] for n, t in enumerate(TARGETS.tolist())])


@pytest.fixture(scope="module")
def bench() -> Workbench:
    rows = pd.DataFrame(X.numpy(), columns=["a", "b", "c"])
    return xai_bench.workbench(nn.Linear(3, 2), rows, background=rows, target=TARGETS)


@pytest.mark.parametrize(
    "given",
    [
        CHOSEN,
        CHOSEN.float().requires_grad_(),
        CHOSEN.numpy(),
        CHOSEN.tolist(),
        (CHOSEN,),
        VALUES,
        VALUES.numpy(),
        [VALUES[..., 0].numpy(), VALUES[..., 1].numpy()],
        SimpleNamespace(values=VALUES.numpy(), base_values=np.zeros(2)),
        SimpleNamespace(values=CHOSEN.numpy(), base_values=np.zeros(4)),
        pd.DataFrame(CHOSEN.numpy()[:, ::-1], columns=["c", "b", "a"]),
    ],
    ids=lambda given: type(given).__name__,
)
def test_attributions_of_any_library_are_the_same(bench: Workbench, given: Any) -> None:
    assert torch.equal(bench._given(given).attribution, CHOSEN)


def test_a_number_for_each_unit_and_maps_without_channels_are_spread() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    bench = xai_bench.workbench(net, torch.rand(2, 3, 4, 4), units=xai_bench.patches(4, 4, 2))
    by_unit = np.array([[1.0, 2, 3, 4], [0, 0, 0, 1]])
    for given in (by_unit, np.kron(by_unit.reshape(2, 2, 2), np.ones((2, 2))) / 4):
        pooled = bench.layout.by_unit(bench._given(given).attribution)
        np.testing.assert_allclose(pooled.numpy(), by_unit)
    one = bench._given(np.ones((2, 1, 4, 4))).attribution
    assert one.shape == (2, 3, 4, 4)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (np.ones((4, 2)), r"attributions have shape \(4, 2\); expected that of x, \(4, 3\)"),
        (np.ones((3, 3)), r"attributions have shape \(3, 3\)"),
        (CHOSEN + 1j, "attributions hold torch.complex128; expected real numbers"),
        ([[1.0], [1.0, 2.0]], "attributions are a list; expected numbers"),
        (pd.DataFrame({"a": [1.0]}), "attributions lack the column 'b'"),
        ("a map", "attributions are a str"),
        (None, r"attributions have shape \(\)"),
    ],
)
def test_what_is_no_attribution_is_one_sentence(
    bench: Workbench, given: Any, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        bench.score(given, "gini")


def test_a_comparison_has_names_intervals_directions_and_reasons(bench: Workbench) -> None:
    seen: list[tuple[str, int, int]] = []
    table = bench.compare(
        {"<mine>": CHOSEN, "shapley": "exact_shapley", "grad_cam": "grad_cam"},
        ["gini", "deletion", "forward_rows"],
        on_step=lambda *step: seen.append(step),
    )
    assert seen == [("<mine>", 1, 3), ("shapley", 2, 3), ("grad_cam", 3, 3)]
    assert list(table.index) == ["<mine>", "shapley", "grad_cam"]
    assert table.scores["<mine>"]["gini"].shape == (4,)
    assert table.higher_is_better == {"gini": True, "deletion": False, "forward_rows": False}
    assert (table.low.loc["<mine>", "gini"] <= table.loc["<mine>", "gini"]).all()
    assert "convolution" in table.reasons["grad_cam"]["deletion"]
    text, page = repr(table), table._repr_html_()
    assert "deletion ↓" in text
    assert "±" in text
    assert "convolution" in text
    assert "<mine>" not in page
    assert "&lt;mine&gt;" in page
    assert type(table[["gini"]]) is pd.DataFrame


def test_a_budget_goes_to_those_who_have_one_and_settings_to_their_metric(bench: Workbench) -> None:
    table = bench.compare(["kernel_shap", "saliency"], ["forward_rows"], budget=16)
    assert table["forward_rows"].tolist() == [8.0, 1.0]  # three units have eight coalitions
    plain = bench.score(CHOSEN, ["deletion", "gini"])
    changed = bench.score(CHOSEN, ["deletion", "gini"], baseline="zero")
    assert torch.equal(plain["gini"], changed["gini"])
    assert not torch.equal(plain["deletion"], changed["deletion"])
    with pytest.raises(ValueError, match="no metric that is chosen has a setting 'n_steps'"):
        bench.score(CHOSEN, ["gini", "deletion"], n_steps=3)


@pytest.mark.slow
def test_metrics_that_need_no_model_judge_a_map_alone() -> None:
    scores = xai_bench.score([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]], ["gini", "deletion"])
    torch.testing.assert_close(scores["gini"], torch.tensor([0.75, 0.0]).double())
    assert "asks the model" in scores.reasons["deletion"]
    halves = torch.tensor([0, 0, 1, 1])
    assert xai_bench.score([[1.0, 1.0, 2.0, 0.0]], "gini", units=halves)["gini"].item() == 0
    with pytest.raises(xai_bench.Unsupported, match="there is none: use workbench"):
        xai_bench.score([[1.0, 0.0]], "deletion")


def test_pictures_and_tables_of_every_form() -> None:
    nets = {
        (3, 4, 4): nn.Sequential(nn.Flatten(), nn.Linear(48, 2)),
        (1, 2, 4, 4): nn.Sequential(nn.Flatten(), nn.Linear(32, 2)),
        (2, 5): nn.Sequential(nn.Flatten(), nn.Linear(10, 2)),
        (4,): nn.Linear(4, 2),
    }
    for shape, net in nets.items():
        found = xai_bench.workbench(net, torch.rand(2, *shape)).explain("input_x_gradient")
        figure = found.plot(-1)
        assert figure.get_axes()
        assert "<table>" in found._repr_html_()
    assert found.plot(None).get_axes()
    with pytest.raises(ValueError, match="there is no sample 2; there are 0 to 1"):
        found.plot(2)


def test_names_are_escaped_in_notebooks() -> None:
    rows = pd.DataFrame({"<script>alert(1)</script>": [1.0, 2.0], "b": [0.0, 1.0]})
    rows.index = pd.Index(["<img src=x>", "r2"])
    page = xai_bench.workbench(lambda f: f.sum(axis=1), rows).explain("leave_one_out")._repr_html_()
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script" in page
