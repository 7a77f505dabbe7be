"""Proves the known truths against Shapley values summed over all coalitions, and by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from xai_bench.core.units import pool
from xai_bench.data.bundle import Bundle
from xai_bench.data.synthetic.functions import (
    AdditiveCurves,
    And,
    Interaction,
    Linear,
    Redundant,
    Xor,
)
from xai_bench.data.synthetic.gaussian import (
    CorrelatedGaussian,
    GaussianDistribution,
    conditional_shapley,
)
from xai_bench.data.synthetic.planted import PlantedPatch, stripes
from xai_bench.types import Inputs

ZERO_GAME: dict[str, Any] = {
    "linear": Linear(weights=(1.0, -0.8, 0.0)),
    "linear_classes": Linear(weights=(1.0, -0.8, 0.0), task="classification"),
    "additive": AdditiveCurves(weights=(1.0, -0.8, 0.6, -0.4, 0.2)),
    "interaction": Interaction(strength=1.5, weights=(0.0, 0.5, -0.5, 0.0)),
    "redundant": Redundant(n_noise=1),
    "xor": Xor(n_noise=2),
    "xor3": Xor(order=3, n_noise=1),
    "and": And(n_noise=2),
    "and3": And(order=3, n_noise=1),
    "correlated": CorrelatedGaussian(weights=(1.0, 0.0, -0.8)),
    "planted_patch": PlantedPatch(size=8, patch=4),
}
everywhere = pytest.mark.parametrize("data", ZERO_GAME.values(), ids=ZERO_GAME.keys())


def shapley(value: Callable[[Tensor], Tensor], n_units: int) -> Tensor:
    """`[B, U]` by definition: a mean over all orders, with `value(kept [U]) -> [B]`."""
    kept = [torch.tensor(bits) for bits in itertools.product([False, True], repeat=n_units)]
    table = {tuple(row.tolist()): value(row) for row in kept}
    total = torch.stack([torch.zeros_like(next(iter(table.values())))] * n_units, 1)
    for order in itertools.permutations(range(n_units)):
        coalition = [False] * n_units
        for unit in order:
            before = table[tuple(coalition)]
            coalition[unit] = True
            total[:, unit] += table[tuple(coalition)] - before
    return total / math.factorial(n_units)


def oracle_value(bundle: Bundle, inputs: Inputs, targets: Tensor) -> Callable[[Tensor], Tensor]:
    assert bundle.oracle is not None
    oracle = bundle.oracle.double()

    @torch.no_grad()
    def value(kept: Tensor) -> Tensor:
        x = torch.where(kept[inputs.units], inputs.x, 0.0)
        return oracle(x).gather(1, targets[:, None])[:, 0]

    return value


def some_inputs(bundle: Bundle, n: int = 6) -> tuple[Inputs, Tensor]:
    inputs = bundle.evaluation(n, 16)
    targets = torch.arange(n) % bundle.n_outputs
    return inputs.with_x(inputs.x.double()), targets


@everywhere
def test_truth_is_the_shapley_value_of_the_zero_game(data: Any) -> None:
    bundle = data.load()
    inputs, targets = some_inputs(bundle)
    value = oracle_value(bundle, inputs, targets)
    truth = bundle.truth(inputs.with_x(inputs.x.float()), targets)
    assert truth.shape == inputs.x.shape
    assert truth.dtype == torch.float32
    expected = shapley(value, len(bundle.unit_names))
    assert torch.allclose(pool(truth, inputs.units).double(), expected, atol=1e-5)


@everywhere
def test_truth_adds_up_to_the_change_of_the_output(data: Any) -> None:
    bundle = data.load()
    inputs = bundle.evaluation(64, 16)
    targets = torch.arange(64) % bundle.n_outputs
    with torch.no_grad():
        change = bundle.oracle(inputs.x) - bundle.oracle(torch.zeros_like(inputs.x))
    total = bundle.truth(inputs, targets).flatten(1).sum(1)
    assert torch.allclose(total, change.gather(1, targets[:, None])[:, 0], atol=1e-5)


@everywhere
def test_the_mean_of_an_even_background_is_the_reference_of_the_truth(data: Any) -> None:
    background = data.load().domain(64).background
    assert background.mean(0).abs().max() < 1e-6
    assert background.std(0).min() > 0.2


@pytest.mark.sample(2, others="slow")
@everywhere
def test_rows_depend_on_the_seed_alone(data: Any) -> None:
    bundle = data.load()
    assert data.load().fingerprint() == bundle.fingerprint()
    assert replace(data, seed=1).load().fingerprint() != bundle.fingerprint()
    smaller = replace(data, n_rows=data.n_rows // 2).load()
    assert torch.allclose(smaller.test.x, bundle.test.x[: len(smaller.test)], atol=1e-6)


def test_no_test_row_was_trained_on() -> None:
    bundle = Linear().load()
    distance = torch.cdist(bundle.test.x, torch.cat([bundle.train.x, bundle.valid.x]))
    assert distance.min() > 0.01


@pytest.mark.parametrize("name", ["linear_classes", "xor", "and", "planted_patch"])
def test_truth_of_one_class_is_minus_that_of_the_other(name: str) -> None:
    bundle = ZERO_GAME[name].load()
    inputs = bundle.evaluation(16, 16)
    zero, one = (bundle.truth(inputs, torch.full((16,), c)) for c in (0, 1))
    assert torch.equal(zero, -one)
    assert one.abs().max() > 0.1


def test_hand_worked_truths() -> None:
    """Interaction at (2, 3): 1.5 * 6 = 9 is halved, and x2 adds 0.5 * 3 of its own."""
    bundle = Interaction(strength=1.5, weights=(0.0, 0.5)).load()
    inputs = bundle.evaluation(1, 16).with_x(torch.tensor([[2.0, 3.0]]))
    assert bundle.truth(inputs, torch.tensor([0])).tolist() == [[4.5, 6.0]]


@pytest.mark.parametrize(
    ("data", "corner", "z"),
    [
        (Xor(n_noise=0), (1, 1), -8.0),
        (Xor(n_noise=0), (1, -1), 8.0),
        (Xor(order=3, n_noise=0), (1, 1, 1), 8.0),
        (Xor(order=3, n_noise=0), (1, 1, -1), -8.0),
        (And(n_noise=0), (1, 1), 8.0),
        (And(n_noise=0), (1, -1), -8.0),
        (And(order=3, n_noise=0), (1, 1, 1), 8.0),
        (And(order=3, n_noise=0), (-1, -1, -1), -8.0),
    ],
)
def test_log_odds_at_the_corners(data: Xor | And, corner: tuple[int, ...], z: float) -> None:
    oracle = data.load().oracle
    assert oracle is not None
    logits = oracle(torch.tensor([corner]).float())[0]
    assert logits.tolist() == pytest.approx([-z / 2, z / 2])


def test_labels_follow_the_oracle() -> None:
    for data in (Xor(), And(), PlantedPatch()):
        bundle = data.load()
        right = (bundle.oracle(bundle.test.x).argmax(1) == bundle.test.y).float().mean()
        assert right > 0.98
        assert 0.2 < bundle.test.y.float().mean() < 0.8
    bundle = Linear(noise=0.5).load()
    residual = bundle.test.y - bundle.oracle(bundle.test.x)[:, 0]
    assert residual.std().item() == pytest.approx(0.5, rel=0.1)


def test_copies_and_noise_are_not_read() -> None:
    bundle = Redundant().load()
    truth = bundle.truth(bundle.evaluation(8, 16), torch.zeros(8, dtype=torch.long))
    assert torch.equal(bundle.test.x[:, 3:5], bundle.test.x[:, :2])
    assert bundle.unit_names[3:] == ("copy of x1", "copy of x2", "noise 1", "noise 2", "noise 3")
    assert truth[:, 3:].eq(0).all()
    assert truth[:, :3].ne(0).all()


def test_randomising_the_oracle_does_not_change_the_truth() -> None:
    bundle = Linear().load()
    inputs, targets = bundle.evaluation(4, 16), torch.zeros(4, dtype=torch.long)
    before = bundle.truth(inputs, targets)
    with torch.no_grad():
        for parameter in bundle.oracle.parameters():
            parameter.fill_(7.0)
    assert torch.equal(bundle.truth(inputs, targets), before)


def test_all_truth_lies_in_the_planted_patch() -> None:
    """The cell with the largest energy is the planted one: 16 against 16 * 0.09."""
    bundle = PlantedPatch().load()
    inputs = bundle.evaluation(64, 16)
    truth = pool(bundle.truth(inputs, torch.ones(64, dtype=torch.long)), inputs.units)
    planted = pool(inputs.x**2, inputs.units).argmax(1)
    mass = truth.abs() / truth.abs().sum(1, keepdim=True)
    assert mass.gather(1, planted[:, None]).eq(1).all()
    # Noise-free, a template answers 1, and (1 - 0.5) * 8 / 0.5 = 8.
    clean = replace(PlantedPatch(), noise=0.0).load()
    assert clean.oracle(clean.test.x).abs().allclose(torch.tensor(4.0))


@pytest.mark.parametrize("polarity", [-1.0, 1.0])
def test_the_direction_of_the_stripes_is_the_class(polarity: float) -> None:
    """Rows that alternate are horizontal stripes, the first class."""
    image = torch.zeros(1, 1, 16, 16)
    image[0, 0, 4:8, 8:12] = polarity * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None]
    bundle = PlantedPatch().load()
    for turned, name in ((image, "horizontal"), (image.transpose(2, 3), "vertical")):
        assert bundle.class_names[int(bundle.oracle(turned).argmax())] == name


def test_stripes_of_one_direction_are_orthogonal_to_the_other() -> None:
    assert (stripes(4)[0] * stripes(4)[1]).sum() == 0
    with pytest.raises(ValueError, match="must be even and divide"):
        PlantedPatch(size=16, patch=5).load()


def random_law(n: int) -> GaussianDistribution:
    root = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return GaussianDistribution(torch.arange(n).double(), root @ root.T + torch.eye(n).double())


def test_conditional_distribution_against_the_precision_matrix() -> None:
    """With P the inverse covariance: mean m_a - P_aa^-1 P_ak (x_k - m_k), covariance P_aa^-1."""
    distribution = random_law(5)
    kept = torch.tensor([True, False, True, False, False])
    x = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    precision = distribution.covariance.inverse()
    inverse = precision[~kept][:, ~kept].inverse()
    shift = (x - distribution.mean)[:, kept] @ (inverse @ precision[~kept][:, kept]).T
    mean, (_, covariance) = distribution.conditional_mean(kept, x), distribution.conditional(kept)
    assert torch.allclose(mean[:, ~kept], distribution.mean[~kept] - shift)
    assert torch.allclose(mean[:, kept], x[:, kept])
    assert torch.allclose(covariance[~kept][:, ~kept], inverse)
    assert covariance[kept].eq(0).all()
    assert covariance[:, kept].eq(0).all()


@pytest.mark.parametrize("everything", [True, False])
def test_conditional_distribution_with_nothing_and_all_kept(everything: bool) -> None:
    distribution, x = random_law(4), torch.ones(2, 4, dtype=torch.float64)
    kept = torch.full((4,), everything)
    expected = x if everything else distribution.mean.expand(2, 4)
    assert torch.allclose(distribution.conditional_mean(kept, x), expected)
    full = torch.zeros_like(distribution.covariance) if everything else distribution.covariance
    assert torch.allclose(distribution.conditional(kept)[1], full)


def test_the_distribution_is_that_of_the_data() -> None:
    data = CorrelatedGaussian(n_rows=20000)
    distribution, x = data.distribution(), data.load().train.x.double()
    assert torch.allclose(x.T @ x / len(x), distribution.covariance, atol=0.04)
    assert distribution.covariance[0, :3].tolist() == pytest.approx([1.0, 0.6, 0.36])


def test_conditional_shapley_of_two_columns() -> None:
    """With f = x1: phi2 = (E[x1 | x2] - 0) / 2 + (x1 - x1) / 2 = rho x2 / 2, and phi1 the rest."""
    distribution = GaussianDistribution(
        torch.zeros(2).double(), torch.tensor([[1.0, 0.6], [0.6, 1.0]]).double()
    )
    matrix = conditional_shapley(distribution, torch.tensor([1.0, 0.0]).double())
    assert torch.allclose(matrix, torch.tensor([[1.0, -0.3], [0.0, 0.3]]).double())


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_conditional_truth_is_the_shapley_value_of_the_conditional_game(task: Any) -> None:
    data = CorrelatedGaussian(weights=(1.0, 0.0, -0.8, 0.5), game="conditional", task=task)
    bundle, distribution = data.load(), data.distribution()
    inputs, targets = some_inputs(bundle)
    assert bundle.oracle is not None
    oracle = bundle.oracle.double()

    @torch.no_grad()
    def value(kept: Tensor) -> Tensor:
        x = distribution.conditional_mean(kept, inputs.x)
        return oracle(x).gather(1, targets[:, None])[:, 0]

    expected = shapley(value, 4)
    truth = bundle.truth(inputs, targets)
    assert torch.allclose(truth, expected, atol=1e-6)
    assert truth[:, 1].abs().min() > 0  # not read, yet it tells about what is read
    interventional = replace(data, game="interventional").load()
    assert interventional.truth(inputs, targets)[:, 1].eq(0).all()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (CorrelatedGaussian(rho=1.0), "between -1 and 1"),
        (CorrelatedGaussian(game="observed"), "interventional or conditional"),  # type: ignore[arg-type]
        (CorrelatedGaussian(weights=(1.0,) * 13, game="conditional"), "at most 12 columns"),
        (Redundant(n_copied=4), r"0\.\.3"),
    ],
)
def test_mistakes_raise_one_sentence(data: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        data.load()
