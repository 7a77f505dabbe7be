"""Proves what the variants of a model are trained on, and that each is made once and stored."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from tests.support.model_bundles import images, plane, two_classes
from tests.support.model_variants import variants_of
from xai_bench.data.bundle import Bundle
from xai_bench.models.base import OnEpoch, Predictor, Trained
from xai_bench.models.networks import CNN, MLP
from xai_bench.models.oracle import Oracle
from xai_bench.models.sklearn import RandomForest
from xai_bench.models.targets import Loss
from xai_bench.models.training import Training
from xai_bench.models.views import ChannelGates
from xai_bench.types import Model, ModelVariants, Unsupported

SMALL = MLP(hidden=[4], training=Training(max_epochs=3))


@dataclass(frozen=True)
class Seen:
    """A small network that remembers what it was trained on."""

    differentiable: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    calls: list[tuple[Bundle, int]] = field(default_factory=list)

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        self.calls.append((bundle, seed))
        return SMALL.train(bundle, seed=seed, on_epoch=on_epoch)

    def save(self, predictor: Predictor, folder: Path) -> None:
        SMALL.save(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        return SMALL.load(bundle, folder)


def outputs(model: Model, variants: ModelVariants) -> torch.Tensor:
    return model.outputs(variants.split("test")[0]).detach()


def test_members_differ_and_are_made_and_trained_once(tmp_path: Path) -> None:
    recipe, bundle = Seen(), two_classes(60)
    variants: ModelVariants = variants_of(tmp_path, bundle, recipe)
    first, second = variants.retrained(1), variants.retrained(2)
    assert variants.retrained(1) is first
    assert not torch.equal(outputs(first, variants), outputs(second, variants))
    assert len(recipe.calls) == 3
    assert len({seed for _, seed in recipe.calls}) == 3
    assert all(seen is bundle for seen, _ in recipe.calls)
    again = variants_of(tmp_path, bundle, recipe)
    assert torch.equal(outputs(again.retrained(2), again), outputs(second, variants))
    assert len(recipe.calls) == 3, "another run reads the weights"


def test_shuffled_labels_are_the_same_labels_in_another_order(tmp_path: Path) -> None:
    recipe, bundle = Seen(), two_classes(200)
    variants = variants_of(tmp_path, bundle, recipe)
    made = variants.mislabelled()
    assert variants.mislabelled() is made
    seen, seed = recipe.calls[-1]
    assert seed == 0
    assert torch.equal(seen.train.x, bundle.train.x)
    assert torch.equal(seen.train.y.sort().values, bundle.train.y.sort().values)
    agree = (seen.train.y == bundle.train.y).double().mean().item()
    assert 0.3 < agree < 0.7
    assert seen.valid is seen.train, "stops by what it learns, for nothing else follows from it"
    assert torch.equal(seen.test.y, bundle.test.y)


def test_degraded_inputs_are_trained_on_unchanged(tmp_path: Path) -> None:
    recipe, bundle = Seen(), two_classes(60)
    variants = variants_of(tmp_path, bundle, recipe)
    train, valid = bundle.train.x.clone(), bundle.valid.x * 2
    train[:, 0] = 0
    variants.degraded(train, valid)
    seen, seed = recipe.calls[-1]
    assert seed == 0, "the seed of the explained model, so that only the data differ"
    assert seen.train.x is train
    assert seen.valid.x is valid
    assert torch.equal(seen.train.y, bundle.train.y)
    variants.degraded(train.clone(), valid.clone())
    assert len(recipe.calls) == 2, "equal data, equal model"


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_a_part_comes_with_its_targets_and_labels(tmp_path: Path, name: str) -> None:
    bundle = two_classes(200)
    variants = variants_of(tmp_path, bundle, SMALL)
    inputs, targets, labels = variants.split(name)
    part = getattr(bundle, name)
    assert torch.equal(inputs.x, part.x)
    assert torch.equal(inputs.index, torch.arange(len(part)))
    assert torch.equal(labels, part.y)
    assert torch.equal(targets, variants.predictor(part.x, {}).argmax(1))
    assert len(inputs.domain.background) == 8
    assert variants.split(name)[0] is inputs


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train, valid, test"):
        variants_of(tmp_path, two_classes(60), SMALL).split("holdout")


def test_the_number_of_classes(tmp_path: Path) -> None:
    assert variants_of(tmp_path / "a", two_classes(60), SMALL).n_classes == 2
    assert variants_of(tmp_path / "b", plane(60), SMALL).n_classes == 0


def test_under_a_loss_there_is_no_truth_and_labels_are_targets(tmp_path: Path) -> None:
    bundle = replace(two_classes(60), truth=lambda inputs, targets: inputs.x)
    straight = variants_of(tmp_path, bundle, SMALL)
    assert straight.split("test")[0].domain.truth is not None
    inputs, targets, labels = replace(straight, target=Loss(), cache={}).split("test")
    assert inputs.domain.truth is None
    assert torch.equal(targets, labels)


def test_gates_apply_to_variants_and_cannot_be_trained_on(tmp_path: Path) -> None:
    bundle = images(60)
    recipe = CNN(channels=[3], training=Training(max_epochs=1))
    variants = variants_of(tmp_path, bundle, recipe, view=ChannelGates("features.0"))
    inputs, _, _ = variants.split("test")
    assert inputs.x.shape == (12, 3)
    assert torch.equal(inputs.context["input"], bundle.test.x)
    assert variants.retrained(1).outputs(inputs).shape == (12, 4)
    with pytest.raises(Unsupported, match="view=inputs"):
        variants.degraded(bundle.train.x, bundle.valid.x)


def test_forests_are_retrained(tmp_path: Path) -> None:
    variants = variants_of(tmp_path, two_classes(60), RandomForest(n_estimators=5))
    assert not torch.equal(
        outputs(variants.retrained(1), variants), outputs(variants.retrained(2), variants)
    )


def test_a_model_that_is_not_trained_here_cannot_be_retrained(tmp_path: Path) -> None:
    bundle = replace(two_classes(60), oracle=torch.nn.Linear(4, 2))
    variants = variants_of(tmp_path, bundle, Oracle())
    with pytest.raises(Unsupported, match="comes ready"):
        variants.retrained(1)
    with pytest.raises(Unsupported, match="comes ready"):
        variants.mislabelled()


def test_the_global_generator_is_unchanged(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    variants = variants_of(tmp_path, two_classes(60), SMALL)
    variants.retrained(1)
    variants.mislabelled()
    assert torch.equal(torch.get_rng_state(), state)


# Several at the same time


@pytest.mark.exhaustive
def test_models_trained_in_parallel_have_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In processes of their own, and then read from the cache as if they had been trained here."""
    bundle = replace(two_classes(60), truth=lambda inputs, targets: inputs.x)
    parts = [(scale * bundle.train.x, scale * bundle.valid.x) for scale in (0.5, 2.0)]
    folders = [tmp_path / "one", tmp_path / "two"]
    cells = [
        variants_of(folders[0], bundle, SMALL),
        variants_of(folders[1], bundle, SMALL, n_workers=2),
    ]
    one = cells[0].degraded_all(parts)
    monkeypatch.setattr(Training, "fit", lambda *_, **__: pytest.fail("trained in this process"))
    two = cells[1].degraded_all(parts)
    files = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.safetensors")}
        for folder in folders
    ]
    assert files[0] == files[1]
    assert len(files[0]) == 3, "the explained model and two others"
    for serial, parallel in zip(one, two, strict=True):
        assert torch.equal(outputs(serial, cells[0]), outputs(parallel, cells[1]))
    assert not torch.equal(outputs(one[0], cells[0]), outputs(one[1], cells[0]))


def test_a_refusal_comes_before_any_process_starts(tmp_path: Path) -> None:
    bundle = two_classes(60)
    gates = replace(variants_of(tmp_path, bundle, SMALL, n_workers=2), view=ChannelGates())
    with pytest.raises(Unsupported, match="view=inputs"):
        gates.degraded_all([(bundle.train.x, bundle.valid.x)])
