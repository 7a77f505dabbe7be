"""Rows of a data frame in x and back: without loss, with gaps, and what lies between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from xai_bench.core import actionability
from xai_bench.data.tables.column_codes import MISSING
from xai_bench.data.tables.constraints import Rules
from xai_bench.data.tables.encoding import TableEncoding
from xai_bench.types import Domain, Inputs


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": [20, 30, 40, 50],
            "income": [0.1, None, 1e9, -2.5],
            "job": ["cook", None, "nurse", "cook"],
            "own": [True, False, True, True],
            "size": pd.Categorical(["s", "l", "m", "s"], ["s", "m", "l", "xl"], ordered=True),
            "code": pd.array([1, None, 3, 4], dtype="Int64"),
            "since": pd.to_datetime(
                ["2020-01-01", None, "2021-05-06 07:08:09.123456", "1960-01-01"], format="mixed"),
            "wait": pd.to_timedelta(["1D", "2h", None, "3s"]),
            "zone": pd.to_datetime(["2020-01-01"] * 4).tz_localize("Europe/Berlin"),
        }
    )  # fmt: skip


def test_what_is_decoded_is_what_was_encoded() -> None:
    frame = table()
    encoding = TableEncoding.of(frame)
    found = encoding.decode(encoding.encode(frame))
    assert list(found.columns) == list(frame.columns)
    pd.testing.assert_frame_equal(found, frame, check_dtype=False)
    for name in ("job", "own", "size"):
        assert found[name].dtype == frame[name].dtype
    assert found["age"].dtype == found["code"].dtype == np.float64


def test_elements_units_and_names() -> None:
    frame = table()[["age", "income", "job", "own"]]
    encoding = TableEncoding.of(frame)
    assert encoding.names == ("age", "income", "job", "own")
    assert encoding.units.tolist() == [0, 1, 1, 2, 2, 2, 3, 3]
    labels = [element.label for element in encoding.elements]
    assert labels == ["", "", MISSING, "cook", "nurse", MISSING, "False", "True"]
    x = encoding.encode(frame)
    assert x.dtype == torch.float64
    assert x[1].tolist() == [30, (0.1 + 1e9 - 2.5) / 3, 1, 0, 0, 1, 1, 0]
    assert x.isfinite().all()


def test_a_mean_is_the_most_frequent_category_and_a_number() -> None:
    frame = table()[["income", "job", "own"]]
    encoding = TableEncoding.of(frame)
    mean = encoding.decode(encoding.encode(frame).mean(0, keepdim=True))
    assert mean["job"].tolist() == ["cook"]
    assert mean["own"].tolist() == [True]
    assert mean["income"].item() == pytest.approx((0.1 + 1e9 - 2.5) / 3)


def test_mostly_missing_is_missing() -> None:
    frame = pd.DataFrame({"a": [1.0, None, None]})
    encoding = TableEncoding.of(frame)
    assert np.isnan(encoding.decode(encoding.encode(frame).mean(0, keepdim=True))["a"].item())


def test_an_array_comes_back_as_an_array() -> None:
    rows = np.array([[1.0, np.nan], [2.0, 3.0]])
    encoding = TableEncoding.of(rows)
    found = encoding.decode(encoding.encode(rows))
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, rows)
    mixed = np.array([["a", 1], ["b", 2]], dtype=object)
    encoding = TableEncoding.of(mixed)
    assert encoding.decode(encoding.encode(mixed)).tolist() == [["a", 1.0], ["b", 2.0]]


def test_declared_categories_are_categories() -> None:
    frame = pd.DataFrame({"code": [3, 10, 3]})
    encoding = TableEncoding.of(frame, ["code"])
    assert [element.label for element in encoding.elements] == ["3", "10"]
    found = encoding.decode(encoding.encode(frame))["code"]
    assert found.tolist() == [3, 10, 3]
    assert found.dtype == np.int64


def test_counterfactuals_stay_in_the_table() -> None:
    """A number moves in whole steps, a category to another one, and nothing becomes missing."""
    frame = pd.DataFrame({"n": [1, 2, 5, 7], "c": [*"abca"], "g": [0.5, None, 1.5, 0.9]})
    encoding = TableEncoding.of(frame)
    x = encoding.encode(frame)
    domain = Domain(
        x, torch.ones(x.shape[1]), actionability=encoding.actionability(Rules(increasing=["n"]))
    )
    inputs = Inputs(x[:1], encoding.units.expand(1, -1), torch.arange(1), domain)
    wanted = torch.tensor([[[3.4, 0.2, 0.9, 0.1, 0.7, 0.8], [0.0, 1, 0, 0, 0.7, 0]]]).double()
    found = actionability.nearest(inputs, wanted)[0]
    expected = torch.tensor([[3, 0, 1, 0, 0.7, 0], [1, 1, 0, 0, 0.7, 0]])
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-6)
    gap = inputs.with_x(x[1:2])
    assert actionability.nearest(gap, wanted)[0, 1, 5].item() == 0, "a gap may be filled"


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"a": [None, None]}, "column 'a' has no values"),
        ({"a": [1.0, np.inf]}, "holds an infinite value"),
        ({"id": [2**60, 2**60 + 1]}, "beyond 2\\^53"),
        ({"a": [f"text {k}" for k in range(10_001)]}, "10001 different values"),
    ],
)
def test_what_cannot_be_brought_into_x_is_refused(frame: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TableEncoding.of(pd.DataFrame(frame))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="job"), r"lacks column 'job'; the background has age, job"),
        (lambda f: f.rename(columns={"job": "jobs"}), r"'job' \(did you mean jobs\?\)"),
        (lambda f: f.assign(extra=1), "a column 'extra' too much"),
        (lambda f: f[["job", "age"]], "'job' is where 'age' should be"),
        (lambda f: f.assign(job="pilot"), "holds 'pilot', which no row of the background has"),
        (lambda f: f.assign(age=[None, 1, 2, 3]), "has a missing value, and no row before had one"),
    ],
)
def test_other_columns_are_told_in_a_sentence(change: Any, words: str) -> None:
    frame = table()[["age", "job"]].fillna({"job": "none"})
    encoding = TableEncoding.of(frame)
    with pytest.raises(ValueError, match=words):
        encoding.encode(change(frame))


def test_two_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame(np.eye(2), columns=["a", "a"])
    with pytest.raises(ValueError, match="two columns 'a'"):
        TableEncoding.of(frame)
