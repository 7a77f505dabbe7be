"""A component that writes into what others read is found out, and harms nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import xai_bench
from tests.support import toy_worlds
from xai_bench.core.baselines import Marginal
from xai_bench.core.calls.module_state import ModuleState
from xai_bench.metrics.probes.removal.random_subsets import CoalitionValues
from xai_bench.types import Case, Explanation, Inputs, Kind, Model, Rng


@dataclass(frozen=True)
class Writing:
    """An explainer that is right, and does harm beside it."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "test"
    harm: Callable[[Model, Inputs, Tensor], object]

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        attribution = inputs.x.clone()
        self.harm(model, inputs, targets)
        return Explanation(attribution)


@dataclass(frozen=True)
class WritingMetric:
    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    harm: Callable[[Case], object]

    def score(self, case: Case) -> Tensor:
        self.harm(case)
        return torch.zeros(len(case.inputs))


def module_of(model: Model) -> nn.Sequential:
    assert isinstance(model.module, nn.Sequential)
    return model.module


OF_EXPLAINERS: dict[str, Callable[[Model, Inputs, Tensor], object]] = {
    "domain.background": lambda model, inputs, targets: inputs.domain.background.mul_(0),
    "domain.scale": lambda model, inputs, targets: inputs.domain.scale.numpy().fill(7),
    "inputs.x": lambda model, inputs, targets: inputs.x.mul_(0),
    "inputs.units": lambda model, inputs, targets: inputs.units[0].fill_(0),
    "inputs.index": lambda model, inputs, targets: inputs.index.zero_(),
    "targets": lambda model, inputs, targets: targets.zero_(),
    "the values of '0.weight'": lambda model, *_: module_of(model)[0].weight.data.mul_(2),
    "the hooks of layer '0'": lambda model, *_: module_of(model)[0].register_forward_hook(
        lambda layer, args, out: out * 0
    ),
    "the mode of layer '1'": lambda model, *_: module_of(model)[1].train(),
}

OF_METRICS: dict[str, Callable[[Case], object]] = {
    "attribution": lambda case: case.attribution.mul_(-5),
    "inputs.x": lambda case: case.inputs.x.mul_(0),
    "inputs.units": lambda case: case.inputs.units[0].fill_(0),
    "domain.background": lambda case: case.inputs.domain.background.mul_(0),
    "targets": lambda case: case.targets.zero_(),
    "the measurement CoalitionValues": lambda case: case.measure(
        CoalitionValues(Marginal(), 100, 0.2)
    ).drop.mul_(3),
    "labels": lambda case: case.labels is None or case.labels.zero_(),
    "the values of '0.weight'": lambda case: module_of(case.model)[0].weight.data.mul_(2),
    "the hooks of layer '0'": lambda case: module_of(case.model)[0].register_forward_hook(
        lambda layer, args, out: out * 0
    ),
}


def world() -> tuple[nn.Sequential, xai_bench.Workbench]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.ReLU(), nn.Linear(8, 3)).double()
    x, background = toy_worlds.normal(6, 4), toy_worlds.normal(20, 4, seed=1)
    labels = torch.tensor([0, 1, 2, 2, 1, 1])
    return net, xai_bench.workbench(net, x, background=background, labels=labels)


def scores(bench: xai_bench.Workbench, *metrics: Any) -> dict[str, Tensor]:
    return bench.judge("gradient", [*metrics, "abpc", "infidelity", "gini"])


@pytest.mark.sample(3, others="slow")
@pytest.mark.parametrize("name", OF_EXPLAINERS)
def test_an_explainer_that_writes_is_named_and_changes_no_number(name: str) -> None:
    net, bench = world()
    _, fresh = world()
    state = ModuleState.of(net)
    with pytest.raises(ValueError, match=f"explainer 'Writing' changed .*{name}"):
        bench.explain(Writing(OF_EXPLAINERS[name]))
    assert state.changes() == []
    expected = scores(fresh)
    for metric, values in scores(bench).items():
        assert torch.equal(values, expected[metric])


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("name", OF_METRICS)
def test_a_metric_that_writes_is_named_and_changes_no_number(name: str) -> None:
    net, bench = world()
    _, fresh = world()
    state = ModuleState.of(net)
    found = scores(bench, WritingMetric(OF_METRICS[name]))
    assert "metric 'WritingMetric' changed" in found.reasons["WritingMetric"]  # type: ignore[attr-defined]
    assert name in found.reasons["WritingMetric"]  # type: ignore[attr-defined]
    assert state.changes() == []
    for metric, values in scores(fresh).items():
        assert torch.equal(found[metric], values)


@pytest.mark.parametrize(
    "setting",
    [
        lambda: torch.set_grad_enabled(False),
        lambda: torch.set_default_dtype(torch.float16),
        lambda: torch.set_num_threads(2),
    ],
)
def test_settings_of_torch_end_with_the_component(setting: Callable[[], object]) -> None:
    _, bench = world()
    before = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    bench.explain(Writing(lambda *_: setting()))
    bench.judge("gradient", WritingMetric(lambda case: setting()))
    after = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    assert after == before


class Counting(nn.Module):
    """A module that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.layer(x)
        return out


def test_nobody_is_blamed_for_what_a_module_writes_into_its_own_buffers() -> None:
    net, x = Counting(), torch.randn(5, 4)
    bench = xai_bench.workbench(net, x, background=x)
    assert bench.judge("gradient", ["abpc", "gini"]).reasons == {}
    assert net.calls == 0


def test_a_metric_that_calls_exit_has_failed() -> None:
    _, bench = world()
    found = bench.judge("gradient", ["gini", WritingMetric(lambda case: exit(0))])
    assert found.reasons == {"WritingMetric": "exit(0) was called"}
    assert found["gini"].isfinite().all()
