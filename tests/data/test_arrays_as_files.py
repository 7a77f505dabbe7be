"""NPZ files that are broken, ambiguous or hostile: right, or one sentence."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from xai_bench.data.arrays import CustomArrays
from xai_bench.data.bundle import Bundle

N = 40
X = np.random.default_rng(0).normal(size=(N, 5))
Y = np.arange(N) % 2
IMAGES = np.random.default_rng(1).integers(0, 256, (N, 3, 8, 8)).astype(np.uint8)


def load(path: Path) -> Bundle:
    return CustomArrays(str(path)).load()


def npy(array: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array))
    return file.getvalue()


def header(descr: str, shape: str, rest: str = "") -> bytes:
    """The head of an array as NumPy writes it, whatever stands in it."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, {rest}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def packed(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "objects": ({"x": np.array([[{}]] * N), "y": Y}, "in 'x', there are Python objects"),
    "complex": ({"x": X + 0j, "y": Y}, "complex128.*expected numbers"),
    "texts": ({"x": X.astype(str), "y": Y}, "expected numbers"),
    "long doubles": ({"x": X.astype(np.longdouble), "y": Y}, "at most 64 bits"),
    "dates": ({"x": X, "y": Y.astype("M8[s]")}, "y holds datetime64"),
    "records": ({"x": np.zeros(N, [("a", "f8")]), "y": Y}, "'x' is none"),
    "no rows": ({"x": X[:0], "y": Y[:0]}, "no axis empty"),
    "no columns": ({"x": X[:, :0], "y": Y}, "no axis empty"),
    "a number": ({"x": np.float64(3), "y": Y}, "expected numbers"),
    "one-hot labels": ({"x": X, "y": np.eye(2)[Y]}, r"y of shape \[40, 2\]"),
    "bytes beside floats": (
        {"x": IMAGES, "y": Y, "x_test": IMAGES / 255, "y_test": Y},
        "x holds uint8 and x_test float64; expected the same type",
    ),
    "texts beside numbers": (
        {"x": X, "y": Y, "x_test": X, "y_test": Y.astype(str)}, "numbers in both, or texts in both"
    ),
    "labels of a test part alone": ({"x": X, "y": Y, "y_test": Y}, "x_test and y_test"),
    "huge pixels": ({"x": IMAGES * 1e37, "y": Y}, "single precision moves them by up to inf"),
    "gaps in units": ({"x": X, "y": Y, "units": np.array([0, 1, 3, 4, 5])}, "0 to 5, 5 different"),
    "negative units": ({"x": X, "y": Y, "units": np.array([0, 1, -2, 2, 3])}, "-2 to 3, 5 diff"),
    "only padding": ({"x": X, "y": Y, "units": np.full(5, -1)}, "are -1 only"),
    "half units": ({"x": X, "y": Y, "units": np.array([0, 0.5, 1, 2, 3])}, "whole numbers"),
    "infinite units": ({"x": X, "y": Y, "units": np.array([0, np.inf, 1, 2, 3])}, "whole numbers"),
    "units by name": ({"x": X, "y": Y, "units": np.array(list("abcde"))}, "whole numbers"),
    "masks of texts": ({"x": IMAGES, "y": Y, "masks": IMAGES.astype(str)}, "numbers or truth"),
    "masks of NaN": ({"x": IMAGES, "y": Y, "masks": np.full(IMAGES.shape, np.nan)}, "hold NaN"),
    "a mask": ({"x": IMAGES, "y": Y, "masks": np.array(1)}, r"expected \[40, 3, 8, 8\]"),
    "masks of two shapes": (
        {"x": IMAGES, "y": Y, "x_test": IMAGES, "y_test": Y, "masks": IMAGES,
         "masks_test": IMAGES[:, 0]},
        "of one shape in masks and masks_test",
    ),
    "masks of no test part": ({"x": IMAGES, "y": Y, "masks_test": IMAGES}, "holds masks_test"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_arrays_that_do_not_fit_are_one_sentence(tmp_path: Path, name: str) -> None:
    arrays, sentence = REFUSED[name]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=sentence) as caught:
        load(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


MEMBERS: dict[str, tuple[bytes, str]] = {
    "a pickle": (pickle.dumps(X), "'x' is none"),
    "nothing": (b"", "'x' is none"),
    "half of it": (npy(X)[:500], "in 'x', "),
    "a huge shape": (header("'<f8'", "(1000000000000, 5)") + bytes(100), "in 'x', "),
    "a negative shape": (header("'<f8'", "(-1, 5)"), "negative dimensions"),
    "overflow": (header("'<f8'", "(4611686018427387904, 4611686018427387904)"), "in 'x', "),
    "a call": (header("'<f8'", "__import__('os').system('false')"), "in 'x', malformed node"),
    "depth": (header("'<f8'", "(" * 300 + "1" + ")" * 300), "in 'x', Cannot parse header"),
    "more keys": (header("'<f8'", "(40, 5)", "'a': 1") + X.tobytes(), "correct keys"),
    "texts of no length": (header("'<U0'", "(100000000000, 5)"), "expected numbers"),
    "another version": (b"\x93NUMPY\x09\x00" + bytes(50), "format version"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_members_that_are_no_array_are_one_sentence(tmp_path: Path, name: str) -> None:
    content, sentence = MEMBERS[name]
    with pytest.raises(ValueError, match=sentence) as caught:
        load(packed(tmp_path / "a.npz", x=content, y=npy(Y)))
    assert len(str(caught.value)) < 500 + len(str(tmp_path))
    assert "allow_pickle" not in str(caught.value)


@pytest.mark.parametrize("second", ["x.npy", "x"])
def test_two_arrays_of_one_name_are_refused(tmp_path: Path, second: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in (("x.npy", X), (second, 0 * X), ("y.npy", Y)):
            file.writestr(name, npy(content))
    with pytest.raises(ValueError, match="two arrays of one name"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("damage", ["cut", "flip", "checksum", "prefix"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, damage: str) -> None:
    content = bytearray(packed(tmp_path / "a.npz", x=npy(X), y=npy(Y)).read_bytes())
    last = content.rindex(b"PK\x01\x02")
    if damage in ("flip", "checksum"):
        content[200 if damage == "flip" else last + 16] ^= 255
    content = {"cut": content[:-30], "prefix": b"ahead" + content}.get(damage, content)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"is not an NPZ file|not a whole ZIP file"):
        load(tmp_path / "a.npz")


def test_what_is_not_asked_for_is_not_read(tmp_path: Path) -> None:
    hostile = header("'<f8'", "(1000000000000, 5)")
    path = packed(tmp_path / "a.npz", x=npy(X), y=npy(Y), names=pickle.dumps([1]), z=hostile)
    assert len(load(path).train) == 24


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", ">i2", "i1", "u1", "u4", "i8"])
def test_every_type_and_order_gives_the_same_numbers(tmp_path: Path, dtype: str) -> None:
    whole = (np.abs(X) * 10).round()
    np.savez(tmp_path / "a.npz", x=whole, y=Y)
    np.savez(tmp_path / "b.npz", x=np.asfortranarray(whole.astype(dtype)), y=Y.astype(">i4"))
    first, second = load(tmp_path / "a.npz"), load(tmp_path / "b.npz")
    assert first.train.x.equal(second.train.x)
