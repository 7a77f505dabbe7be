"""Proves that explainers and metrics give the same numbers beside a network on another device.

The device is pretended (`tests/support/strict_device.py`): a tensor that somebody makes without
saying where is one of the CPU, and mixes with nothing there.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tests.support.components import component, options, representatives
from tests.support.strict_device import DEVICE, Pretended, placed, strict_device
from tests.support.text import corpus
from tests.support.toy_worlds import WORLDS, World
from xai_bench.certify.variants import with_model_variants
from xai_bench.core.seeds import Seeds
from xai_bench.core.system.devices import CPU
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.loop import evaluate
from xai_bench.evaluation.placement import device_for
from xai_bench.models.base import Explained
from xai_bench.models.targets import PredictedLogit
from xai_bench.models.training import Training
from xai_bench.models.transformers.recipes import TextTransformer
from xai_bench.results import ExplainerResult
from xai_bench.types import Unsupported

SMALLER = {"n_samples": 8, "n_orders": 16, "budget": 64, "n_draws": 8, "n_models": 2}
BESIDE = [n for n in options("explainer") if device_for(component("explainer", n), DEVICE) != CPU]
"""What goes back through a network or looks into it. All others work on the CPU on purpose: they
only ask the network, so that what they draw, solve and add up has the same bits wherever it is."""

FORWARD_MODE = {"layerwise", "layer_conductance", "neuron_conductance"}
"""Derivatives in forward mode, which torch does not survive of tensors that are pretended: it is
looked at what they make instead."""

MAKING = {getattr(torch, name) for name in ("zeros", "ones", "full", "empty", "arange", "eye",
          "tensor", "rand", "randn", "linspace", "randperm", "as_tensor")}  # fmt: skip


class Unplaced(TorchFunctionMode):
    """Notes where the package makes a tensor without saying on which device."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in MAKING and "device" not in (kwargs or {}):
            frame = next(f for f in traceback.extract_stack()[-2::-1] if "torch" not in f.filename)
            self.places.add(f"{frame.filename}:{frame.lineno}: {frame.line}")
        return func(*args, **kwargs or {})


def small(group: str, name: str) -> Any:
    made = component(group, name)
    changes = {k: min(getattr(made, k), most) for k, most in SMALLER.items() if getattr(made, k, 0)}
    return replace(made, **changes)


@cache
def tokens() -> World:
    bundle = corpus()
    recipe = TextTransformer(training=Training(max_epochs=0))
    predictor = recipe.train(bundle, seed=0, on_epoch=lambda _: None).predictor
    inputs = bundle.evaluation(4, 8)
    model = Explained(predictor, PredictedLogit(), max_rows=64)
    with torch.no_grad():
        targets = model.outputs(inputs).argmax(1)
    return World(model, inputs, targets)


def worlds() -> dict[str, Any]:
    return {**WORLDS, "tokens": tokens}


def context_of(world: World, *, there: bool) -> EvaluationContext:
    predictor = world.model.predictor
    if there:
        predictor = replace(predictor, module=placed(predictor.module))
    n = len(world.inputs)
    return EvaluationContext(
        replace(world.model, predictor=predictor),
        world.inputs,
        world.targets,
        Seeds(0),
        groups={"group": torch.arange(n) % 2},
        labels=world.targets,
        variants=world.variants,
    )


def evaluated(world: World, name: str, metrics: list[str], *, there: bool) -> ExplainerResult:
    explainer = ConfiguredExplainer(name, small("explainer", name))
    chosen = [ConfiguredMetric(m, small("metric", m)) for m in metrics]
    return evaluate(context_of(world, there=there), explainer, chosen)


def equal(first: Tensor, second: Tensor) -> bool:
    """But for rounding, by where a row lies in memory."""
    return torch.allclose(first, second, rtol=1e-6, atol=1e-9, equal_nan=True)


def same(name: str, where: str, metrics: list[str]) -> list[str]:
    world = worlds()[where]()
    world = with_model_variants(world) if where != "tokens" else world
    expected = evaluated(world, name, metrics, there=False)
    with strict_device():
        found = evaluated(world, name, metrics, there=True)
    if found.outcome.status != expected.outcome.status:
        return [f"{where}, {name}: {found.outcome.reason} {found.outcome.trace}"]
    faults = []
    if expected.explanation is not None and found.explanation is not None:
        for part, values in expected.explanation.tensors().items():
            other = found.explanation.tensors()[part]
            if isinstance(other, Pretended) or not equal(other, values):
                faults.append(f"{where}, {name}: {part} differs")
    for metric, scores in expected.scores.items():
        one, what = found.scores[metric], f"{where}, {name}, {metric}"
        if one.outcome.status != scores.outcome.status:
            faults.append(f"{what}: {one.outcome.reason} {one.outcome.trace}")
        elif scores.reproducible and not equal(one.values, scores.values):
            faults.append(f"{what}: scores differ")
    return faults


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["gradient", "smoothgrad", "deeplift", "lrp_epsilon", "grad_cam", "kernel_shap"]
)
def test_some_of_each_kind(name: str) -> None:
    metrics = ["deletion", "relative_representation_stability", "mprt_top_down"]
    faults = same(name, "image", metrics)
    assert not faults, "\n".join(faults)


@pytest.mark.exhaustive
@pytest.mark.parametrize("where", ["tabular", "image", "tokens"])
def test_explainers_beside_the_network(where: str) -> None:
    names = [name for name in BESIDE if name not in FORWARD_MODE]
    faults = [fault for name in names for fault in same(name, where, [])]
    assert not faults, "\n".join(faults)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FORWARD_MODE))
def test_derivatives_in_forward_mode_say_where_they_make_a_tensor(name: str) -> None:
    world = WORLDS["image"]()
    with Unplaced() as noted:
        assert evaluated(world, name, [], there=False).outcome.status == "ok"
    strays = [place for place in noted.places if "explainers/layerwise" in place]
    assert strays == []
    with Unplaced() as noted:
        torch.ones(2)
    assert len(noted.places) == 1, "a tensor without a device is noted"


@pytest.mark.exhaustive
@pytest.mark.parametrize("where", ["tabular", "tokens"])
def test_explainers_on_the_cpu(where: str) -> None:
    names = sorted(representatives("explainer") - set(BESIDE))
    faults = [fault for name in names for fault in same(name, where, [])]
    assert not faults, "\n".join(faults)


@pytest.mark.exhaustive
@pytest.mark.parametrize("where", ["image", "tokens"])
def test_metrics(where: str) -> None:
    faults = same("gradient", where, options("metric"))
    assert not faults, "\n".join(faults)


def test_without_float64_nothing_is_looked_into() -> None:
    """As on Apple's devices: networks are asked there, from the CPU."""
    apple = torch.device("mps")
    assert device_for(component("explainer", "gradient"), apple) == CPU
    assert device_for(component("explainer", "kernel_shap"), apple) == CPU
    with pytest.raises(Unsupported, match="float64, which device=mps does not have"):
        device_for(component("explainer", "grad_cam"), apple)


def test_libraries_that_draw_stay_on_the_cpu() -> None:
    """They draw from the global generator of the device that x is on."""
    assert device_for(component("explainer", "captum_noise_tunnel"), DEVICE) == CPU
    assert device_for(component("explainer", "captum_guided_backprop"), DEVICE) == DEVICE


@pytest.mark.slow
def test_a_tensor_that_says_no_place_mixes_with_nothing() -> None:
    """The device that is pretended refuses what an accelerator refuses."""
    with strict_device():
        there = torch.ones(3).to(DEVICE)
        assert torch.equal((there + there.new_ones(3)).cpu(), torch.full((3,), 2.0))
        assert torch.equal(there[torch.arange(2)].cpu(), torch.ones(2))
        for mixed in (
            lambda: there + torch.ones(3),
            lambda: torch.zeros(3)[there.long()],
            lambda: torch.where(there > 0, torch.zeros(3), there),
            lambda: there.numpy(),
        ):
            with pytest.raises(RuntimeError):
                mixed()
