"""Gradients and what is averaged from them, on functions whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from xai_bench.core.baselines import Constant, Marginal, Mean
from xai_bench.explainers.gradient.engine import gradient
from xai_bench.explainers.gradient.integrated import IntegratedGradients
from xai_bench.explainers.gradient.methods import Gradient, InputXGradient, LossInfluence, Saliency
from xai_bench.explainers.gradient.smoothing import ExpectedGradients, SmoothGrad
from xai_bench.models.base import Explained, TorchPredictor
from xai_bench.models.targets import Loss, PredictedLogit
from xai_bench.types import Inputs, Rng, Rows, Unsupported

torch.set_num_threads(1)
WEIGHT = [4.0, -3.0, 0.0, 1.0]


class Function(nn.Module):
    """`x -> [f(x)]` for a function of rows."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)[:, None]


def world_of(f, x: list[list[float]]) -> toy_worlds.World:
    points = torch.tensor(x, dtype=torch.float64)
    n = points.shape[1]
    return toy_worlds.world(Function(f), points, torch.arange(n), toy_worlds.normal(32, n, seed=3))


def change(world: toy_worlds.World, references: Tensor) -> Tensor:
    """`[B]`: f(x) minus the mean of f over references `[B, R, *S]`."""
    there = torch.stack(
        [
            world.model.target_output(world.inputs.with_x(r), world.targets)
            for r in references.unbind(1)
        ]
    )
    return world.model.target_output(world.inputs, world.targets) - there.mean(0)


def test_linear_model():
    world, w = toy_worlds.linear(WEIGHT, toy_worlds.normal(3, 4)), torch.tensor(WEIGHT).double()
    assert torch.equal(world.explain(Gradient()), w.expand(3, 4))
    assert torch.equal(world.explain(Saliency()), w.abs().expand(3, 4))
    assert torch.equal(world.explain(InputXGradient()), w * world.inputs.x)
    credits = world.explain(IntegratedGradients(Constant(0.5)))
    assert torch.allclose(credits, w * (world.inputs.x - 0.5), atol=1e-12)


def test_monomial_is_halved():
    world = world_of(lambda x: x[:, 0] * x[:, 1], [[2.0, 3.0, 7.0], [-1.0, 4.0, 7.0]])
    credits = world.explain(IntegratedGradients(Constant(0.0), budget=2))
    assert torch.allclose(credits, torch.tensor([[3.0, 3, 0], [-2, -2, 0]]).double(), atol=1e-12)


def test_gauss_legendre_is_exact_for_polynomials():
    # The gradient of x^6 along the line has degree 5 < 2 * 3.
    world = world_of(lambda x: x[:, 0] ** 6 + x[:, 1], [[2.0, 3.0]])
    credits = world.explain(IntegratedGradients(Constant(0.0), budget=3))
    assert torch.allclose(credits, torch.tensor([[64.0, 3.0]]).double(), atol=1e-11)


@pytest.mark.parametrize(
    ("quadrature", "square", "cube"),
    [
        # Of 2t and 3t^2 on [0, 1], whose integrals are 1, over 4 points.
        pytest.param("gauss_legendre", 1, 1),
        pytest.param("left", 3 / 4, 3 * (0 + 1 + 4 + 9) / 64),
        pytest.param("right", 5 / 4, 3 * (1 + 4 + 9 + 16) / 64),
        pytest.param("middle", 1, 1 - 1 / (4 * 4**2)),
        pytest.param("trapezoid", 1, 1 + 1 / (2 * 3**2)),
    ],
)
def test_quadratures_by_hand(quadrature, square, cube):
    world = world_of(lambda x: x[:, 0] ** 2 + x[:, 1] ** 3, [[1.0, 1.0]])
    credits = world.explain(IntegratedGradients(Constant(0.0), 4, quadrature))
    assert torch.allclose(credits, torch.tensor([[square, cube]]).double(), atol=1e-12)


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        # Flat beyond 1, where the gradient is 0.
        pytest.param(lambda x: 1 - (1 - x[:, 0]).relu(), [2.0, 5.0], [1.0, 0.0], id="saturation"),
        # The larger one leads all the way from 0.
        pytest.param(lambda x: x.amax(1), [3.0, 1.0], [3.0, 0.0], id="maximum"),
    ],
)
def test_what_the_gradient_misses(f, x, expected):
    world = world_of(f, [x])
    credits = world.explain(IntegratedGradients(Constant(0.0)))
    assert torch.allclose(credits, torch.tensor([expected]).double(), atol=1e-12)


def test_completeness_on_a_polynomial():
    f = lambda x: x[:, 0] ** 2 * x[:, 1] + x[:, 1] ** 3 - x[:, 0] * x[:, 1] * x[:, 2]  # noqa: E731
    world = world_of(f, toy_worlds.normal(20, 3).tolist())
    references = Mean().references(world.inputs, rng=world.rng)
    gap = world.explain(IntegratedGradients(Mean())).sum(1) - change(world, references)
    assert gap.abs().max() < 1e-6


def test_the_budget_is_shared_by_the_references():
    # 11 rows for 3 references: 3 points each, and the mean over references.
    world, baseline = toy_worlds.tabular(), Marginal(3)
    starts = baseline.references(world.inputs, rng=world.rng)
    each = [
        world.explain(IntegratedGradients(Fixed(start[:, None]), budget=3))
        for start in starts.unbind(1)
    ]
    found = world.explain(IntegratedGradients(baseline, budget=11))
    assert torch.allclose(found, sum(each) / 3, atol=1e-12)
    assert IntegratedGradients(baseline, budget=11).rows(5, 3) == Rows(9, 9)


@dataclass(frozen=True, eq=False)
class Fixed:
    """References as given."""

    at: Tensor

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        return self.at


def test_loss_influence_of_softmax_regression():
    # dC/dx = W^T (p - e_y).
    layer = nn.Linear(4, 3)
    x = toy_worlds.normal(5, 4)
    world = toy_worlds.world(layer, x, torch.arange(4), toy_worlds.normal(8, 4, seed=2))
    classes = torch.tensor([0, 1, 2, 0, 1])
    p = (x @ layer.weight.T + layer.bias).softmax(1)
    expected = (p - nn.functional.one_hot(classes, 3)) @ layer.weight
    found = toy_worlds.World(world.model, world.inputs, classes).explain(LossInfluence())
    assert torch.allclose(found, expected, atol=1e-12)


def test_loss_influence_is_the_gradient_of_the_loss():
    world = toy_worlds.image()
    loss = Explained(world.model.predictor, Loss())
    expected = toy_worlds.World(loss, world.inputs, world.targets).explain(Gradient())
    assert torch.allclose(world.explain(LossInfluence()), expected, atol=1e-12)


def test_loss_influence_of_a_regressor_is_refused():
    with pytest.raises(Unsupported, match="target=loss and explainer=gradient"):
        toy_worlds.linear(WEIGHT).explain(LossInfluence())


def test_one_step_is_the_gradient_half_way():
    world, start = toy_worlds.text(), Constant(0.3)
    padding = world.inputs.units < 0
    middle = torch.where(padding, world.inputs.x, (world.inputs.x + 0.3) / 2)
    slope = gradient(world.model, world.inputs.with_x(middle), world.targets)
    expected = torch.where(padding, 0, slope * (world.inputs.x - 0.3))
    assert torch.allclose(world.explain(IntegratedGradients(start, budget=1)), expected)


@pytest.mark.parametrize("baseline", [Mean(), Marginal(4)])
def test_integrated_gradients_are_complete(baseline):
    world = toy_worlds.text()
    references = baseline.references(world.inputs, rng=world.rng)
    padding = (world.inputs.units < 0)[:, None]
    references = torch.where(padding, world.inputs.x[:, None], references)
    total = world.explain(IntegratedGradients(baseline)).flatten(1).sum(1)
    assert torch.allclose(total, change(world, references), atol=1e-9)


def test_smoothgrad_without_noise_is_the_gradient():
    world = toy_worlds.image()
    assert torch.allclose(world.explain(SmoothGrad(noise=0.0)), world.explain(Gradient()))


def test_smoothgrad_noise_has_the_scale_of_the_data():
    # The gradient of x^2 is 2x, so the map minus 2x is twice the mean of the noise.
    world = world_of(lambda x: (x**2).sum(1), [[1.0, 2.0]] * 400)
    error = world.explain(SmoothGrad(budget=4, noise=0.5)) - 2 * world.inputs.x
    expected = 2 * 0.5 * world.inputs.domain.scale / 4**0.5
    assert torch.allclose(error.std(0), expected, rtol=0.1)
    assert (error.mean(0).abs() < 4 * expected / 20).all()


def test_expected_gradients_of_a_linear_model_are_centred_on_the_background():
    world = toy_worlds.linear(WEIGHT, toy_worlds.normal(400, 4))
    credits = world.explain(ExpectedGradients(budget=64))
    mean = world.inputs.domain.background.mean(0)
    expected = torch.tensor(WEIGHT).double() * (world.inputs.x - mean)
    gap = credits - expected
    assert (gap.mean(0).abs() < 0.1).all()
    # 64 independent rows per sample: the error is an eighth of a single row's.
    spread = torch.tensor(WEIGHT).double().abs() * world.inputs.domain.scale / 8
    assert torch.allclose(gap.std(0), spread, rtol=0.15)
    assert torch.equal(credits[:, 2], torch.zeros(400).double())


def test_expected_gradients_estimate_integrated_gradients_over_the_background():
    # f = x0^2 from a reference r: x0^2 - r^2. A fixed place on the line would be off.
    world = world_of(lambda x: x[:, 0] ** 2, [[2.0, 1.0]] * 50)
    credits = world.explain(ExpectedGradients(budget=200)).mean(0)
    expected = 4 - (world.inputs.domain.background[:, 0] ** 2).mean()
    assert credits[0].item() == pytest.approx(expected.item(), abs=0.2)


@pytest.mark.parametrize(
    ("explainer", "expected"),
    [
        pytest.param(Gradient(), [5.0, 1, 0], id="gradient"),
        pytest.param(InputXGradient(), [10.0, 3, 0], id="input times gradient"),
        pytest.param(SmoothGrad(), [5.0, 1, 0], id="smoothgrad"),
        pytest.param(IntegratedGradients(Constant(1.0)), [5.0, 2, 0], id="integrated gradients"),
        # From a background of ones.
        pytest.param(ExpectedGradients(), [5.0, 2, 0], id="expected gradients"),
    ],
)
def test_padding_is_neither_moved_nor_credited(explainer, expected):
    # x0 * x2 + x1 at (2, 3, 5), where x2 is padding that the model reads all the same.
    module = Function(lambda x: x[:, 0] * x[:, 2] + x[:, 1])
    x = torch.tensor([[2.0, 3.0, 5.0]]).double()
    world = toy_worlds.world(module, x, torch.tensor([0, 1, -1]), torch.ones(4, 3).double())
    assert torch.allclose(world.explain(explainer), torch.tensor([expected]).double())


def test_the_callers_tensors_are_left_alone():
    world = toy_worlds.tabular()
    x = world.inputs.x.clone().requires_grad_()
    with torch.no_grad():
        slope = gradient(world.model, world.inputs.with_x(x), world.targets)
    assert x.grad is None
    assert not slope.requires_grad
    assert all(p.grad is None and not p.requires_grad for p in world.model.module.parameters())


def test_models_without_gradient_are_unsupported():
    world = toy_worlds.tabular()
    predictor = world.model.predictor
    black_box = Explained(
        TorchPredictor(predictor.module, 3, differentiable=False), PredictedLogit()
    )
    with pytest.raises(Unsupported, match="differentiable"):
        gradient(black_box, world.inputs, world.targets)
    cut = Explained(TorchPredictor(Function(lambda x: x.detach().sum(1)), 1), PredictedLogit())
    with pytest.raises(Unsupported, match="autograd"):
        gradient(cut, world.inputs, torch.zeros_like(world.targets))


def test_a_budget_that_pays_for_nothing_is_refused():
    with pytest.raises(Unsupported, match="at least 1"):
        toy_worlds.tabular().explain(IntegratedGradients(Mean(), budget=0))
    with pytest.raises(Unsupported, match="4 references; give at least 4"):
        toy_worlds.tabular().explain(IntegratedGradients(Marginal(4), budget=3))
    with pytest.raises(Unsupported, match="give at least 2"):
        toy_worlds.tabular().explain(IntegratedGradients(Mean(), 1, "trapezoid"))
    with pytest.raises(Unsupported, match="give at least 1"):
        toy_worlds.tabular().explain(SmoothGrad(budget=0))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tabular", "image", "series"])
def test_agreement_with_captum(name):
    attr = pytest.importorskip("captum.attr")
    world = toy_worlds.WORLDS[name]()
    x, targets, module = world.inputs.x, world.targets, world.model.module
    theirs = attr.Saliency(module).attribute(x.clone().requires_grad_(), target=targets)
    assert torch.allclose(world.explain(Saliency()), theirs, atol=1e-12)
    theirs = attr.IntegratedGradients(module).attribute(x, 0.1, target=targets, n_steps=8)
    assert torch.allclose(
        world.explain(IntegratedGradients(Constant(0.1), budget=8)), theirs, atol=1e-10
    )


@pytest.mark.parametrize(
    ("quadrature", "factor"),
    [
        ("gauss_legendre", 1),
        ("left", 1),
        ("right", 1),
        ("middle", 1),
        # Captum 0.9 divides by 8 points where there are 7 steps between them, so that even a
        # linear model's contributions miss the change of its output.
        ("trapezoid", 8 / 7),
    ],
)
def test_quadratures_agree_with_captum(quadrature, factor):
    attr = pytest.importorskip("captum.attr")
    world = toy_worlds.WORLDS["image"]()
    theirs = attr.IntegratedGradients(world.model.module).attribute(
        world.inputs.x,
        0.1,
        target=world.targets,
        n_steps=8,
        method="gausslegendre" if quadrature == "gauss_legendre" else f"riemann_{quadrature}",
    )
    ours = world.explain(IntegratedGradients(Constant(0.1), 8, quadrature))
    # Captum's places on the line are float32.
    assert torch.allclose(ours, factor * theirs, atol=1e-6)
