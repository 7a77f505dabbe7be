"""Proves that a model on another device gives what it gives on the CPU, to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xai_bench
from tests.support.strict_device import DEVICE, strict_device
from xai_bench.adapters import devices
from xai_bench.core.system.devices import CPU, available, device_of

NAMES = ["gradient", "integrated_gradients", "leave_one_out", "kernel_shap", "lime"]
X = torch.linspace(-1, 1, 24).view(6, 4)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def maps(model: Any, x: Any, **given: Any) -> list[Tensor]:
    bench = xai_bench.workbench(model, x, background=x, **given)
    return [bench.explain(name).attribution for name in NAMES]


@pytest.mark.parametrize(
    ("asked", "there", "is_same"),
    [
        ("cpu", "cpu", True),
        ("cuda", "cuda:0", True),
        ("cuda:0", "cuda", True),
        ("cuda:1", "cuda:0", False),
        ("cuda:1", "cuda", False),
        ("cuda", "cpu", False),
    ],
)
def test_a_device_without_a_number_is_the_first_of_its_kind(
    asked: str, there: str, is_same: bool
) -> None:
    assert devices._same(torch.device(asked), torch.device(there)) == is_same


@pytest.mark.slow
def test_the_way_to_a_device_and_back_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module on a pretended device; for a function, the CPU under another number."""
    net, names = network(), [*NAMES, "deeplift"]
    plain = xai_bench.workbench(net, X, background=X)
    here = [plain.explain(name).attribution for name in names]
    with strict_device():
        monkeypatch.setattr(devices, "device_named", lambda _: DEVICE)
        bench = xai_bench.workbench(net, X, background=X, device="pretended")
        assert device_of(bench.context.model.module) == DEVICE
        there = [bench.explain(name).attribution for name in names]
    both = {"a": X[:, :2], "b": X[:, 2:]}
    joined = [maps(lambda a, b: net(torch.cat([a, b], 1)), both)]
    monkeypatch.setattr(devices, "device_named", lambda _: torch.device("cpu", 0))
    joined.append(maps(lambda a, b: net(torch.cat([a, b], 1)), both, device="pretended"))
    for first, second in (*zip(here, there, strict=True), *zip(*joined, strict=True)):
        torch.testing.assert_close(first, second)
    assert next(net.parameters()).device == CPU


@pytest.mark.slow
def test_another_precision_is_a_copy_and_says_how_far_it_is() -> None:
    net = network()
    plain, double, half = (
        xai_bench.workbench(net, X, background=X, precision=p) for p in (None, "float64", "bf16")
    )
    assert plain.precision_deviation is None
    assert double.precision_deviation < 1e-6 < 1e-4 < half.precision_deviation < 0.05
    assert double.context.inputs.x.dtype == torch.float64
    assert half.context.inputs.x.dtype == torch.float32
    name = "integrated_gradients"
    maps_of = [bench.explain(name).attribution for bench in (plain, double, half)]
    torch.testing.assert_close(maps_of[0].double(), maps_of[1], atol=1e-5, rtol=1e-4)
    assert not torch.equal(maps_of[0], maps_of[2])
    assert {weight.dtype for weight in net.parameters()} == {torch.float32}
    with pytest.raises(ValueError, match="precision='float16': there is none; did you mean"):
        xai_bench.workbench(net, X, precision="float16")
    with pytest.raises(ValueError, match="the model is a function: leave it out"):
        xai_bench.workbench(lambda x: x.sum(1), X, precision="bf16")


def test_a_device_that_is_not_there_is_one_sentence() -> None:
    net = network()
    assert xai_bench.workbench(net, X, background=X, device="cpu").caller.modules == (net,)
    assert devices.device_of("auto", net, X) == available()[0]
    with pytest.raises(ValueError, match="device='tpu' is not there; choose from auto, "):
        xai_bench.workbench(net, X, background=X, device="tpu")


no_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@no_cuda
@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_cuda_gives_what_the_cpu_gives(dtype: torch.dtype, tolerance: float) -> None:
    net, x = network().to(dtype), X.to(dtype)
    expected = maps(net, x)
    there = maps(network().to(dtype).cuda(), x.cuda())
    for first, second, third in zip(expected, there, maps(net, x, device="cuda"), strict=True):
        torch.testing.assert_close(first, second, atol=tolerance, rtol=tolerance)
        torch.testing.assert_close(first, third, atol=tolerance, rtol=tolerance)
    assert next(net.parameters()).device.type == "cpu"


@no_cuda
@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_scores_on_cuda_are_those_of_the_cpu(dtype: torch.dtype, tolerance: float) -> None:
    names = ["gradient", "deeplift", "lrp_epsilon", "smoothgrad", "kernel_shap", "random"]
    metrics = ["deletion", "infidelity", "max_sensitivity", "gini", "mprt_top_down"]
    here, there = (
        xai_bench.workbench(network().to(dtype), X.to(dtype), background=X.to(dtype), device=device)
        .compare(names, metrics)
        .to_numpy(dtype=float)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(here, there, rtol=tolerance, atol=tolerance)
