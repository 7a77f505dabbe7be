"""Models as people bring them are given back exactly as they were, whatever their forward does."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import xai_bench
from xai_bench.models.caller import modules_of

X, BACKGROUND = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), torch.eye(6)
GLOBAL = nn.Linear(6, 3)


def layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def normed() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).train()


class Remembering(nn.Module):
    """Counts its calls in buffers, tensors and numbers, and keeps what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls, self.seen = layers(), 0, list[Tensor]()
        self.register_buffer("total", torch.zeros(1))
        self.register_buffer("rebound", torch.zeros(1))
        self.plain, self.cache = torch.zeros(1), dict[int, Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(x)
        self.total += 1
        self.rebound = self.rebound + 1
        self.plain += 1
        self.cache[len(x)] = x
        self.last = self.inner(x)
        return self.last


class Seeding(nn.Module):
    """Sets the global generators, as for the same dropout in every call."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = layers()

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(7)
        np.random.seed(3)  # noqa: NPY002
        random.seed(1)
        return self.inner(x)


class Listing(nn.Module):
    """Keeps networks in a list, where it does not count them as layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.others = layers(), [normed(), normed()]

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + sum(other(x) for other in self.others)


class Holding:
    """No module, but has one."""

    def __init__(self) -> None:
        self.net = normed()

    def predict(self, x: Tensor) -> Tensor:
        return self.net(x)

    def __call__(self, x: Tensor) -> Tensor:
        return self.net(x)


class Named(nn.Module):
    """Gives an object with `.logits`, as language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = layers()

    def forward(self, x: Tensor) -> Any:
        return SimpleNamespace(logits=self.inner(x), hidden=x)


def pruned() -> nn.Module:
    net = layers()
    prune.l1_unstructured(net[0], "weight", amount=0.3)
    return net


def sloped() -> nn.Module:
    net = layers()
    net[0].requires_grad_(requires_grad=False)
    net[2].weight.grad = torch.ones(3, 8)
    return net


def hooked() -> nn.Module:
    net = layers()
    net[2].register_forward_hook(lambda layer, args, out: out * 2)
    return net


MODELS: dict[str, Callable[[], Any]] = {
    "statistics": normed,
    "memory": Remembering,
    "seeds": Seeding,
    "a list of networks": Listing,
    "a method": lambda: Holding().predict,
    "an object": Holding,
    "logits": Named,
    "pruned": pruned,
    "weight norm": lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 8)), nn.ReLU()),
    "spectral norm": lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(6, 8)), nn.ReLU()),
    "slopes": sloped,
    "hooks": hooked,
    "scripted": lambda: torch.jit.script(layers()),
    "bfloat16": lambda: layers().bfloat16(),
    "parallel": lambda: nn.DataParallel(layers()),
}
EXPLAINERS = ("gradient", "lime", "lrp_epsilon", "grad_cam", "guided_backprop", "deeplift")


def state(model: Any) -> dict[str, Any]:
    """All that can be seen of a model, and the global generators."""
    seen: dict[str, Any] = {"torch": torch.get_rng_state().tolist(), "python": random.getstate()}
    numpy: Any = np.random.get_state()  # noqa: NPY002
    seen["numpy"] = numpy[1].tolist()
    for place, module in enumerate(modules_of(model)):
        for name, layer in module.named_modules():
            for key, value in vars(layer).items():
                seen[f"{place} {name} {key}"] = _content(value)
    return seen


def _content(value: Any) -> Any:
    if isinstance(value, Tensor):
        grad = _content(value.grad) if value.is_leaf else None
        return id(value), value.tolist(), value.requires_grad, grad
    if isinstance(value, dict):
        return {key: _content(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_content(inner) for inner in value]
    return value if isinstance(value, bool | int | float | str) else id(value)


@pytest.mark.sample(5, others="slow")
@pytest.mark.parametrize("name", MODELS)
def test_nothing_of_a_model_is_another_after_it_was_explained(name: str) -> None:
    torch.manual_seed(1)
    model = MODELS[name]()
    before, modes = state(model), [m.training for m in modules_of(model)]
    bench = xai_bench.workbench(model, X, background=BACKGROUND)
    assert state(model) == before
    for explainer in EXPLAINERS:
        with suppress(ValueError, xai_bench.Unsupported):
            assert bench.explain(explainer).attribution.isfinite().all()
        assert state(model) == before, explainer
    bench.judge("gradient", ["abpc"])
    assert state(model) == before
    assert [m.training for m in modules_of(model)] == modes


def exported(net: nn.Module) -> nn.Module:
    rows = torch.export.Dim("rows", min=1, max=4096)
    return torch.export.export(net, (PICTURES,), dynamic_shapes=({0: rows},)).module()


def made_for_inference(net: nn.Module) -> nn.Module:
    with torch.inference_mode():
        return copy.deepcopy(net)


def normed_by_parts(net: nn.Module) -> nn.Module:
    nn.utils.parametrizations.weight_norm(net[0])  # type: ignore[index]
    return net


WRAPPED: dict[str, Callable[[nn.Module], Any]] = {
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "compiled, a function": lambda net: torch.compile(lambda x: net(x), backend="eager"),
    "compiled ahead of its slopes": lambda net: torch.compile(net.train(), backend="aot_eager"),
    "traced": lambda net: torch.jit.trace(net, PICTURES),
    "frozen": lambda net: torch.jit.freeze(torch.jit.script(net.eval())),
    "exported": exported,
    "made for inference": made_for_inference,
    "parallel": nn.DataParallel,
    "parametrised": normed_by_parts,
    "averaged": torch.optim.swa_utils.AveragedModel,
}
"""The same network in other hands."""
PICTURES = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(3))
SQUARES = torch.arange(4)[:, None] // 2 * 2 + torch.arange(4) // 2


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=getattr(pytest.mark, "exhaustive" if "comp" in name else "slow"))
        for name in WRAPPED
    ],
)
def test_a_wrapped_network_has_the_explanations_of_its_own(name: str) -> None:
    torch.manual_seed(4)
    net = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))
    plain, model = copy.deepcopy(net), WRAPPED[name](copy.deepcopy(net))
    before = state(model)
    here, there = (
        xai_bench.workbench(each, PICTURES, background=PICTURES, units=SQUARES)
        for each in (plain, model)
    )
    n_explained = 0
    for explainer in ("saliency", "integrated_gradients", "kernel_shap", "grad_cam"):
        try:
            found = there.explain(explainer).attribution
        except xai_bench.Unsupported:
            continue
        n_explained += 1
        torch.testing.assert_close(found, here.explain(explainer).attribution)
    assert n_explained >= (1 if name == "made for inference" else 3)
    assert state(model) == before


def test_a_network_that_takes_one_number_of_rows_is_a_sentence() -> None:
    fixed = torch.export.export(layers(), (X,)).module()
    with pytest.raises(ValueError, match=r"Guard failed.*; export it with dynamic_shapes"):
        xai_bench.workbench(fixed, X, background=BACKGROUND)


@pytest.mark.parametrize("norm", [nn.utils.weight_norm, pruned], ids=["norm", "pruned"])
def test_weights_that_a_hook_makes_are_those_of_the_layer(norm: Any) -> None:
    torch.manual_seed(2)
    net = layers() if norm is not pruned else pruned()
    net[0] = norm(net[0]) if norm is not pruned else net[0]
    net(X)
    plain = layers()
    with torch.no_grad():
        for own, other in ((plain[0], net[0]), (plain[2], net[2])):
            own.weight.copy_(other.weight)
            own.bias.copy_(other.bias)
    found = [
        xai_bench.workbench(each, X, background=BACKGROUND).explain("lrp_epsilon").attribution
        for each in (net, plain)
    ]
    torch.testing.assert_close(found[0], found[1])


def test_modules_are_found_wherever_a_function_names_them() -> None:
    one, two = nn.Linear(6, 3), nn.Linear(6, 3)
    holding = Holding()

    def helper(x: Tensor) -> Tensor:
        return one(x)

    functions: list[tuple[Any, list[nn.Module]]] = [
        (lambda x: GLOBAL(x), [GLOBAL]),
        (lambda x: sum([GLOBAL(x) for _ in range(2)]), [GLOBAL]),
        (lambda x: helper(x), [one]),
        (lambda x, net=two: net(x), [two]),
        (lambda x, nets={"a": [two]}: nets["a"][0](x), [two]),
        (holding.predict, [holding.net]),
        (holding, [holding.net]),
        (torch.no_grad()(one.forward), [one]),
        (lambda x: x.sum(1), []),
        (one, [one]),
    ]
    for function, expected in functions:
        assert list(modules_of(function)) == expected


def test_scripted_networks_are_not_looked_into() -> None:
    bench = xai_bench.workbench(torch.jit.script(layers()), X, background=BACKGROUND)
    for explainer in ("grad_cam", "deeplift", "guided_backprop"):
        with pytest.raises(xai_bench.Unsupported, match="scripted or traced"):
            bench.explain(explainer)


def test_what_a_library_raises_is_one_sentence() -> None:
    pytest.importorskip("captum")
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(6, 6), relu, nn.Linear(6, 6), relu, nn.Linear(6, 3))
    bench = xai_bench.workbench(net, X, background=BACKGROUND)
    with pytest.raises(ValueError, match="the library raised RuntimeError: A Module ReLU"):
        bench.explain("captum_deeplift")


def test_a_model_without_numbers_is_not_blamed_on_the_explainer() -> None:
    bench = xai_bench.workbench(lambda x: x * torch.nan, X, background=BACKGROUND)
    with pytest.raises(ValueError, match="the model's own output is so for 4 of them"):
        bench.explain("gradient")
