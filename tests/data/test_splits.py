"""Proves splits, scaling, labels and patches on small cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from xai_bench.data.images.images import patches
from xai_bench.data.labels import read_labels
from xai_bench.data.splits import FRACTIONS, partition, standardise


def test_every_part_has_its_share_of_each_class() -> None:
    y = torch.cat([torch.zeros(50), torch.ones(10), torch.full((5,), 2)]).long()
    parts = partition(y, FRACTIONS, seed=0)
    assert y[parts.train].bincount().tolist() == [30, 6, 3]
    assert y[parts.valid].bincount().tolist() == [10, 2, 1]
    assert y[parts.test].bincount().tolist() == [10, 2, 1]
    everyone = torch.cat([parts.train, parts.valid, parts.test]).sort().values
    assert torch.equal(everyone, torch.arange(65))


def test_a_prefix_is_a_fair_sample_of_sorted_data() -> None:
    y = (torch.arange(4000) >= 2000).long()
    for rows in vars_of(partition(y, FRACTIONS, seed=0)):
        assert y[rows[:200]].float().mean().item() == pytest.approx(0.5, abs=0.12)
        assert rows[:200].double().mean().item() == pytest.approx(2000, abs=300)


def vars_of(parts: Any) -> list[torch.Tensor]:
    return [parts.train, parts.valid, parts.test]


def test_the_seed_alone_decides_the_split() -> None:
    y = torch.linspace(0, 1, 100)
    first, again, other = (partition(y, FRACTIONS, seed=s) for s in (0, 0, 1))
    assert torch.equal(first.train, again.train)
    assert not torch.equal(first.train, other.train)
    assert [len(rows) for rows in vars_of(first)] == [60, 20, 20]


def test_an_official_test_part_stays_whole() -> None:
    parts = partition(torch.zeros(140).long(), FRACTIONS, seed=0, n_test=40)
    assert sorted(parts.test.tolist()) == list(range(100, 140))
    assert parts.test.tolist() != list(range(100, 140))
    assert (len(parts.train), len(parts.valid)) == (75, 25)


@pytest.mark.parametrize("fractions", [(0.6, 0.4), (0.6, 0.2, 0.3), (0.8, 0.2, 0.0)])
def test_wrong_fractions_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="three positive shares"):
        partition(torch.zeros(9).long(), fractions, seed=0)


def test_scaling_is_learned_on_training_rows_only() -> None:
    """Rows 1 and 3 have mean 2 and deviation 1; the third column does not vary."""
    x = torch.tensor([[1.0, 10.0, 0.1], [3.0, 30.0, 0.1], [100.0, 20.0, 5.1]])
    out = standardise(x, torch.tensor([0, 1]))
    expected = torch.tensor([[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [98.0, 0.0, 5.0]])
    assert torch.allclose(out, expected)
    assert out.dtype == torch.float32


@pytest.mark.parametrize(
    ("values", "task", "names"),
    [
        (["b", "a", "b", "a"], "classification", ("a", "b")),
        ([2, 1, 2, 1], "classification", ("1", "2")),
        ([2.0, 1.0, 2.0, 1.0], "classification", ("1", "2")),
        ([True, False, True, False], "classification", ("False", "True")),
        ([0.5, 1.0, 2.0, 1.0], "regression", ()),
        (list(range(21)), "regression", ()),
    ],
)
def test_auto_tells_classes_from_numbers(values: list[Any], task: str, names: Any) -> None:
    labels = read_labels(np.array(values), "y")
    assert (labels.task, labels.class_names) == (task, names)
    if task == "classification":
        assert labels.y.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("values", "task", "sentence"),
    [
        ([3, 3, 3], "auto", "only one value"),
        (["a", "a", "b"], "auto", "class 'b' of the target 'y' has a single row"),
        (["a", "a", "b"], "regression", "holds text such as 'a'"),
        ([1.0, np.nan, 2.0], "auto", "NaN or infinite"),
        ([], "auto", "no rows"),
    ],
)
def test_useless_targets_are_refused(values: list[Any], task: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_labels(np.array(values), "y", task)


def test_patches_are_numbered_row_by_row() -> None:
    units, names = patches((3, 4, 6), 2)
    expected = [[0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5], [3, 3, 4, 4, 5, 5]]
    assert units.tolist() == [expected] * 3
    assert names == ("r0c0", "r0c1", "r0c2", "r1c0", "r1c1", "r1c2")


def test_border_patches_are_smaller() -> None:
    units, names = patches((1, 5, 5), 3)
    assert units[0, -1].tolist() == [2, 2, 2, 3, 3]
    assert len(names) == 4
    with pytest.raises(ValueError, match=r"1\.\.5"):
        patches((1, 5, 5), 6)
