"""Proves that networks learn, stop early, have the same bits every time, and are stored."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.model_bundles import (
    bundle,
    from_sklearn,
    ignore,
    images,
    normal,
    plane,
    three_classes,
    two_classes,
)
from xai_bench.core.system.determinism import deterministic
from xai_bench.data.bundle import Bundle
from xai_bench.models.base import Explained, TorchPredictor, Trained
from xai_bench.models.networks import CNN, MLP
from xai_bench.models.targets import PredictedLogit
from xai_bench.models.training import Training, initialise, scores
from xai_bench.types import Unsupported

SHORT = Training(max_epochs=3)


def train(recipe: MLP | CNN, data: Bundle, seed: int = 0) -> Trained:
    return recipe.train(data, seed=seed, on_epoch=ignore)


def outputs(model: Trained, data: Bundle) -> torch.Tensor:
    return model.predictor(data.test.x, {})


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("data", [two_classes(), three_classes(), images()])
def test_an_mlp_learns_classes_from_any_shape(data: Bundle) -> None:
    model = train(MLP(hidden=[16]), data)
    assert scores(model.predictor, data.test, data.task)["accuracy"] > 0.9


def test_a_regressor_predicts_in_the_units_of_the_data() -> None:
    data = plane()
    model = train(MLP(hidden=[16], training=Training(max_epochs=100)), data)
    result = scores(model.predictor, data.test, data.task)
    assert result["r2"] > 0.98
    assert outputs(model, data).mean().item() == pytest.approx(1000, abs=20)


def test_a_constant_regression_target_is_learnt_as_it_is() -> None:
    data = bundle(normal(60, 2), torch.full((60,), 7.0))
    model = train(MLP(hidden=[4]), data)
    assert outputs(model, data).mean().item() == pytest.approx(7.0, abs=0.1)
    assert math.isnan(scores(model.predictor, data.test, "regression")["r2"])


@pytest.mark.parametrize(
    ("recipe", "name", "floor"),
    [
        pytest.param(CNN(), "digits", 0.97, marks=pytest.mark.exhaustive),
        pytest.param(MLP(), "breast_cancer", 0.95),
    ],
)
def test_the_shipped_networks_reach_the_expected_accuracy(
    recipe: MLP | CNN, name: str, floor: float
) -> None:
    data = from_sklearn(name)
    model = train(recipe, data)
    assert scores(model.predictor, data.test, data.task)["accuracy"] >= floor


def test_scores_by_hand() -> None:
    two = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    part = bundle(two.repeat(5, 1), torch.tensor([0, 1]).repeat(5), n_classes=2).train
    identity = TorchPredictor(nn.Identity(), 2)
    # probabilities of the true class: 3/4 and 1/2; the tie of the second goes to class 0
    result = scores(identity, part, "classification")
    assert result["accuracy"] == pytest.approx(0.5)
    assert result["cross_entropy"] == pytest.approx(-(math.log(3 / 4) + math.log(1 / 2)) / 2)


def test_regression_scores_by_hand() -> None:
    predicted, true = torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 4.0])
    part = bundle(predicted.repeat(5, 1), true.repeat(5)).train
    # errors 1 and 1; true values lie 2 from their mean
    result = scores(TorchPredictor(nn.Identity(), 1), part, "regression")
    assert result == {"r2": pytest.approx(1 - 1 / 4), "mse": pytest.approx(1.0)}


def test_on_epoch_is_called_during_training() -> None:
    rows: list[object] = []
    model = MLP(hidden=[8], training=SHORT).train(two_classes(), seed=0, on_epoch=rows.append)
    assert rows == list(model.history)
    assert [row["epoch"] for row in model.history] == [1, 2, 3]
    assert set(model.history[0]) == {"epoch", "train_loss", "valid_loss", "valid_score"}
    assert model.history[2]["train_loss"] < model.history[0]["train_loss"]


def test_the_best_weights_are_kept_and_patience_ends_training() -> None:
    data = two_classes()
    noise = torch.arange(len(data.train)) % 2
    data = replace(data, train=replace(data.train, y=noise))  # nothing to learn: soon overfitted
    training = Training(max_epochs=200, patience=4, learning_rate=0.02)
    model = train(MLP(hidden=[64], training=training), data)
    losses = [row["valid_loss"] for row in model.history]
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + 4
    kept = scores(model.predictor, data.valid, data.task)["cross_entropy"]
    assert kept == pytest.approx(losses[best], rel=1e-5)
    assert kept < losses[-1]


def test_no_epochs_leave_the_initial_weights() -> None:
    recipe = MLP(hidden=[8], training=Training(max_epochs=0))
    first, other = train(recipe, two_classes(), seed=0), train(recipe, two_classes(), seed=1)
    assert first.history == ()
    assert not torch.equal(outputs(first, two_classes()), outputs(other, two_classes()))


def test_divergence_raises_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"diverged.*lower model.training.learning_rate"):
        train(MLP(hidden=[8], training=Training(learning_rate=1e30)), plane())


@pytest.mark.parametrize("recipe", [MLP(hidden=[8], training=SHORT), CNN([4], training=SHORT)])
def test_same_seed_same_bits_whatever_the_global_state(recipe: MLP | CNN) -> None:
    data = images()
    with torch.random.fork_rng():
        torch.random.manual_seed(1)
        first = outputs(train(recipe, data), data)
        torch.random.manual_seed(2)
        state = torch.random.get_rng_state()
        again = outputs(train(recipe, data), data)
        assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, outputs(train(recipe, data, seed=1), data))


@pytest.mark.parametrize("before", [True, False])
def test_the_deterministic_block_restores_the_settings(
    before: bool, request: pytest.FixtureRequest
) -> None:
    filling: Any = import_module("torch.utils.deterministic")
    filled = filling.fill_uninitialized_memory
    found = torch.are_deterministic_algorithms_enabled()
    request.addfinalizer(lambda: torch.use_deterministic_algorithms(found))
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    torch.use_deterministic_algorithms(before)
    torch.set_num_threads(2)

    def fail_inside() -> None:
        with deterministic():
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.get_num_threads() == 1
            assert not filling.fill_uninitialized_memory, "an aid of debuggers, and slow"
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert torch.are_deterministic_algorithms_enabled() == before
    assert torch.get_num_threads() == 2
    assert filling.fill_uninitialized_memory == filled


@pytest.mark.parametrize("layer", [nn.Linear(16, 500), nn.Conv2d(4, 300, 2)])
def test_initial_weights_are_uniform_within_one_over_the_root_of_fan_in(layer: nn.Module) -> None:
    network = nn.Sequential(layer)
    initialise(network, seed=0)
    for weights in network.parameters():  # fan-in is 16 in both
        assert weights.abs().max().item() == pytest.approx(0.25, abs=0.01)
        assert weights.abs().max() <= 0.25
        assert weights.std().item() == pytest.approx(0.25 / math.sqrt(3), rel=0.1)


def test_initialise_refuses_other_layers() -> None:
    with pytest.raises(ValueError, match="'0' is a BatchNorm1d"):
        initialise(nn.Sequential(nn.BatchNorm1d(3)), seed=0)


@pytest.mark.parametrize("recipe", [MLP(hidden=[8], training=SHORT), CNN([4], training=SHORT)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saved_and_loaded_give_the_same_bits(
    recipe: MLP | CNN, dtype: torch.dtype, tmp_path: Path
) -> None:
    data = images()
    parts = {
        name: replace(getattr(data, name), x=getattr(data, name).x.to(dtype))
        for name in ("train", "valid", "test")
    }
    data = replace(data, **parts)
    model = train(recipe, data)
    recipe.save(model.predictor, tmp_path)
    loaded = recipe.load(data, tmp_path)
    assert loaded(data.test.x, {}).dtype == dtype
    assert torch.equal(loaded(data.test.x, {}), outputs(model, data))


@pytest.mark.parametrize("recipe", [MLP(training=SHORT), CNN(training=SHORT)])
def test_every_nonlinearity_is_a_module_used_once(recipe: MLP | CNN) -> None:
    data = images()
    module = train(recipe, data).predictor.module
    assert module is not None
    calls: list[nn.Module] = []
    for layer in module.modules():
        if isinstance(layer, nn.ReLU | nn.MaxPool2d):
            layer.register_forward_hook(lambda layer, args, output: calls.append(layer))
    module(data.test.x[:2])
    assert len(calls) == len(set(calls)) == (2 if isinstance(recipe, MLP) else 4)
    assert {"features", "flatten", "head"} == {name for name, _ in module.named_children()}


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("recipe", [MLP(training=SHORT), CNN(training=SHORT)])
@pytest.mark.parametrize("n_rows", [1, 5, 16, 19])
def test_a_row_has_the_same_bits_in_every_batch(recipe: MLP | CNN, n_rows: int) -> None:
    data = images(200)
    model = Explained(train(recipe, data).predictor, PredictedLogit())
    inputs = data.evaluation(40, 16)
    parts = [model.outputs(inputs.take(rows)) for rows in torch.arange(40).split(n_rows)]
    assert torch.equal(torch.cat(parts), model.outputs(inputs))


def test_cnn_takes_images_only() -> None:
    with pytest.raises(Unsupported, match=r"cnn needs images \[C, H, W\].*shape \[4\]"):
        train(CNN(), two_classes())


def test_cnn_names_the_smallest_image() -> None:
    with pytest.raises(Unsupported, match=r"at least 8 pixels a side.*\[1, 4, 4\]"):
        train(CNN(channels=[2, 2, 2]), images(size=4))


@pytest.mark.parametrize("recipe", [MLP(), CNN()])
def test_data_with_context_is_refused(recipe: MLP | CNN) -> None:
    data = bundle(normal(20, 1, 8, 8), torch.arange(20) % 2, n_classes=2, mask=torch.ones(20, 8))
    with pytest.raises(Unsupported, match=r"comes with \['mask'\]"):
        train(recipe, data)
