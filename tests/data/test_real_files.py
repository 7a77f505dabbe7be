"""Proves that real data sets are read as published: those of scikit-learn, and shared files."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sklearn import datasets

from tests.support.paths import ROOT
from xai_bench.data import shipped
from xai_bench.data.bundle import Bundle
from xai_bench.data.images.images import Digits, IdxImages, read_idx
from xai_bench.data.tables.sklearn import SklearnTable

SHARED = Path(os.environ.get("XAI_BENCH_DATA", ROOT.parent / "shared" / "data"))
CONF = ROOT / "conf" / "data"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    if not SHARED.is_dir():
        pytest.skip("no shared data beside the checkout; set XAI_BENCH_DATA to its folder")
    monkeypatch.setenv("XAI_BENCH_DATA", str(SHARED))
    bundle: Bundle = instantiate(OmegaConf.load(CONF / f"{name}.yaml")).load()
    return bundle


@pytest.mark.parametrize(
    ("name", "n_rows", "n_columns", "n_classes"),
    [("breast_cancer", 569, 30, 2), ("wine", 178, 13, 3), ("iris", 150, 4, 3)],
)
def test_tables_of_scikit_learn(name: str, n_rows: int, n_columns: int, n_classes: int) -> None:
    bundle = SklearnTable(name).load()
    assert sum(len(p) for p in (bundle.train, bundle.valid, bundle.test)) == n_rows
    assert bundle.train.x.shape[1] == len(bundle.unit_names) == n_columns
    assert len(bundle.class_names) == n_classes
    assert bundle.train.x.mean(0).abs().max() < 1e-5
    assert bundle.train.units.stride(0) == 0


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_shipped_files_are_read_as_scikit_learn_reads_them(name: str) -> None:
    found = shipped.digits() if name == "digits" else shipped.table(name)
    bunch = getattr(datasets, f"load_{name}")()
    assert np.array_equal(found.x, bunch.data)
    assert np.array_equal(found.y, bunch.target)
    assert name == "digits" or found.columns == tuple(bunch.feature_names)
    assert name == "digits" or found.class_names == tuple(bunch.target_names)


def test_without_its_files_scikit_learn_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = shipped.table("iris")
    monkeypatch.setattr(shipped, "_file", lambda _: None)
    asked = shipped.table("iris")
    assert np.array_equal(found.x, asked.x)
    assert (found.columns, found.class_names) == (asked.columns, asked.class_names)
    assert np.array_equal(shipped.digits().x, datasets.load_digits().data)


def test_diabetes_is_a_standardised_regression() -> None:
    bundle = SklearnTable("diabetes").load()
    assert (bundle.task, bundle.class_names) == ("regression", ())
    assert bundle.train.y.mean().abs() < 1e-6
    assert bundle.train.y.std(correction=0).item() == pytest.approx(1)
    assert bundle.test.x.mean(0).abs().max() > 1e-3  # scaled on the training part only


def test_a_misspelt_table_is_answered_with_near_misses() -> None:
    with pytest.raises(ValueError, match="did you mean wine"):
        SklearnTable("wines").load()


def test_digits_are_images_with_patches() -> None:
    bundle = Digits(patch=4).load()
    assert bundle.train.x.shape[1:] == (1, 8, 8)
    assert (bundle.train.x.min(), bundle.train.x.max()) == (0, 1)
    assert bundle.unit_names == ("r0c0", "r0c1", "r1c0", "r1c1")
    assert bundle.train.units[0, 0, 3:5, 3:5].tolist() == [[0, 1], [2, 3]]


def idx(values: Any) -> bytes:
    array = np.asarray(values, np.uint8)
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_idx_files(tmp_path: Path) -> None:
    images = np.arange(16 * 2 * 3).reshape(16, 2, 3)
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(16) % 2))
    bundle = IdxImages(str(tmp_path), ("even", "odd"), patch=1).load()
    assert [len(p) for p in (bundle.train, bundle.valid, bundle.test)] == [12, 4, 16]
    row = bundle.test.x[bundle.test.x[:, 0, 0, 0].argmin()]
    assert torch.equal(row, torch.arange(6).view(1, 2, 3) / 255)
    assert torch.equal((bundle.test.x[:, 0, 0, 0] * 255 / 6).round().long() % 2, bundle.test.y)
    with pytest.raises(ValueError, match="a label below 1"):
        IdxImages(str(tmp_path), ("even",)).load()


@pytest.mark.parametrize("content", [b"", b"hello world", idx([1, 2, 3])[:-1], idx([1]) + b"x"])
def test_broken_idx_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a-idx1-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a whole IDX file"):
        read_idx(path)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx([1, 2, 3]))[:-9])
    with pytest.raises(ValueError, match="not a whole gzip file"):
        read_idx(path)
    with pytest.raises(ValueError, match="expected one file"):
        IdxImages(str(tmp_path), ("a",)).load()


@pytest.mark.slow
def test_compas_has_the_rows_of_the_publication(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load("compas", monkeypatch)
    assert sum(len(p) for p in (bundle.train, bundle.valid, bundle.test)) == 6172
    assert bundle.unit_names[0] == "sex"
    assert len(bundle.unit_names) == 8
    assert list(bundle.group_names) == ["sex", "race", "age_cat"]


@pytest.mark.exhaustive
def test_adult_keeps_its_official_test_part(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load("adult", monkeypatch)
    assert len(bundle.test) == 16281
    assert int(bundle.test.y.sum()) == 3846
    assert len(bundle.train) + len(bundle.valid) == 32561
    assert "fnlwgt" not in bundle.unit_names
    assert bundle.group_names["sex"] == ("Female", "Male")


def test_german_has_groups_by_sex(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load("german", monkeypatch)
    assert bundle.class_names == ("bad", "good")
    assert bundle.group_names["sex"] == ("female", "male")
    women = sum(
        int((p.groups["sex"] == 0).sum()) for p in (bundle.train, bundle.valid, bundle.test)
    )
    assert women == 310


def test_california_housing(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load("california_housing", monkeypatch)
    assert bundle.task == "regression"
    assert bundle.unit_names[-1] == "ocean_proximity"
    assert int(bundle.train.units[0].eq(8).sum()) == 5


@pytest.mark.exhaustive
def test_fashion_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load("fashion_mnist", monkeypatch)
    assert len(bundle.test) == 10000
    assert bundle.test.y.bincount().tolist() == [1000] * 10
    assert bundle.train.x.shape[1:] == (1, 28, 28)
    assert len(bundle.unit_names) == 49
