"""Whole numbers that float64, or single precision, would make equal: refused, or told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from xai_bench.data.arrays import CustomArrays
from xai_bench.data.tables.encoding import TableEncoding
from xai_bench.data.tables.files import CustomTable

N = 48
BEYOND = "holds whole numbers.*float64 cannot tell apart"
LONG, LONGER = 2**53 + 1, 2**64 + 1


def table(
    folder: Path, values: Sequence[Any], *, as_target: bool = False, **settings: Any
) -> CustomTable:
    """A CSV file whose column `b`, or its target, repeats these values."""
    b = [values[k % len(values)] for k in range(N)]
    y = ["yes" if k % 3 == 0 else "no" for k in range(N)]
    rows = [(k * 37 % 11 / 7, *((k % 5, v) if as_target else (v, y[k]))) for k, v in enumerate(b)]
    lines = ["a,b,y", *(",".join(map(str, row)) for row in rows)]
    path = folder / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    return CustomTable(str(path), "y", **settings)


@pytest.mark.sample(3, others="slow")
@pytest.mark.parametrize("first", [LONG, 2**63, LONGER, 10**30, -LONGER])
@pytest.mark.parametrize("gap", [[], [""]], ids=["whole", "with a gap"])
def test_digits_that_float64_does_not_hold_are_refused(
    tmp_path: Path, first: int, gap: list[str]
) -> None:
    long = [*gap, *range(first, first + 30)]
    with pytest.raises(ValueError, match=f"'b' {BEYOND}"):
        table(tmp_path, long).load()
    with pytest.raises(ValueError, match=f"'y' {BEYOND}"):
        table(tmp_path, long[len(gap) :], as_target=True).load()
    for leaving_out in ({"drop": ["b"]}, {"ignore": ["b"]}):
        assert table(tmp_path, long, **leaving_out).load().unit_names == ("a",)


@pytest.mark.parametrize("first", [LONG, LONGER])
def test_as_categories_and_classes_every_digit_counts(tmp_path: Path, first: int) -> None:
    three = [first, first + 1, first + 2]
    bundle = table(tmp_path, ["", *three], categorical=["b"]).load()
    assert [e.label for e in bundle.elements if e.label] == list(map(str, three))
    classes = table(tmp_path, three, as_target=True, task="classification").load().class_names
    assert classes == tuple(map(str, three))


@pytest.mark.parametrize("form", ["{}", "{:.0f}", "{:.6f}"])
def test_large_measurements_are_numbers(tmp_path: Path, form: str) -> None:
    written = [form.format(1e20 * (1 + k / 60)) for k in range(30)]
    bundle = table(tmp_path, written).load()
    assert len(bundle.train.x[:, 1].unique()) > 15


FRAMES: dict[str, Callable[[], Any]] = {
    "whole numbers with gaps": lambda: pd.array(
        [None if k % 7 == 0 else LONG + k for k in range(N)], dtype="Int64"
    ),
    "without a sign": lambda: pd.array([2**63 + k for k in range(N)], dtype="UInt64"),
    "decimals": lambda: [Decimal(LONG + k) for k in range(N)],
}


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize("name", FRAMES)
def test_of_other_files_too(tmp_path: Path, name: str, suffix: str) -> None:
    a, y = np.arange(N) * 37 % 11 / 7, np.where(np.arange(N) % 3, "no", "yes")
    frame = pd.DataFrame({"a": a, "b": FRAMES[name](), "y": y})
    path = tmp_path / f"t.{suffix}"
    frame.to_parquet(path) if suffix == "parquet" else frame.to_feather(path)
    with pytest.raises(ValueError, match=f"'b' {BEYOND}"):
        CustomTable(str(path), "y").load()


def test_of_arrays_too(tmp_path: Path) -> None:
    long = np.arange(2 * N).reshape(N, 2)
    for x in (long + LONG, long.astype(np.uint64) + np.uint64(2**63)):
        np.savez(tmp_path / "t.npz", x=x, y=np.arange(N) % 2)
        with pytest.raises(ValueError, match=f"'x' {BEYOND}"):
            CustomArrays(str(tmp_path / "t.npz")).load()


def test_values_of_a_frame_that_differ_in_the_last_digit_are_two() -> None:
    ids = pd.Series([LONGER, LONGER + 1, LONGER], dtype=object)
    encoding = TableEncoding.of(pd.DataFrame({"id": ids}))
    assert encoding.encode(pd.DataFrame({"id": ids})).tolist() == [[1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize("as_target", [False, True])
@pytest.mark.parametrize(
    "values", [[2**24 + k for k in range(30)], [1.7e9 + k for k in range(30)], [1e39, 2e39]]
)
def test_without_scaling_numbers_have_to_fit_into_single_precision(
    tmp_path: Path, values: list[float], as_target: bool
) -> None:
    data = table(tmp_path, values, as_target=as_target, scale="none", task="auto")
    if as_target and len(values) < 20:
        data = table(tmp_path, values, as_target=True, scale="none", task="regression")
    with pytest.raises(ValueError, match="single precision moves them by up to"):
        data.load()


@pytest.mark.parametrize("values", [[0.1], [1e9 / 3], [1 / 3, 2e9 / 3], [k / 7 for k in range(9)]])
def test_what_rounding_leaves_alone_is_taken_without_scaling(
    tmp_path: Path, values: list[float]
) -> None:
    table(tmp_path, values, scale="none").load()
