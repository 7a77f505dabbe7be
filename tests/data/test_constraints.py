"""Proves which changes of a column are possible, in the space of x."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from xai_bench.data.bundle import Bundle
from xai_bench.data.tables.files import CustomTable
from xai_bench.data.tables.sklearn import SklearnTable
from xai_bench.types import Actionability


def table(folder: Path, **fields: Any) -> Bundle:
    """Columns: age 20..59, sex, smoker (2 or 5), income with decimals, and the target."""
    path = folder / "people.csv"
    lines = ["age,sex,smoker,income,label"]
    lines += [
        f"{20 + k % 40},{'fm'[k % 2]},{2 + 3 * (k % 3 // 2)},{k / 7},{k % 2}" for k in range(80)
    ]
    path.write_text("\n".join(lines))
    return CustomTable(str(path), "label", **fields).load()


def rules_of(bundle: Bundle) -> Actionability:
    assert bundle.actionability is not None
    return bundle.actionability


def test_columns_without_rules_have_the_constraints_of_their_values(tmp_path: Path) -> None:
    bundle = table(tmp_path)
    rules, x = rules_of(bundle), bundle.train.x.double()
    assert rules.codes.tolist() == [False, True, True, False, False]
    assert not (rules.fixed | rules.rising | rules.falling).any()
    steps = (x - rules.origin)[:, [0, 3]] / rules.step[[0, 3]]
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
    years = sorted({round(s) for s in steps[:, 0].tolist()})
    assert min(years) >= 20
    assert max(years) <= 59
    assert set(steps[:, 1].round().tolist()) == {0, 1}, "two values are all there are"
    assert rules.step[4] == 0
    bounds = torch.stack([rules.lowest[3], rules.highest[3]])
    torch.testing.assert_close(
        bounds, torch.stack([x[:, 3].min(), x[:, 3].max()]), atol=1e-5, rtol=0
    )
    assert rules.lowest[[1, 2]].tolist() == [-torch.inf] * 2
    for place in (0, 4):
        observed = torch.stack([x[:, place].min(), x[:, place].max()])
        bounds = torch.stack([rules.lowest[place], rules.highest[place]])
        torch.testing.assert_close(bounds, observed, atol=1e-5, rtol=0)


def test_ranges_may_be_wider_than_what_was_observed(tmp_path: Path) -> None:
    rules = rules_of(table(tmp_path, ranges={"age": [0, 120], "income": [None, None]}))
    years = (torch.stack([rules.lowest[0], rules.highest[0]]) - rules.origin[0]) / rules.step[0]
    torch.testing.assert_close(years, torch.tensor([0.0, 120.0]).double())
    assert (rules.lowest[4], rules.highest[4]) == (-torch.inf, torch.inf)


def test_a_config_adds_its_rules(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "immutable": ["sex"], "increasing": ["age"], "decreasing": ["income"],
        "ranges": {"age": [18, 65], "income": [None, 9.5]},
    }  # fmt: skip
    bundle = table(tmp_path, **fields)
    rules, domain = rules_of(bundle), bundle.domain(16)
    assert domain.actionability is rules
    assert rules.fixed.tolist() == [False, True, True, False, False]
    assert rules.rising.tolist() == [True, False, False, False, False]
    assert rules.falling.tolist() == [False, False, False, False, True]
    years = (torch.stack([rules.lowest[0], rules.highest[0]]) - rules.origin[0]) / rules.step[0]
    torch.testing.assert_close(years, torch.tensor([18.0, 65.0]).double())
    assert rules.lowest[4] == -torch.inf
    assert rules.highest[4].isfinite()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"immutable": ["sexe"]}, r"data.immutable: 'sexe' is not among .*did you mean sex"),
        ({"increasing": ["label"]}, r"data.increasing: 'label' is not among the columns"),
        ({"ranges": {"agee": [1, 2]}}, r"data.ranges: 'agee' .*did you mean age"),
        ({"decreasing": ["sex"]}, r"column 'sex' holds categories, which have no order"),
        ({"ranges": {"age": [9, 1]}}, r"column 'age' has \[9, 1\]; expected \[low, high\]"),
        ({"ranges": {"age": [9]}}, r"expected \[low, high\], null for an open end"),
        ({"ranges": {"age": 9}}, r"column 'age' has 9; expected"),
    ],
)
def test_a_mistake_raises_one_sentence(
    tmp_path: Path, fields: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        table(tmp_path, **fields)


@pytest.mark.slow
def test_tables_of_scikit_learn_have_rules_too() -> None:
    rules = rules_of(SklearnTable("diabetes", immutable=["sex"], increasing=["age"]).load())
    assert rules.fixed.nonzero().flatten().tolist() == [1]
    assert rules.rising.nonzero().flatten().tolist() == [0]
    assert rules.step[1] > 0, "sex has two values"
    with pytest.raises(ValueError, match="did you mean sex"):
        SklearnTable("diabetes", immutable=["sx"]).load()
