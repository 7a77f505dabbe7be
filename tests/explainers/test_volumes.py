"""Three-dimensional convolutions, pools and norms: sums that come out, the answers of the same
network in two dimensions, and agreement with captum.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from xai_bench.core.baselines import Constant, Marginal
from xai_bench.explainers.backprop.deeplift import DeepLIFT
from xai_bench.explainers.backprop.guided import DeconvNet, GuidedBackprop, GuidedGradCAM
from xai_bench.explainers.backprop.lrp import LRP
from xai_bench.explainers.gradient.integrated import IntegratedGradients
from xai_bench.explainers.layerwise.cam import GradCAM, GradCAMPlusPlus, LayerCAM, ScoreCAM
from xai_bench.explainers.layerwise.conductance import (
    LayerConductance,
    Layerwise,
    NeuronConductance,
)
from xai_bench.explainers.layerwise.fullgrad import FullGrad
from xai_bench.explainers.layerwise.layers import LayerActivation, LayerIntegratedGradients

SHAPE = (2, 4, 6, 6)
BASE = Constant(0.2)


def drawn(network: nn.Module, *, bias: bool = True) -> nn.Module:
    """Seeded weights and statistics, float64; `bias=False` sets all biases to 0."""
    generator = torch.Generator().manual_seed(3)
    network = network.double().eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator, dtype=value.dtype))
                value.abs_() if name.endswith("running_var") else None
                value.zero_() if name.endswith("bias") and not bias else None
    return network


def world(network: nn.Module, shape: tuple[int, ...] = SHAPE) -> toy_worlds.World:
    units = torch.arange(torch.Size(shape[1:]).numel()).view(1, *shape[1:]).expand(shape)
    x, background = toy_worlds.normal(3, *shape), toy_worlds.normal(6, *shape, seed=2)
    return toy_worlds.world(network, x, units, background)


def volume(*, norm: bool = True, bias: bool = True) -> toy_worlds.World:
    """Every kind of layer, with kernels of all three axes."""
    layers = [
        nn.Conv3d(2, 3, 3, padding=1), nn.BatchNorm3d(3) if norm else nn.Identity(), nn.ReLU(),
        nn.MaxPool3d(2), nn.Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1)), nn.LeakyReLU(0.2),
        nn.AvgPool3d((2, 1, 1)), nn.Dropout3d(), nn.Flatten(), nn.Linear(36, 3),
    ]  # fmt: skip
    return world(drawn(nn.Sequential(*layers), bias=bias))


def near(found: Tensor, expected: Tensor, atol: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def output(here: toy_worlds.World, x: Tensor) -> Tensor:
    return here.model.target_output(here.inputs.with_x(x), here.targets).detach()


@pytest.mark.slow
@pytest.mark.parametrize("baseline", [BASE, Marginal(2)])
def test_deeplift_adds_up_to_the_change_of_the_output(baseline: Any) -> None:
    here = volume()
    starts = baseline.references(here.inputs, rng=here.rng).unbind(1)
    expected = output(here, here.inputs.x) - sum(output(here, s) for s in starts) / len(starts)
    near(here.explain(DeepLIFT(baseline)).flatten(1).sum(1), expected)


RULES = {
    "epsilon": LRP(epsilon=0.0),
    "gamma": LRP("gamma", "gamma"),
    "z_plus": LRP("z_plus", "z_plus"),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("first", ["same", "flat", "z_box"])
def test_relevance_is_conserved(rule: str, first: Any) -> None:
    here = volume(norm=False, bias=False)
    total = here.explain(replace(RULES[rule], first=first)).flatten(1).sum(1)
    near(total, output(here, here.inputs.x))


@pytest.mark.parametrize("rule", RULES)
def test_batch_norm_is_merged_with_the_convolution_before_it(rule: str) -> None:
    here = volume()
    module = here.model.module
    assert isinstance(module, nn.Sequential)
    fused = nn.utils.fusion.fuse_conv_bn_eval(module[0], module[1])
    other = world(nn.Sequential(fused, *module[2:]))
    same = toy_worlds.World(other.model, here.inputs, here.targets)
    near(here.explain(RULES[rule]), same.explain(RULES[rule]))


def twins() -> tuple[toy_worlds.World, toy_worlds.World]:
    """The same network on one slice, in three dimensions and in two."""
    deep = nn.Sequential(
        nn.Conv3d(2, 3, (1, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(3), nn.ReLU(),
        nn.MaxPool3d((1, 2, 2)), nn.Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1)), nn.ReLU(),
        nn.AvgPool3d((1, 3, 3)), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    flat = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    state = drawn(deep).state_dict()
    own = flat.double().eval().state_dict()
    flat.load_state_dict({name: value.view(own[name].shape) for name, value in state.items()})
    one, other = world(deep, (2, 1, 6, 6)), world(flat, (2, 6, 6))
    near(one.inputs.x.squeeze(2), other.inputs.x)
    return one, other


@pytest.mark.sample(24, others="slow")
@pytest.mark.parametrize(
    "explainer",
    [
        DeepLIFT(BASE), *RULES.values(), LRP("epsilon", "gamma", first="z_box"),
        GuidedBackprop(), DeconvNet(), GuidedGradCAM(), GradCAM(), GradCAMPlusPlus(), LayerCAM(),
        ScoreCAM(BASE), FullGrad(), LayerActivation(), LayerIntegratedGradients(BASE, budget=40),
        LayerConductance(BASE, budget=8), NeuronConductance(BASE, budget=16), Layerwise(BASE, 8),
    ],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_one_slice_is_an_image(explainer: Any) -> None:
    one, other = twins()
    found = explainer.explain(one.model, one.inputs, one.targets, rng=one.rng)
    same = explainer.explain(other.model, other.inputs, other.targets, rng=other.rng)
    near(found.attribution.squeeze(2), same.attribution)
    for name, values in found.layers.items():
        near(values.reshape(same.layers[name].shape), same.layers[name])


def smooth() -> toy_worlds.World:
    layers = [
        nn.Conv3d(2, 3, 3, padding=1), nn.Tanh(), nn.AvgPool3d(2), nn.Conv3d(3, 4, 3, padding=1),
        nn.Softplus(), nn.Flatten(), nn.Linear(72, 3),
    ]  # fmt: skip
    network = drawn(nn.Sequential(*layers))
    for parameter in network.parameters():
        parameter.data.mul_(0.3)
    return world(network)


@pytest.mark.slow
def test_layers_conduct_the_credits_of_x() -> None:
    here = smooth()
    found = Layerwise(BASE, 5).explain(here.model, here.inputs, here.targets, rng=here.rng)
    near(found.attribution, here.explain(IntegratedGradients(BASE, 5)))
    assert {"0", "2", "3"} <= set(found.layers)
    for conducted in found.layers.values():
        near(conducted.flatten(1).sum(1), found.attribution.flatten(1).sum(1))


@pytest.mark.parametrize(
    "explainer", [LayerConductance(BASE, budget=24), LayerIntegratedGradients(BASE, budget=160)]
)
def test_maps_over_volumes_are_complete(explainer: Any) -> None:
    here = smooth()
    change = output(here, here.inputs.x) - output(here, torch.full_like(here.inputs.x, 0.2))
    near(here.explain(explainer).flatten(1).sum(1), change, 1e-6)


def test_captum_says_the_same(any_algorithm: None) -> None:
    """Captum needs a linear layer between an activation and a pool."""
    attr = pytest.importorskip("captum.attr")
    layers = [
        nn.Conv3d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv3d(3, 3, 1), nn.MaxPool3d(2),
        nn.Conv3d(3, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3),
    ]  # fmt: skip
    here = world(drawn(nn.Sequential(*layers)))
    x, start = here.inputs.x.clone().requires_grad_(), torch.full_like(here.inputs.x, 0.2)
    theirs = attr.DeepLift(here.model.module).attribute(x, start, target=here.targets)
    near(here.explain(DeepLIFT(BASE)), theirs.detach())
