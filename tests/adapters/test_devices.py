"""Proves that a model on another device gives what it gives on the CPU, to rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import xai_bench
from xai_bench.adapters import devices
from xai_bench.models.caller import ElsewherePredictor

NAMES = ["gradient", "integrated_gradients", "leave_one_out", "kernel_shap", "lime"]
X = torch.linspace(-1, 1, 24).view(6, 4)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def maps(model: Any, x: Any, **given: Any) -> list[Tensor]:
    bench = xai_bench.workbench(model, x, background=x, **given)
    return [bench.explain(name).attribution for name in NAMES]


def test_the_way_to_a_device_and_back_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU under another number stands for the device."""
    net = network()
    here = maps(net, X)
    both = {"a": X[:, :2], "b": X[:, 2:]}
    joined = [maps(lambda a, b: net(torch.cat([a, b], 1)), both)]
    monkeypatch.setattr(devices, "device_of", lambda *_: torch.device("cpu", 0))
    bench = xai_bench.workbench(net, X, background=X)
    assert isinstance(bench.caller.predictor, ElsewherePredictor)
    joined.append(maps(lambda a, b: net(torch.cat([a, b], 1)), both))
    for first, second in (*zip(here, maps(net, X), strict=True), *zip(*joined, strict=True)):
        torch.testing.assert_close(first, second)
    with pytest.raises(xai_bench.Unsupported):
        bench.explain("deeplift")


def test_a_device_that_is_not_there_is_one_sentence() -> None:
    net = network()
    assert xai_bench.workbench(net, X, background=X, device="cpu").caller.modules == (net,)
    assert devices.device_of("auto", net, X) == devices.available()[0]
    with pytest.raises(ValueError, match="device='tpu' is not there; choose from auto, "):
        xai_bench.workbench(net, X, background=X, device="tpu")


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
