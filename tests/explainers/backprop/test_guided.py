"""Guided backpropagation, deconvnet and finite differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from xai_bench.certify.explainer import BlackBox
from xai_bench.certify.toy_worlds import seeded
from xai_bench.core import units
from xai_bench.explainers.backprop.guided import DeconvNet, GuidedBackprop, GuidedGradCAM
from xai_bench.explainers.gradient.finite_differences import SensitivityAnalysis
from xai_bench.explainers.gradient.methods import Gradient
from xai_bench.types import Rows, Unsupported


def test_by_hand() -> None:
    # h = relu(x0, -x1, x2), output h0 + h1 - h2 at (1, 1, 1): h = (1, 0, 1). Back at h, the slopes
    # are (1, 1, -1). The gradient passes what is on, guided backpropagation what is on and above 0,
    # deconvnet what is above 0.
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.diag(torch.tensor([1.0, -1, 1])))
        net[2].weight.copy_(torch.tensor([[1.0, 1, -1]]))
    world = toy_worlds.world(
        net, torch.ones(1, 3).double(), torch.arange(3), toy_worlds.normal(4, 3)
    )
    assert world.explain(Gradient()).tolist() == [[1, 0, -1]]
    assert world.explain(GuidedBackprop()).tolist() == [[1, 0, 0]]
    assert world.explain(DeconvNet()).tolist() == [[1, -1, 0]]


@pytest.mark.parametrize("where", ["tabular", "image", "series"])
def test_agreement_with_captum(where: str) -> None:
    attr = pytest.importorskip("captum.attr")
    world = toy_worlds.WORLDS[where]()
    for ours, theirs in (
        (GuidedBackprop(), attr.GuidedBackprop),
        (DeconvNet(), attr.Deconvolution),
    ):
        x = world.inputs.x.clone().requires_grad_()
        expected = theirs(world.model.module).attribute(x, target=world.targets)
        assert torch.allclose(world.explain(ours), expected.detach(), atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("layer", ["0", "4"])
def test_guided_grad_cam_agrees_with_captum(layer: str) -> None:
    attr = pytest.importorskip("captum.attr")
    world = toy_worlds.image()
    theirs = attr.GuidedGradCam(world.model.module, world.model.module.get_submodule(layer))
    x = world.inputs.x.clone().requires_grad_()
    expected = theirs.attribute(x, target=world.targets, interpolate_mode="bilinear")
    assert expected.abs().sum() > 0
    found = world.explain(GuidedGradCAM(layer))
    assert torch.allclose(found, expected.detach(), atol=1e-12)


class Functional(nn.Module):
    """One ReLU as a layer, one as a layer or a function."""

    def __init__(self, *, called: bool) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)
        self.called = called

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x) + 1
        out: Tensor = self.second(
            self.act(self.first(x)) + (h.relu() if self.called else self.act(h))
        )
        return out


@pytest.mark.parametrize("explainer", [GuidedBackprop(), DeconvNet()])
def test_functions_are_rectified_as_layers_are(explainer: Any) -> None:
    one, other = seeded(Functional(called=True)), seeded(Functional(called=False))
    x = toy_worlds.normal(3, 4)
    found = [toy_worlds.world(n, x, torch.arange(4), x).explain(explainer) for n in (one, other)]
    assert torch.equal(*found)


@pytest.mark.parametrize("explainer", [GuidedBackprop(), DeconvNet()])
@pytest.mark.parametrize(
    ("net", "sentence"),
    [
        (nn.Sequential(nn.Linear(4, 2)), "has none"),
        (nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)), "has none"),
        (nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.ReLU()), "has Tanh beside them"),
    ],
)
def test_other_nonlinearities_are_refused(explainer: Any, net: nn.Module, sentence: str) -> None:
    world = toy_worlds.world(net, toy_worlds.normal(3, 4), torch.arange(4), toy_worlds.normal(4, 4))
    with pytest.raises(Unsupported, match=sentence):
        world.explain(explainer)
    assert all(not m._forward_hooks for m in net.modules())


# Finite differences


def quadratic(x: Tensor) -> Tensor:
    return 3 * x[:, 0] ** 2 - x[:, 0] * x[:, 1] + 2 * x[:, 2]


def test_differences_are_exact_for_quadratic_models() -> None:
    x = toy_worlds.normal(5, 3)
    world = toy_worlds.world(
        toy_worlds.Function(quadratic), x, torch.arange(3), toy_worlds.normal(8, 3, seed=1)
    )
    expected = torch.stack([6 * x[:, 0] - x[:, 1], -x[:, 0], 2 + 0 * x[:, 0]], dim=1)
    for step in (0.01, 0.1, 3.0):
        found = world.explain(SensitivityAnalysis(step))
        assert torch.allclose(found, expected, atol=1e-10)


def test_the_step_has_the_scale_of_the_data() -> None:
    # The central difference of x^3 is 3x^2 + h^2.
    world = toy_worlds.world(
        toy_worlds.Function(lambda x: (x**3).sum(1)), torch.ones(2, 2).double(), torch.arange(2),
        toy_worlds.normal(8, 2) * torch.tensor([1.0, 10.0]),
    )  # fmt: skip
    h = 0.5 * world.inputs.domain.scale
    assert torch.allclose(world.explain(SensitivityAnalysis(0.5)), (3 + h**2).expand(2, 2))


def test_elements_of_a_unit_move_together() -> None:
    # 4 x0 + 4 x1 + x2: the elements of the first unit share a slope of 4, whatever their scales.
    weight = torch.tensor([4.0, 4.0, 1.0]).double()
    x, background = toy_worlds.normal(3, 3), toy_worlds.normal(8, 3) * torch.tensor([1.0, 10, 1])
    world = toy_worlds.world(toy_worlds.Linear(weight), x, torch.tensor([0, 0, 1]), background)
    assert torch.allclose(world.explain(SensitivityAnalysis()), weight.expand(3, 3))


def test_small_steps_give_the_gradient_and_no_gradient_is_needed() -> None:
    world = toy_worlds.text()
    box = BlackBox(world.model)
    found = (
        SensitivityAnalysis(1e-5)
        .explain(box, world.inputs, world.targets, rng=world.rng)
        .attribution
    )
    slope = units.pool(world.explain(Gradient()) * world.inputs.domain.scale, world.inputs.units)
    way = units.pool(world.inputs.domain.scale.expand_as(found), world.inputs.units)
    each = units.pool(found, world.inputs.units) / units.sizes(world.inputs.units).clamp(min=1)
    assert torch.allclose(each * way, slope, atol=1e-7)
    assert SensitivityAnalysis().rows(6) == Rows(12)


def test_a_step_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        toy_worlds.tabular().explain(SensitivityAnalysis(0.0))


def test_memory_is_bounded() -> None:
    world = toy_worlds.image()
    small = toy_worlds.World(replace(world.model, max_rows=3), world.inputs, world.targets)
    assert torch.equal(small.explain(SensitivityAnalysis()), world.explain(SensitivityAnalysis()))
