"""DeepLIFT: sums to the difference, agrees with captum, and refuses what it cannot see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support import toy_worlds
from xai_bench.core.baselines import Constant, Marginal, Mean
from xai_bench.explainers.backprop.deeplift import DeepLIFT, DeepLiftShap
from xai_bench.models.base import Explained
from xai_bench.models.targets import PredictedProbability
from xai_bench.types import Unsupported

torch.set_num_threads(1)


def build(*layers: nn.Module, shape: tuple[int, ...] = (4,), n: int = 5) -> toy_worlds.World:
    generator = torch.Generator().manual_seed(3)
    module = nn.Sequential(*layers).double()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, dtype=torch.float64, generator=generator))
    size = torch.Size(shape).numel()
    units = torch.arange(size).view(shape)
    return toy_worlds.world(
        module, toy_worlds.normal(n, *shape), units, toy_worlds.normal(8, *shape, seed=2)
    )


def test_linear_model():
    world = toy_worlds.linear([4.0, -3.0, 0.0], toy_worlds.normal(3, 3))
    expected = torch.tensor([4.0, -3, 0]).double() * (world.inputs.x - 0.5)
    assert torch.allclose(world.explain(DeepLIFT(Constant(0.5))), expected, atol=1e-12)


def test_rescale_rule_by_hand():
    # relu(x0 + x1) at (3, -1). From (0, 0) the sum goes from 0 to 2 and so does the output:
    # multiplier 1. From (-1, -1) the sum goes from -2 to 2, the output from 0 to 2: multiplier 1/2,
    # on a way of (4, 0).
    world = build(nn.Linear(2, 1), nn.ReLU(), shape=(2,))
    layer = world.model.module[0]
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(0.0)
    x = torch.tensor([[3.0, -1.0]]).double()
    one = toy_worlds.World(
        world.model, world.inputs.take(torch.tensor([0])).with_x(x), torch.tensor([0])
    )
    assert torch.allclose(one.explain(DeepLIFT(Constant(0.0))), x)
    assert torch.allclose(one.explain(DeepLIFT(Constant(-1.0))), torch.tensor([[2.0, 0]]).double())


def test_a_nonlinearity_that_stands_still_keeps_its_slope():
    # tanh(x0 + x1) from (0, 0) to (1, -1): no difference to divide by, and tanh'(0) = 1.
    world = build(nn.Linear(2, 1), nn.Tanh(), shape=(2,), n=1)
    layer = world.model.module[0]
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(0.0)
    x = torch.tensor([[1.0, -1.0]]).double()
    moved = toy_worlds.World(world.model, world.inputs.with_x(x), world.targets)
    assert torch.allclose(moved.explain(DeepLIFT(Constant(0.0))), x)


@pytest.mark.parametrize(
    ("x", "start", "expected"),
    [
        # 3 beats 2, so the winner of x, which moved by 3, answers for 1.
        pytest.param([3.0, 1.0], [0.0, 2.0], [1.0, 0.0], id="x wins"),
        # 1 loses to 3, so the winner of the reference, which moved by -3, answers for -2.
        pytest.param([0.0, 1.0], [3.0, 2.0], [-2.0, 0.0], id="the reference wins"),
        pytest.param([2.0, 1.0], [1.0, 2.0], [0.0, 0.0], id="tie"),
    ],
)
def test_max_pooling_by_hand(x, start, expected):
    world = build(nn.Unflatten(1, (1, 2)), nn.MaxPool1d(2), nn.Flatten(), shape=(2,), n=1)
    point = torch.tensor([x]).double()
    there = replace(world.inputs.domain, background=torch.tensor([start]).double())
    inputs = replace(world.inputs, x=point, domain=there)
    found = toy_worlds.World(world.model, inputs, world.targets).explain(DeepLIFT(Mean()))
    assert torch.allclose(found, torch.tensor([expected]).double())


@pytest.mark.parametrize("name", list(toy_worlds.WORLDS))
@pytest.mark.parametrize("baseline", [Mean(), Marginal(3)])
def test_adds_up_to_the_change_of_the_output(name, baseline):
    world = toy_worlds.WORLDS[name]()
    inputs = world.inputs
    starts = baseline.references(inputs, rng=world.rng)
    starts = torch.where((inputs.units < 0)[:, None], inputs.x[:, None], starts)
    there = [
        world.model.target_output(inputs.with_x(s), world.targets).detach()
        for s in starts.unbind(1)
    ]
    expected = world.model.target_output(inputs, world.targets) - torch.stack(there).mean(0)
    total = world.explain(DeepLIFT(baseline)).flatten(1).sum(1)
    assert torch.allclose(total, expected, atol=1e-9)


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param((nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), id="relu"),
        pytest.param(
            (nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.ELU(), nn.Linear(8, 3)), id="2"
        ),
        pytest.param((nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 3)), id="sigmoid"),
        pytest.param((nn.Linear(4, 8), nn.Softplus(), nn.Linear(8, 3)), id="softplus"),
    ],
)
def test_agreement_with_captum_on_networks(layers):
    world = build(*layers)
    assert_agreement(world)


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        pytest.param(
            (nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.MaxPool2d(2),
             nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)),
            (2, 8, 8), id="image",
        ),
        pytest.param(
            (nn.Conv1d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv1d(3, 3, 1), nn.MaxPool1d(2),
             nn.Flatten(), nn.Linear(18, 3)),
            (2, 12), id="series",
        ),
    ],
)  # fmt: skip
def test_agreement_with_captum_on_max_pooling(layers, shape, any_algorithm):
    # Captum 0.9 needs a linear layer between an activation and a pool: where one follows the other,
    # it hands on the ordinary gradient, and its contributions miss the change of the output.
    assert_agreement(build(*layers, shape=shape))


def assert_agreement(world: toy_worlds.World) -> None:
    attr = pytest.importorskip("captum.attr")
    x = world.inputs.x.clone().requires_grad_()
    start = torch.full_like(world.inputs.x, 0.2)
    theirs = attr.DeepLift(world.model.module).attribute(x, start, target=world.targets)
    ours = world.explain(DeepLIFT(Constant(0.2)))
    assert torch.allclose(ours, theirs.detach(), atol=1e-9)


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param((nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)), id="in place"),
        pytest.param(
            (nn.Unflatten(1, (1, 4)), nn.MaxPool1d(3, stride=1), nn.Flatten()), id="overlap"
        ),
        pytest.param(
            (nn.Unflatten(1, (1, 4)), nn.AdaptiveMaxPool1d(1), nn.Flatten()), id="adaptive"
        ),
        pytest.param((nn.Linear(4, 4), nn.PReLU(4), nn.GELU(), nn.Hardtanh()), id="others"),
    ],
)
def test_layers_that_are_harder_to_hook(layers):
    world = build(*layers)
    before = [dict(m.__dict__) for m in world.model.module.modules()]
    world.explain(DeepLIFT(Mean()))
    assert [dict(m.__dict__) for m in world.model.module.modules()] == before
    assert all(not m._forward_hooks for m in world.model.module.modules())


class Twice(nn.Module):
    """One activation used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.act = nn.Linear(4, 6), nn.Linear(6, 2), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.second(self.act(self.first(x))))
        return out


def test_a_layer_may_be_used_twice():
    assert build(Twice()).explain(DeepLIFT(Mean())).isfinite().all()


class Called(nn.Module):
    """Two linear layers, with functions between them in place of layers."""

    def __init__(self, *functions: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.functions = nn.Linear(4, 8), nn.Linear(8, 3), functions
        self.layers = nn.ModuleList(f for f in functions if isinstance(f, nn.Module))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for function in self.functions:
            h = function(h)
        out: Tensor = self.second(h)
        return out


class Writes(nn.Module):
    """Calls a function that overwrites its argument, and goes on with the argument."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, h: Tensor) -> Tensor:
        self.function(h)
        return h


@pytest.mark.sample(6, others="slow")
@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (nn.ReLU(), torch.relu), (nn.ReLU(), functional.relu), (nn.ReLU(), Tensor.relu),
        (nn.ReLU(), Writes(functional.relu_)), (nn.ReLU(), Writes(Tensor.relu_)),
        (nn.ReLU(), Writes(nn.ReLU(inplace=True))), (nn.ReLU(), lambda h: h.clamp(min=0)),
        (nn.Hardtanh(-1, 2), lambda h: torch.clamp(h, -1, 2)), (nn.Tanh(), torch.tanh),
        (nn.Sigmoid(), Tensor.sigmoid), (nn.GELU(), functional.gelu), (nn.SiLU(), functional.silu),
        (nn.LeakyReLU(0.3), lambda h: functional.leaky_relu(h, 0.3)), (nn.ELU(), functional.elu),
        (nn.Softplus(beta=2), lambda h: functional.softplus(h, beta=2)),
        (nn.Sequential(nn.Unflatten(1, (2, 4)), nn.MaxPool1d(3, 1, 1), nn.Flatten()),
         lambda h: functional.max_pool1d(h.unflatten(1, (2, 4)), 3, 1, padding=1).flatten(1)),
    ],
)  # fmt: skip
def test_functions_follow_the_rule_of_their_layer(layer, function):
    world, other = build(Called(layer)), build(Called(function))
    for explainer in (DeepLIFT(Mean()), DeepLiftShap(budget=12)):
        assert torch.equal(world.explain(explainer), other.explain(explainer))


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (torch.exp, r"exp \(test_deeplift.py, line \d+\)"),
        (lambda h: h * h, "mul"),
        (lambda h: h / h.abs().sum(1, keepdim=True), "abs .*div"),
        (lambda h: h * (h > 0), "mul"),
        (lambda h: torch.where(h > 0, h, 0.0), "where .* use nn.ReLU"),
        (lambda h: torch.maximum(h, torch.zeros_like(h)), "maximum .* use nn.ReLU"),
        (lambda h: h.softmax(1), "softmax"),
        (lambda h: functional.layer_norm(h, (8,)), "nativelayernorm"),
        (lambda h: functional.batch_norm(h, None, None, training=True), "nativebatchnorm"),
        (lambda h: h @ h.T @ h, "mm"),
    ],
)  # fmt: skip
def test_what_has_no_rule_is_refused_by_name_however_well_it_adds_up(function, sentence):
    with pytest.raises(Unsupported, match=f"DeepLIFT has no rule for {sentence}"):
        build(Called(function)).explain(DeepLIFT(Mean(), tolerance=1e9))


def test_residuals_and_layers_that_are_used_twice_have_a_rule():
    act = nn.ReLU()
    world = build(
        Called(act, lambda h: act(h - 1) + 2 * h, lambda h: functional.pad(h, (1, 0))[:, 1:])
    )
    change = [
        world.model.target_output(world.inputs.with_x(x), world.targets)
        for x in (world.inputs.x, world.inputs.domain.background.mean(0).expand(5, 4))
    ]
    found = world.explain(DeepLIFT(Mean())).sum(1)
    assert torch.allclose(found, change[0] - change[1], atol=1e-9)


def test_probabilities_are_refused():
    world = toy_worlds.tabular()
    model = Explained(world.model.predictor, PredictedProbability())
    with pytest.raises(Unsupported, match="no rule for softmax"):
        toy_worlds.World(model, world.inputs, world.targets).explain(DeepLIFT(Mean()))


def test_hooks_are_removed_after_a_failure():
    world = build(Called(torch.exp), nn.ReLU(inplace=True))
    with pytest.raises(Unsupported):
        world.explain(DeepLIFT(Mean()))
    assert world.model.module[1].inplace
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in world.model.module.modules())


def test_a_sample_equal_to_its_reference_gets_zeros():
    world = toy_worlds.tabular()
    same = toy_worlds.World(
        world.model, world.inputs.with_x(world.inputs.x * 0 + 0.2), world.targets
    )
    assert not same.explain(DeepLIFT(Constant(0.2))).any()
