"""LRP: rules worked out by hand, relevance conserved, captum's numbers, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support import toy_worlds
from xai_bench.explainers.backprop.lrp import LRP
from xai_bench.models.base import Explained
from xai_bench.models.targets import PredictedProbability
from xai_bench.types import Unsupported

EXACT = LRP(epsilon=0.0)
GAMMA = LRP("gamma", "gamma", gamma=1.0)
PLUS = LRP("z_plus", "z_plus")
COMPOSITE = LRP("epsilon", "gamma", epsilon=0.0)
RULES = {"epsilon": EXACT, "gamma": GAMMA, "z_plus": PLUS, "composite": COMPOSITE}
rules = pytest.mark.parametrize("method", RULES.values(), ids=list(RULES))


def build(
    *layers: nn.Module, shape: tuple[int, ...] = (4,), n: int = 5, bias: bool = True
) -> toy_worlds.World:
    """A seeded network; `bias=False` sets all biases to 0."""
    generator = torch.Generator().manual_seed(3)
    module = nn.Sequential(*layers).double().eval()
    with torch.no_grad():
        for name, p in module.named_parameters():
            drawn = torch.randn(p.shape, dtype=torch.float64, generator=generator)
            p.copy_(drawn * (0 if name.endswith("bias") and not bias else 1))
    units = torch.arange(torch.Size(shape).numel()).view(shape)
    return toy_worlds.world(
        module, toy_worlds.normal(n, *shape), units, toy_worlds.normal(8, *shape, seed=2)
    )


def neuron(
    weight: Sequence[float],
    x: Sequence[float],
    bias: float = 0.0,
    ends: tuple[float, float] = (0, 0),
) -> toy_worlds.World:
    """One linear unit, seen at one point; `ends` are the range of the background."""
    layer = nn.Linear(len(weight), 1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weight]))
        layer.bias.fill_(bias)
    background = torch.tensor(ends).double()[:, None].expand(2, len(x))
    return toy_worlds.world(layer, torch.tensor([x]).double(), torch.arange(len(x)), background)


@pytest.mark.parametrize(
    ("method", "world", "expected"),
    [
        # z = 3 - 2 = 1.
        pytest.param(EXACT, neuron([3, -1], [1, 2]), [3, -2], id="epsilon 0"),
        pytest.param(LRP(epsilon=0.5), neuron([3, -1], [1, 2]), [2, -4 / 3], id="epsilon"),
        # Below 0, epsilon moves the output further down: -1 / -1.5.
        pytest.param(LRP(epsilon=0.5), neuron([-3, 1], [1, 2]), [-2, 4 / 3], id="negative epsilon"),
        # Parts 3 + 3 and -2 of a whole of 4.
        pytest.param(GAMMA, neuron([3, -1], [1, 2]), [1.5, -0.5], id="gamma"),
        pytest.param(GAMMA, neuron([-3, -1], [-1, 2]), [1.5, -0.5], id="gamma, negative input"),
        pytest.param(GAMMA, neuron([-3, 1], [1, 2]), [-1.5, 0.5], id="gamma, negative output"),
        pytest.param(PLUS, neuron([3, -1], [1, 2]), [1, 0], id="z plus"),
        pytest.param(PLUS, neuron([-3, -1], [-1, 2]), [1, 0], id="z plus, negative input"),
        # z = 2, of which the bias takes 1 of 2; 2 of 6; 1 of 4.
        pytest.param(EXACT, neuron([3, -1], [1, 2], 1.0), [3, -2], id="epsilon, bias"),
        pytest.param(GAMMA, neuron([3, -1], [1, 2], 1.0), [2, -2 / 3], id="gamma, bias"),
        pytest.param(PLUS, neuron([3, -1], [1, 2], 1.0), [1.5, 0], id="z plus, bias"),
        # A negative bias is no positive part.
        pytest.param(PLUS, neuron([3, -1], [1, 2], -0.5), [0.5, 0], id="z plus, negative bias"),
        # Equal shares, whatever the input is.
        pytest.param(LRP(first="flat"), neuron([3, -1], [1, 0]), [1.5, 1.5], id="flat"),
        # From the corner (-1, 1): 2 (0.5 + 1) = 3 and -1 (0 - 1) = 1, of a whole of 4.
        pytest.param(
            LRP(first="z_box"), neuron([2, -1], [0.5, 0], 0.0, (-1, 1)), [0.75, 0.25], id="z box"
        ),
    ],
)  # fmt: skip
def test_one_neuron_by_hand(method: LRP, world: toy_worlds.World, expected: list[float]) -> None:
    assert torch.allclose(world.explain(method), torch.tensor([expected]).double(), atol=1e-12)


def test_two_layers_by_hand() -> None:
    # h = relu(x0 + x1, x0 - x1) = (3, 0) at (1, 2); the output is 2 h0 + 5 h1 = 6. With epsilon 3,
    # h0 gets 6 * 6 / 9 = 4, and x gets 4 * (1, 2) / (3 + 3).
    world = build(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False), shape=(2,))
    module = world.model.module
    assert isinstance(module, nn.Sequential)
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0, 1], [1, -1]]))
        module[2].weight.copy_(torch.tensor([[2.0, 5]]))
    one = toy_worlds.World(
        world.model,
        world.inputs.take(torch.tensor([0])).with_x(torch.tensor([[1.0, 2]]).double()),
        torch.tensor([0]),
    )
    assert torch.allclose(one.explain(LRP(epsilon=3.0)), torch.tensor([[4 / 6, 8 / 6]]).double())


@rules
def test_linear_models_without_bias(method: LRP) -> None:
    """Input times weight by the exact rule; by all rules where all parts have one sign."""
    layer = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[4.0, 0.5, 1]]))
    x = toy_worlds.normal(6, 3).abs()
    world = toy_worlds.world(layer, x, torch.arange(3), toy_worlds.normal(8, 3))
    assert torch.allclose(world.explain(method), layer.weight * x, atol=1e-12)
    mixed = toy_worlds.World(
        world.model, world.inputs.with_x(toy_worlds.normal(6, 3)), world.targets
    )
    if method is EXACT:
        assert torch.allclose(mixed.explain(method), layer.weight * mixed.inputs.x, atol=1e-12)


def cnn(*, bias: bool) -> toy_worlds.World:
    return build(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, padding=1), nn.LeakyReLU(0.2), nn.AvgPool2d(2), nn.Dropout(),
        nn.Flatten(), nn.Linear(16, 3), shape=(2, 8, 8), bias=bias,
    )  # fmt: skip


@rules
@pytest.mark.parametrize("first", ["same", "flat", "z_box"])
def test_relevance_is_conserved(method: LRP, first: Any) -> None:
    world = cnn(bias=False)
    outputs = world.model.target_output(world.inputs, world.targets)
    total = world.explain(replace(method, first=first)).flatten(1).sum(1)
    assert torch.allclose(total, outputs.detach(), atol=1e-9)


def test_fewer_rows_on_the_way_back_change_nothing() -> None:
    """What biases absorb is counted for each sample, however a batch is split."""
    world = build(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2), n=40)
    few = replace(world, model=replace(world.model, max_gradient_rows=16))
    torch.testing.assert_close(few.explain(EXACT), world.explain(EXACT))


@rules
def test_biases_take_their_share(method: LRP) -> None:
    """Within the tolerance of rounding, nothing is lost; but the inputs no longer get it all."""
    world = cnn(bias=True)
    outputs = world.model.target_output(world.inputs, world.targets)
    total = world.explain(replace(method, tolerance=1e-12)).flatten(1).sum(1)
    assert ((total - outputs).abs() > 1e-3).any()


def test_a_composite_takes_each_layer_by_its_own_rule() -> None:
    dense = build(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    layers = nn.Conv1d(2, 2, 3), nn.ReLU(), nn.Conv1d(2, 2, 4), nn.Flatten()
    convolution = build(*layers, shape=(2, 6))
    assert torch.equal(dense.explain(COMPOSITE), dense.explain(EXACT))
    assert not torch.allclose(dense.explain(EXACT), dense.explain(GAMMA))
    gamma = replace(COMPOSITE, dense="gamma")
    assert torch.equal(convolution.explain(COMPOSITE), convolution.explain(gamma))
    assert not torch.allclose(convolution.explain(COMPOSITE), convolution.explain(EXACT))


class Residual(nn.Module):
    """`x + net(x)`, the net used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU())
        self.head = nn.Linear(4, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.net(x)
        out: Tensor = self.head(x + self.net(x))
        return out


@rules
def test_sums_and_layers_used_twice(method: LRP) -> None:
    world = build(Residual())
    outputs = world.model.target_output(world.inputs, world.targets).detach()
    assert torch.allclose(world.explain(method).sum(1), outputs, atol=1e-9)


@pytest.mark.sample(2, others="slow")
@rules
@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ((nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)), 2),
        ((nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)), 1),
        ((nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)), 1),
    ],
    ids=["image", "series", "dense"],
)
def test_batch_norm_is_merged_with_the_layer_before_it(
    method: LRP, layers: tuple[nn.Module, ...], shape: int
) -> None:
    size = (2, 6, 6) if shape == 2 else (2, 6)
    world = build(*layers, shape=size)
    module = world.model.module
    assert isinstance(module, nn.Sequential)
    where = next(k for k, m in enumerate(module) if hasattr(m, "running_mean"))
    with torch.no_grad():
        module[where].running_mean.add_(0.3)
        module[where].running_var.mul_(2.0)
    dense = isinstance(module[where - 1], nn.Linear)
    fuse = nn.utils.fusion.fuse_linear_bn_eval if dense else nn.utils.fusion.fuse_conv_bn_eval
    fused = nn.Sequential(
        *module[: where - 1], fuse(module[where - 1], module[where]), *module[where + 1 :]
    )
    units, background = world.inputs.units[0], world.inputs.domain.background
    expected = toy_worlds.world(fused, world.inputs.x, units, background)
    found = toy_worlds.World(world.model, world.inputs, expected.targets).explain(method)
    assert torch.allclose(found, expected.explain(method), atol=1e-9)


def test_batch_norm_before_anything_else_goes_by_epsilon() -> None:
    # 2 (x - 1) at 3: a scale of 2 and a shift of -2 on an input that contributes 6 of 4.
    norm = nn.BatchNorm1d(1, eps=0.0)
    world = build(norm, shape=(1,), n=1)
    with torch.no_grad():
        norm.weight.fill_(2.0)
        norm.bias.fill_(0.0)
        assert norm.running_mean is not None
        norm.running_mean.fill_(1.0)
    there = toy_worlds.World(
        world.model, world.inputs.with_x(torch.tensor([[3.0]]).double()), torch.tensor([0])
    )
    assert torch.allclose(there.explain(EXACT), torch.tensor([[6.0]]).double())


# Captum

RULES_OF_CAPTUM = "captum.attr._utils.lrp_rules"


def captums(world: toy_worlds.World, rule: Any) -> Tensor:
    """Captum's LRP with one rule for all linear layers, on a copy with fresh modules."""
    attr, known = pytest.importorskip("captum.attr"), pytest.importorskip(RULES_OF_CAPTUM)
    module = copy.deepcopy(world.model.module)
    assert module is not None
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            layer.rule = rule()  # type: ignore[assignment]
        if isinstance(layer, nn.Flatten):
            layer.rule = known.EpsilonRule()  # type: ignore[assignment]
    x = world.inputs.x.clone().requires_grad_()
    found: Tensor = attr.LRP(module).attribute(x, target=world.targets)
    return found.detach()


NETS = {
    "dense": ((nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)), (4,)),
    "image": (
        (nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(),
         nn.Flatten(), nn.Linear(16, 3)),
        (2, 8, 8),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("epsilon", [1e-6, 0.25])
def test_epsilon_agrees_with_captum(name: str, epsilon: float) -> None:
    rule = pytest.importorskip(RULES_OF_CAPTUM)
    layers, shape = NETS[name]
    world = build(*layers, shape=shape)
    theirs = captums(world, lambda: rule.EpsilonRule(epsilon))
    # Captum adds 1e-9 to what the pool and the activations divide by.
    assert torch.allclose(world.explain(LRP(epsilon=epsilon)), theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["gamma", "z_plus"])
def test_gamma_and_z_plus_agree_with_captum_where_inputs_are_positive(name: Any) -> None:
    # Captum changes weights, so its rules hold for inputs above 0 and without biases.
    rule = pytest.importorskip(RULES_OF_CAPTUM)
    world = build(*NETS["image"][0], shape=(2, 8, 8), bias=False, n=40)
    positive = world.inputs.with_x(world.inputs.x.abs())
    outputs = world.model.outputs(positive).detach()
    world = toy_worlds.World(world.model, positive, outputs.argmax(1))
    world = world.take((outputs.amax(1) > 0).nonzero()[:, 0])
    assert len(world.inputs) > 5
    made = (lambda: rule.GammaRule(0.25)) if name == "gamma" else rule.Alpha1_Beta0_Rule
    ours = world.explain(LRP(name, name))
    assert torch.allclose(ours, captums(world, made), rtol=1e-6, atol=1e-6)


# What is refused


class Functional(nn.Module):
    """A nonlinearity that is no layer."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.first, self.second, self.name = nn.Linear(4, 8), nn.Linear(8, 2), name

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(getattr(torch, self.name)(self.first(x)))
        return out


@pytest.mark.parametrize(("name", "sentence"), [("square", "pow"), ("exp", "exp"), ("abs", "abs")])
def test_functions_without_a_rule_are_refused(name: str, sentence: str) -> None:
    with pytest.raises(Unsupported, match=f"LRP has no rule for {sentence} .test_lrp.py, line"):
        build(Functional(name)).explain(LRP(tolerance=1e9))


@pytest.mark.parametrize(
    ("name", "layer"), [("tanh", nn.Tanh()), ("relu", nn.ReLU()), ("sigmoid", nn.Sigmoid())]
)
def test_functions_follow_the_rule_of_their_layer(name: str, layer: nn.Module) -> None:
    found, net = build(Functional(name)), Functional(name)
    same = build(nn.Sequential(net.first, layer, net.second))
    same.model.module.load_state_dict(  # type: ignore[union-attr]
        {
            k.replace("0.first", "0.0").replace("0.second", "0.2"): v
            for k, v in found.model.module.state_dict().items()  # type: ignore[union-attr]
        }
    )
    for method in (LRP(), LRP(dense="gamma"), LRP(dense="z_plus")):
        assert torch.equal(found.explain(method), same.explain(method))


def test_a_linear_function_that_is_no_layer_is_refused() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(self.first(x), torch.eye(2).double())

    with pytest.raises(Unsupported, match="linear is called as a function"):
        build(Net()).explain(LRP(dense="gamma"))


@pytest.mark.parametrize("layer", [nn.LayerNorm(4), nn.Softmax(1), nn.MultiheadAttention(4, 1)])
def test_layers_without_a_rule_are_refused(layer: nn.Module) -> None:
    with pytest.raises(Unsupported, match=f"no rule for {type(layer).__name__}"):
        LRP().explain(
            Explained(replace(toy_worlds.tabular().model.predictor, module=nn.Sequential(layer)),
                      toy_worlds.tabular().model.target),
            toy_worlds.tabular().inputs, toy_worlds.tabular().targets, rng=toy_worlds.tabular().rng,
        )  # fmt: skip


def test_probabilities_are_refused() -> None:
    world = toy_worlds.tabular()
    model = Explained(world.model.predictor, PredictedProbability())
    with pytest.raises(Unsupported, match="no rule for softmax"):
        toy_worlds.World(model, world.inputs, world.targets).explain(LRP())


def test_a_rule_for_the_first_layer_needs_to_see_the_input() -> None:
    with pytest.raises(Unsupported, match="take first=same"):
        toy_worlds.text().explain(LRP(first="flat"))
    with pytest.raises(Unsupported, match="take first=same"):
        build(nn.Tanh(), nn.Linear(4, 2)).explain(LRP(first="z_box"))


def test_nothing_is_left_behind_after_a_failure() -> None:
    world = build(nn.Linear(4, 4), nn.ReLU(inplace=True), Functional("exp"))
    before = [dict(m.__dict__) for m in (world.model.module or nn.Identity()).modules()]
    with pytest.raises(Unsupported):
        world.explain(LRP())
    after = [dict(m.__dict__) for m in (world.model.module or nn.Identity()).modules()]
    assert after == before
