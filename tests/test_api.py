"""Proves the Python API on a linear model, and its messages for shapes or names that do not fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import xai_bench
from tests.support import toy_worlds
from xai_bench import Workbench
from xai_bench.core.baselines import Constant
from xai_bench.explainers.removal.occlusion import LeaveOneOut
from xai_bench.runner.config.catalogue import components, conf_dir

WEIGHT = torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64)


def linear() -> nn.Module:
    module = nn.Linear(4, 1, bias=False).double()
    with torch.no_grad():
        module.weight.copy_(WEIGHT)
    return module


@pytest.fixture
def bench() -> Workbench:
    background = toy_worlds.normal(50, 4, seed=1)
    return xai_bench.workbench(
        linear(), toy_worlds.normal(6, 4), background=background - background.mean(0),
        baselines=("zero", "zero"),
    )  # fmt: skip


def test_attributions_are_those_of_the_formula(bench: Workbench) -> None:
    attribution = bench.explain("input_x_gradient")
    torch.testing.assert_close(attribution, WEIGHT * bench.context.inputs.x)
    torch.testing.assert_close(bench.explain(LeaveOneOut(Constant(0.0))), attribution)


def test_your_own_attributions_are_scored(bench: Workbench) -> None:
    exact = WEIGHT * bench.context.inputs.x
    right = bench.score(exact, ["faithfulness_correlation", "infidelity", "abpc"])
    wrong = bench.score(-exact, ["faithfulness_correlation", "infidelity", "abpc"])
    torch.testing.assert_close(right["faithfulness_correlation"], torch.ones(6).double())
    torch.testing.assert_close(right["infidelity"], torch.zeros(6).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(wrong["faithfulness_correlation"], -torch.ones(6).double())
    assert torch.equal(wrong["abpc"], -right["abpc"])
    assert (right["abpc"] > 0).all()


def test_explainers_are_compared_on_the_same_draws(bench: Workbench) -> None:
    table = bench.compare(["input_x_gradient", "random"], ["abpc", "max_sensitivity"])
    assert list(table.index) == ["input_x_gradient", "random"]
    assert table.loc["input_x_gradient", "abpc"] > table.loc["random", "abpc"]


def test_a_set_is_replaced_by_its_members(bench: Workbench) -> None:
    """What cannot work with this model is NaN as part of a set, an error when named by itself."""
    table = bench.compare(["controls"], ["truth", "entropy"])
    assert list(table.index) == ["random", "constant", "input_magnitude", "oracle"]
    assert {"entropy", "auroc"} <= set(table.columns)
    assert table.loc["oracle"].isna().all()
    assert table.loc["random"].notna().to_dict()["entropy"]
    with pytest.raises(xai_bench.Unsupported, match="written down"):
        bench.compare(["oracle"], ["entropy"])
    with pytest.raises(xai_bench.Unsupported, match="auroc"):
        bench.compare(["random"], ["auroc"])


def test_all_is_every_explainer(bench: Workbench) -> None:
    own = LeaveOneOut(Constant(0.0))
    named = bench._components("explainer", ["saliency", own, "all"])
    assert list(named)[:2] == ["saliency", "LeaveOneOut"]
    assert sorted(set(named) - {"LeaveOneOut"}) == components("explainer", [conf_dir()])
    table = bench.compare([own, "leave_one_out"], ["abpc"])
    assert table.loc["LeaveOneOut", "abpc"] == table.loc["leave_one_out", "abpc"]


def test_units_and_plain_functions_are_accepted() -> None:
    def model(x: Tensor) -> Tensor:
        return x @ WEIGHT

    x = toy_worlds.normal(3, 4)
    bench = xai_bench.workbench(
        model, x, background=torch.zeros(5, 4).double(), units=torch.tensor([0, 0, 1, 1])
    )
    attribution = bench.explain(
        "leave_one_out", {"baseline": {"_target_": "xai_bench.core.baselines.Mean"}}
    )
    pooled = (WEIGHT * x).view(3, 2, 2).sum(2)
    torch.testing.assert_close(attribution.view(3, 2, 2).sum(2), pooled)


def test_mistakes_raise_one_sentence(bench: Workbench) -> None:
    with pytest.raises(ValueError, match=r"there is no explainer 'salency'; did you mean salienc"):
        bench.explain("salency")
    with pytest.raises(ValueError, match=r"attributions have shape \(6, 3\); expected"):
        bench.score(torch.ones(6, 3), ["abpc"])
    with pytest.raises(ValueError, match=r"background rows have shape \(3,\); expected"):
        xai_bench.workbench(linear(), toy_worlds.normal(2, 4), background=toy_worlds.normal(2, 3))


def test_metrics_that_explain_other_inputs_need_an_explainer(bench: Workbench) -> None:
    with pytest.raises(xai_bench.Unsupported, match="use judge"):
        bench.score(torch.ones(6, 4), ["max_sensitivity"])
    scores = bench.judge("input_x_gradient", ["repeatability", "forward_rows"])
    assert scores["repeatability"].tolist() == [0.0] * 6
    assert scores["forward_rows"].tolist() == [1.0] * 6
