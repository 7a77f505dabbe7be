"""Proves that a model is trained once, read whole or not at all, and never mixed up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors import SafetensorError

from tests.support.model_bundles import ignore, plane, two_classes
from xai_bench.data.bundle import Bundle
from xai_bench.models.base import OnEpoch, Predictor, Trained
from xai_bench.models.fitting import cache
from xai_bench.models.networks import MLP
from xai_bench.models.sklearn import RandomForest
from xai_bench.models.training import Training

SMALL = MLP(hidden=[4], training=Training(max_epochs=2))


@dataclass(frozen=True)
class Counted:
    """A small network that writes down when it is trained."""

    trains: ClassVar[bool] = True
    calls: list[str] = field(default_factory=list)
    breaks: bool = False
    error: Exception | None = None

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        self.calls.append("train")
        return SMALL.train(bundle, seed=seed, on_epoch=on_epoch)

    def save(self, predictor: Predictor, folder: Path) -> None:
        SMALL.save(predictor, folder)
        if self.breaks:
            raise KeyboardInterrupt
        if self.error is not None:
            raise self.error

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        return SMALL.load(bundle, folder)


def ask(
    folder: Path, recipe: Any, bundle: Bundle | None = None, seed: int = 0, **config: Any
) -> Trained:
    bundle = two_classes() if bundle is None else bundle
    return cache.trained(recipe, config, bundle, seed=seed, folder=folder, on_epoch=ignore)


def outputs(model: Trained) -> torch.Tensor:
    return model.predictor(two_classes().test.x, {})


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [SMALL, RandomForest(n_estimators=3)])
def test_trained_and_stored_models_have_the_same_bits(recipe: Any, tmp_path: Path) -> None:
    direct = recipe.train(two_classes(), seed=0, on_epoch=ignore)
    fresh, kept = ask(tmp_path, recipe), ask(tmp_path, recipe)
    assert torch.equal(outputs(direct), outputs(fresh))
    assert torch.equal(outputs(fresh), outputs(kept))
    assert direct.history == fresh.history == kept.history


def test_a_model_is_trained_once(tmp_path: Path) -> None:
    recipe, rows = Counted(), []
    for _ in range(3):
        cache.trained(
            recipe, {}, two_classes(), seed=0, folder=tmp_path / "new", on_epoch=rows.append
        )
    assert recipe.calls == ["train"]
    assert len(rows) == 2
    assert not list((tmp_path / "new").glob("*.draft"))


def test_simultaneous_callers_train_once(tmp_path: Path) -> None:
    recipe = Counted()
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: ask(tmp_path, recipe), range(4)))
    assert recipe.calls == ["train"]
    assert all(torch.equal(outputs(model), outputs(models[0])) for model in models)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"seed": 1}, id="seed"),
        pytest.param({"hidden": [8]}, id="config"),
        pytest.param({"bundle": plane()}, id="data"),
    ],
)
def test_config_data_and_seed_change_the_key(other: Mapping[str, Any], tmp_path: Path) -> None:
    recipe = Counted()
    ask(tmp_path, recipe)
    ask(tmp_path, recipe, **other)
    assert len(recipe.calls) == 2


def test_versions_of_recipe_and_libraries_are_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def key() -> str:
        return cache.key(SMALL, {"a": 1, "b": 2}, two_classes(), seed=0)

    keys = [key()]
    monkeypatch.setattr(MLP, "version", 99, raising=False)
    keys.append(key())
    monkeypatch.setattr(torch, "__version__", "0.0")
    keys.append(key())
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0")
    keys.append(key())
    assert len(set(keys)) == 4
    assert cache.key(SMALL, {"b": 2, "a": 1}, two_classes(), seed=0) == keys[-1]


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize(
    "damage", ["flip", "remove", "truncate meta", "remove meta", "list", "history"]
)
def test_a_damaged_folder_is_never_read(damage: str, tmp_path: Path) -> None:
    recipe = Counted()
    good = ask(tmp_path, recipe)
    (weights,), (meta,) = tmp_path.glob("*/*.safetensors"), tmp_path.glob("*/meta.json")
    if damage == "flip":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    elif damage == "truncate meta":
        meta.write_text(meta.read_text()[:20])
    elif damage == "list":
        meta.write_text("[1]")
    elif damage == "history":
        meta.write_text(meta.read_text().replace("loss", "lost"))
    else:
        (weights if damage == "remove" else meta).unlink()
    again = ask(tmp_path, recipe)
    assert recipe.calls == ["train", "train"]
    assert torch.equal(outputs(good), outputs(again))


def test_a_kill_between_saving_and_renaming_leaves_nothing_to_read(tmp_path: Path) -> None:
    calls: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        ask(tmp_path, Counted(calls, breaks=True))
    assert [path.suffix for path in tmp_path.iterdir() if path.is_dir()] == [".draft"]
    ask(tmp_path, Counted(calls))
    assert calls == ["train", "train"]
    assert not list(tmp_path.glob("*.draft"))


def test_undefined_scores_are_stored_in_the_history(tmp_path: Path) -> None:
    data = plane()
    data = replace(data, valid=replace(data.valid, y=torch.ones(len(data.valid))))
    ask(tmp_path, SMALL, data)
    kept = ask(tmp_path, SMALL, data)
    assert kept.history[0]["valid_score"] != kept.history[0]["valid_score"]
    assert json.loads(next(tmp_path.glob("*/meta.json")).read_text())["files"]


def test_models_that_are_not_trained_are_not_stored(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Ready(Counted):
        trains: ClassVar[bool] = False

    recipe = Ready()
    ask(tmp_path, recipe)
    ask(tmp_path, recipe)
    assert recipe.calls == ["train", "train"]
    assert not list(tmp_path.iterdir())


NO_ROOM = [
    OSError(28, "No space left on device"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
]


@pytest.mark.parametrize("error", NO_ROOM, ids=lambda error: type(error).__name__)
def test_a_full_disk_is_one_sentence_and_leaves_no_draft(error: Exception, tmp_path: Path) -> None:
    recipe, folder = Counted(error=error), tmp_path / "models"
    with pytest.raises(ValueError, match="No space left on device; make room and run the same"):
        ask(folder, recipe)
    assert not [path for path in folder.iterdir() if path.suffix != ".lock"]
    assert torch.equal(outputs(ask(folder, Counted())), outputs(ask(folder, SMALL)))
