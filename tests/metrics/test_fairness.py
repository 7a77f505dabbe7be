"""The share of attribution on sensitive columns: by hand, and which elements a table marks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from tests.support.components import component
from xai_bench.data.tables.files import CustomTable
from xai_bench.models.views import ChannelGates
from xai_bench.types import Case, Unsupported

METRIC = component("metric", "sensitive_share")
CLASSES = "xyxyxyxyxyxyxyxyxyxy"


def case(attribution: Tensor, sensitive: Tensor | None, units: Tensor | None = None) -> Case:
    """A linear model of as many columns as the map has."""
    world = toy_worlds.linear([1.0] * attribution.shape[1], n=len(attribution))
    domain = replace(world.inputs.domain, sensitive=sensitive)
    inputs = replace(world.inputs, domain=domain)
    if units is not None:
        inputs = replace(inputs, units=units.expand(inputs.x.shape))
    return replace(world, inputs=inputs).case(attribution.double())


def test_the_share_is_that_of_absolute_attribution() -> None:
    maps = torch.tensor([[1.0, -2, 1, 0], [0, 0, 0, 3], [0, 0, 0, 0], [0, -5, 0, 0]])
    scores = METRIC.score(case(maps, torch.tensor([False, True, False, True])))
    assert scores[:2].tolist() == [0.5, 1.0]
    assert scores[2].isnan()
    assert scores[3] == 1


def test_parts_of_one_column_are_added_before_their_size_is_taken() -> None:
    """The second unit is a category of two parts that cancel but for 1; the other column has 3."""
    maps = torch.tensor([[3.0, 5, -4]])
    units = torch.tensor([0, 1, 1])
    assert METRIC.score(case(maps, torch.tensor([False, True, True]), units)).item() == 0.25


def test_a_random_map_scores_the_share_of_sensitive_units() -> None:
    maps = toy_worlds.normal(4000, 5, seed=1)
    scores = METRIC.score(case(maps, torch.tensor([True, False, False, True, False])))
    assert scores.mean().item() == pytest.approx(2 / 5, abs=4 * scores.std().item() / 4000**0.5)


def test_the_share_does_not_depend_on_size_sign_or_batch() -> None:
    maps, marked = toy_worlds.normal(6, 5, seed=2), torch.arange(5) < 2
    whole = METRIC.score(case(maps, marked))
    assert torch.allclose(METRIC.score(case(-3 * maps, marked)), whole)
    assert torch.equal(METRIC.score(case(maps[[4, 1]], marked)), whole[[4, 1]])


def test_without_sensitive_columns_the_share_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="sensitive"):
        METRIC.score(case(torch.ones(2, 3), None))


@pytest.mark.parametrize(("drop", "expected"), [((), [False, True, True, True]), (("race",), None)])
def test_a_table_marks_all_parts_of_its_sensitive_columns(
    tmp_path: Path, drop: tuple[str, ...], expected: list[bool] | None
) -> None:
    """Numbers are one element, `race` has three; where it is dropped nothing is marked."""
    path = tmp_path / "table.csv"
    rows = [f"{i},{'abc'[i % 3]},{label}" for i, label in enumerate(CLASSES)]
    path.write_text("\n".join(["age,race,label", *rows]))
    bundle = CustomTable(str(path), "label", sensitive=("race",), drop=drop).load()
    marked = bundle.evaluation(4, 8).domain.sensitive
    assert (None if marked is None else marked.tolist()) == expected
    assert set(bundle.test.groups) == {"race"}


def test_gates_are_no_columns() -> None:
    world = toy_worlds.image()
    domain = replace(world.inputs.domain, sensitive=torch.ones(3, 8, 8).bool())
    inputs = replace(world.inputs, domain=domain)
    _, gated = ChannelGates("0").look(world.model.predictor, inputs)
    assert gated.domain.sensitive is None
