"""Proves the Python API on a linear model, and its messages for shapes or names that do not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import xai_bench
from tests.support import toy_worlds
from xai_bench import Workbench
from xai_bench.core.baselines import Constant
from xai_bench.core.calls.module_state import ModuleState, same
from xai_bench.explainers.removal.occlusion import LeaveOneOut
from xai_bench.metrics.fidelity.random_subsets import Infidelity
from xai_bench.models.targets import FixedOutput, Loss, TrueLabel
from xai_bench.runner.config import by_name
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
    attribution = bench.explain("input_x_gradient").attribution
    torch.testing.assert_close(attribution, WEIGHT * bench.context.inputs.x)
    torch.testing.assert_close(bench.explain(LeaveOneOut(Constant(0.0))).attribution, attribution)


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
    table = bench.compare(["controls"], ["truth", "entropy"])
    assert list(table.index) == ["random", "constant", "input_magnitude", "oracle"]
    assert {"entropy", "auroc"} <= set(table.columns)
    assert table.loc["oracle"].isna().all()
    assert table.loc["random"].notna().to_dict()["entropy"]


def test_what_does_not_fit_costs_only_itself_and_has_its_reason(bench: Workbench) -> None:
    table = bench.compare(["random", "grad_cam", "constant"], ["auroc", "entropy"])
    assert table["entropy"].notna().to_dict() == {
        "random": True, "grad_cam": False, "constant": True
    }  # fmt: skip
    assert "convolution" in table.attrs["reasons"]["grad_cam"]["entropy"]
    assert set(table.attrs["reasons"]["random"]) == {"auroc"}
    scores = bench.judge("random", ["auroc", "entropy"])
    assert scores["auroc"].isnan().all()
    assert scores["entropy"].isfinite().all()
    assert set(scores.reasons) == {"auroc"}
    mine = bench.score(torch.ones(6, 4), ["gini", "forward_rows", "max_sensitivity"])
    assert mine["gini"].isfinite().all()
    assert set(mine.reasons) == {"forward_rows", "max_sensitivity"}


def test_a_question_without_any_answer_raises(bench: Workbench) -> None:
    with pytest.raises(xai_bench.Unsupported, match="written down"):
        bench.compare(["oracle"], ["entropy"])
    with pytest.raises(xai_bench.Unsupported, match="auroc"):
        bench.compare(["random"], ["auroc"])
    with pytest.raises(xai_bench.Unsupported, match="auroc"):
        bench.judge("random", "auroc")


@pytest.mark.slow
def test_all_is_every_explainer(bench: Workbench) -> None:
    own = LeaveOneOut(Constant(0.0))
    named = by_name.components("explainer", ["saliency", own, "all"], {}, bench.baselines)
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
    ).attribution
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


@pytest.mark.slow
@pytest.mark.sample(2)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_map_with_a_gap_is_unscored_and_harms_no_other(bench: Workbench, bad: float) -> None:
    """Every metric that can score a map at all; the scores of the others stay bit for bit."""
    right = WEIGHT * bench.context.inputs.x
    broken = right.clone()
    broken[2, 1] = bad
    kept = torch.arange(6) != 2
    expected, found = bench.score(right, "all"), bench.score(broken, "all")
    assert found.reasons == expected.reasons
    assert len(found) > 20
    for name, values in found.items():
        assert values[2].isnan(), name
        assert same(values[kept], expected[name][kept]), name


def test_two_metrics_of_one_class_and_a_name_given_twice(bench: Workbench) -> None:
    exact = WEIGHT * bench.context.inputs.x
    near, far = Infidelity(Constant(0.0), 9, 0.25), Infidelity(Constant(0.0), 9, 1.0)
    scores = bench.score(exact, [near, far, "abpc", "abpc", near])
    assert len(scores) == 3
    assert list(scores) == ["Infidelity", "Infidelity(fraction=1.0)", "abpc"]
    assert all(values.shape == (6,) for values in scores.values())
    table = bench.compare([LeaveOneOut(Constant(0.0)), LeaveOneOut(Constant(1.0))], "abpc")
    assert list(table.index) == ["LeaveOneOut", "LeaveOneOut(baseline=Constant(value=1.0))"]


def test_changed_weights_are_found_out() -> None:
    net, x = linear(), toy_worlds.normal(6, 4)
    bench = xai_bench.workbench(net, x, background=toy_worlds.normal(9, 4, seed=1))
    function = xai_bench.workbench(lambda z: net(z) + 0, x, background=x)
    exact = bench.explain("input_x_gradient")
    bench.score(exact, ["infidelity"])
    with torch.no_grad():
        net.get_parameter("weight").data.mul_(-1)
    for stale in (bench, function):
        for question in (lambda b: b.score(exact, ["infidelity"]), lambda b: b.explain("gradient")):
            with pytest.raises(ValueError, match="the model has changed since"):
                question(stale)


def test_what_the_caller_does_to_the_tensors_afterwards_changes_nothing(bench: Workbench) -> None:
    x, background = toy_worlds.normal(6, 4), toy_worlds.normal(9, 4, seed=1)
    mine = xai_bench.workbench(linear(), x, background=background)
    before = mine.explain("leave_one_out").attribution
    x.zero_(), background.zero_()
    assert torch.equal(mine.explain("leave_one_out").attribution, before)


def test_a_network_in_training_goes_on_as_if_nobody_had_looked() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)).train()
    x, background = torch.randn(8, 4), torch.randn(20, 4)
    net(x).sum().backward()
    state = ModuleState.of(net)
    for model in (net, lambda z: net(z), net.forward, nn.Sequential(net)):
        bench = xai_bench.workbench(model, x, background=background)
        of_layers = ["deeplift", "lrp_epsilon"] if model is net else []
        names = ["saliency", "kernel_shap", *of_layers]
        bench.compare(names, ["abpc", "max_sensitivity"])
        with pytest.raises(xai_bench.Unsupported):
            bench.explain("grad_cam")
        assert state.changes() == []


def test_handles_of_the_callers_hooks_still_work_after_a_library_was_called() -> None:
    net, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(5, 4)
    handle = net[1].register_forward_hook(lambda layer, args, out: None)
    xai_bench.workbench(net, x, background=x).explain("captum_deeplift")
    handle.remove()
    assert not net[1]._forward_hooks


@pytest.mark.parametrize("target", [TrueLabel(), Loss(), "true_label"])
def test_targets_of_true_labels_need_them(target: Any) -> None:
    net, x = nn.Linear(4, 3), torch.randn(5, 4)
    with pytest.raises(ValueError, match="needs the true labels"):
        xai_bench.workbench(net, x, background=x, target=target)
    labels = torch.tensor([2, 1, 0, 0, 1])
    bench = xai_bench.workbench(net, x, background=x, target=target, labels=labels)
    assert bench.context.targets.tolist() == labels.tolist()


def test_labels_reach_the_metrics() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 3))
    x = torch.rand(4, 1, 6, 6)
    known = net(x).argmax(1)
    scores = [
        xai_bench.workbench(net, x, background=x, labels=labels).judge("gradient", "road")["road"]
        for labels in (known, (known + 1) % 3)
    ]
    assert not torch.equal(*scores)


def test_one_output_of_all_samples_is_a_target() -> None:
    net, x = nn.Linear(4, 3), torch.randn(5, 4)
    bench = xai_bench.workbench(net, x, background=x, target=FixedOutput(2))
    assert bench.context.targets.tolist() == [2] * 5
    torch.testing.assert_close(bench.explain("gradient")[0], net.weight[2].double())
    with pytest.raises(ValueError, match="index 3; the model has outputs 0 to 2"):
        xai_bench.workbench(net, x, background=x, target=FixedOutput(3))


@pytest.mark.parametrize(
    ("last", "options", "said"),
    [
        (nn.Identity(), {}, True),
        (nn.Identity(), {"target": "predicted_logit"}, False),
        (nn.Identity(), {"target": 1}, False),
        (nn.Identity(), {"labels": torch.zeros(3).long()}, False),
        (nn.Softmax(1), {}, False),
        (nn.LogSoftmax(1), {}, False),
        (nn.Linear(2, 1), {}, False),
    ],
)
def test_what_nothing_tells_is_said(
    last: nn.Module, options: dict[str, Any], said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Two outputs may be logits of two classes, or two values of a regressor."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 2), last), torch.randn(3, 4)
    xai_bench.workbench(model, x, background=torch.randn(9, 4), **options)
    told = [record.getMessage() for record in caplog.records]
    assert ["task='regression', target=0" in one for one in told] == [True] * said


def test_units_are_dense_or_refused() -> None:
    net, x = nn.Linear(4, 3), torch.randn(5, 4)

    def found(units: Any) -> Tensor:
        return xai_bench.workbench(net, x, background=x, units=units).context.inputs.units

    assert found(torch.tensor([1, 1, 5, 2]))[0].tolist() == [0, 0, 2, 1]
    assert found(torch.tensor([0, 0, 1, 1], dtype=torch.int32))[0].tolist() == [0, 0, 1, 1]
    each = torch.tensor([[3, 3, 4, -1]] * 4 + [[0, 1, 2, 3]])
    assert found(each)[[0, 4]].tolist() == [[0, 0, 1, -1], [0, 1, 2, 3]]
    bench = xai_bench.workbench(net, x, background=x, units=torch.tensor([1, 1, 2, 2]))
    assert bench.score(torch.ones(5, 4), "gini")["gini"].abs().max() < 1e-12
    for units, sentence in (
        (torch.tensor([0, 1, 2]), r"units have shape \[3\]; expected that of one sample, \[4\]"),
        (torch.tensor([0.0, 1, 2, 3]), "units hold torch.float32; expected whole numbers"),
        (torch.tensor([True] * 4), "units hold torch.bool"),
        (torch.tensor([0, 1, -2, 3]), "units hold -2"),
        (torch.tensor([-1] * 4), "padding only"),
        ("columns", "units is a str; expected whole numbers"),
    ):
        with pytest.raises(ValueError, match=sentence):
            found(units)


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
WITH_GAP = torch.where(torch.arange(4) == 3, torch.nan, X)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"x": "rows"}, "x is a str of .*; expected numbers"),
        ({"x": X.numpy().astype(complex)}, "x is a ndarray of complex128; expected numbers"),
        ({"x": [[1.0, 2.0], [1.0]]}, "the rows of x are not of one length"),
        ({"x": X[:0]}, r"x has shape \[0, 4\]; expected"),
        ({"x": X[0]}, r"x has shape \[4\]; expected"),
        ({"x": X[:, :0], "background": X[:, :0]}, r"x has shape \[5, 0\]; expected"),
        ({"background": X[:0]}, r"background has shape \[0, 4\]"),
        ({"labels": torch.zeros(5, 1).long()}, r"labels have shape \[5, 1\]; expected \[5\]"),
        ({"labels": torch.zeros(9).long()}, r"labels have shape \[9\]; expected \[5\]"),
        ({"labels": torch.full((5,), 3)}, "labels hold class 3; the model has outputs 0 to 2"),
        ({"labels": torch.full((5,), -1)}, "labels hold class -1"),
        ({"labels": torch.zeros(5)}, "labels hold torch.float32; expected classes"),
        ({"labels": ["a"] * 5}, "labels hold texts, such as 'a', and nobody named the outputs"),
        ({"target": 2.5}, r"target=2.5 is no target; give the number of an output, .* choose from"),
        ({"target": 3}, "index 3; the model has outputs 0 to 2"),
        ({"target": "predicted_logits"}, "did you mean predicted_logit"),
        ({"baselines": ("mean",)}, r"baselines=\('mean',\); expected two"),
        ({"baselines": {"explain": "mean"}}, "expected one to 'explain' and one to 'measure'"),
        ({"baselines": X[:, :3]}, r"a baseline has shape \[5, 3\]; expected that of one sample"),
        ({"baselines": ("mean", "margin")}, "no baseline 'margin'; did you mean marginal"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, Any], sentence: str) -> None:
    given = {"x": X, "background": X, **arguments}
    with pytest.raises(ValueError, match=sentence):
        xai_bench.workbench(nn.Linear(4, 3), given.pop("x"), **given)


def test_questions_that_do_not_fit_are_named(bench: Workbench) -> None:
    exact = torch.ones(6, 4)
    with pytest.raises(ValueError, match="no kind 'contributions'; did you mean contribution"):
        bench.score(exact, ["gini"], kind="contributions")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"attributions are a str; expected numbers"):
        bench.score("exact", ["gini"])
    with pytest.raises(ValueError, match=r"unknown setting 'kernel_shap.nsamples'"):
        bench.explain("kernel_shap", {"nsamples": 100})
    with pytest.raises(ValueError, match=r"kernel_shap.budget='many' is not a whole number"):
        bench.explain("kernel_shap", {"budget": "many"})
    with pytest.raises(ValueError, match="LeaveOneOut'> is no explainer; choose from"):
        bench.explain(LeaveOneOut)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="3 is no metric; choose from"):
        bench.judge("gradient", ["gini", 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="no metric is named; choose from"):
        bench.score(exact, [])
    assert list(bench.score(exact, "abpc")) == ["abpc"]


@pytest.mark.parametrize(("name", "where"), [("background", "the background"), ("x", "x")])
def test_a_gap_in_the_data_is_blamed_on_the_data(name: str, where: str) -> None:
    given = {"x": X, "background": X, name: WITH_GAP}
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    bench = xai_bench.workbench(net, given.pop("x"), **given)
    with pytest.raises(ValueError, match=f"{where} holds NaN in row 0, column 3"):
        bench.explain("kernel_shap")


def test_the_door_is_listed() -> None:
    assert dir(xai_bench) == sorted(xai_bench.__all__)
    assert all(getattr(xai_bench, name).__doc__ for name in dir(xai_bench))
