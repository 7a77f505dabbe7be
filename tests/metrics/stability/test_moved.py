"""Mosaics and translations by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan, sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from xai_bench.certify.retraining import ChannelMeans, ExactMap, colour_task
from xai_bench.certify.variants import with_model_variants
from xai_bench.metrics.stability.continuity import Continuity, translations
from xai_bench.metrics.truth.mosaics import Focus
from xai_bench.types import Explanation, Inputs, Model, Rng, Unsupported


@dataclass(frozen=True)
class Where:
    """`x`, or the negative, where `mask [H, W]` says so, whatever is explained; keeps mosaics."""

    mask: Tensor
    factor: float
    seen: list[Tensor]

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        self.seen.append(inputs.x)
        return Explanation(self.factor * self.mask * inputs.x)


class Corner(nn.Module):
    """How much there is of each colour in the first quadrant: the model looks nowhere else."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :4, :4].mean((2, 3))


def focus(explainer: Any, world: toy_worlds.World | None = None) -> Tensor:
    world = world or colour_task()
    return Focus().score(world.case(world.explain(explainer), explainer=explainer))


# Mosaics


def test_a_mosaic_shows_two_quadrants_of_the_class() -> None:
    explainer, world = Where(torch.ones(8, 8).double(), 1.0, []), colour_task()
    found = focus(explainer, world)
    mosaics = explainer.seen[-1]
    assert mosaics.shape == world.inputs.x.shape
    for mosaic, label, sample in zip(mosaics, world.targets, world.inputs.x, strict=True):
        quadrants = [mosaic[:, a : a + 4, b : b + 4] for a in (0, 4) for b in (0, 4)]
        colour = [int(q.flatten(1).sum(1).argmax()) for q in quadrants]
        assert colour.count(int(label)) == 2
        small = sample.view(3, 4, 2, 4, 2).mean((2, 4))
        assert sum(torch.allclose(q, small) for q in quadrants) == 1, "the sample is one of them"
    for row, (mosaic, label) in enumerate(zip(mosaics, world.targets, strict=True)):
        assert found[row].item() == pytest.approx((mosaic[label].sum() / mosaic.sum()).item())


def test_the_exact_map_of_a_model_that_sees_everything_is_on_the_class() -> None:
    torch.testing.assert_close(focus(ExactMap()), torch.ones(180, dtype=torch.float64))


def test_a_model_that_looks_at_one_quadrant_only() -> None:
    """The map is exact, and 0 where that quadrant shows another class: not scored. A map that says
    only where the model looks is right half of the time.
    """
    plain = colour_task()
    net = Corner().double()
    world = with_model_variants(
        toy_worlds.world(net, plain.inputs.x, plain.inputs.units[0], plain.inputs.domain.background)
    )
    found = focus(ExactMap(), world)
    assert found[~found.isnan()].tolist() == [1.0] * int((~found.isnan()).sum())
    assert 0.35 < found.isnan().double().mean().item() < 0.65
    mask = torch.zeros(8, 8, dtype=torch.float64)
    mask[:4, :4] = 1
    looked = focus(Where(mask, 1.0, []), world)
    assert set(looked.tolist()) == {0.0, 1.0}
    assert torch.equal(looked == 1, ~found.isnan())


def test_what_speaks_against_the_class_does_not_count() -> None:
    assert focus(Where(torch.ones(8, 8).double(), -1.0, [])).isnan().all()


def test_odd_sizes_and_parts_without_the_class() -> None:
    x = toy_worlds.normal(6, 3, 5, 7, seed=1).abs()
    units = torch.arange(35).view(5, 7).expand(3, 5, 7)
    world = with_model_variants(toy_worlds.world(ChannelMeans(), x, units, x))
    explainer = Where(torch.ones(5, 7).double(), 1.0, [])
    case = world.case(world.explain(explainer), explainer=explainer)
    assert Focus().score(case).shape == (6,)
    unknown = torch.full((6,), 9)
    assert Focus().score(replace(case, labels=unknown)).isnan().all()


def test_mosaics_need_images_classes_and_labels() -> None:
    table, image = (
        with_model_variants(toy_worlds.tabular()),
        with_model_variants(toy_worlds.image()),
    )
    explainer = ExactMap()
    with pytest.raises(Unsupported, match="mosaics need images"):
        Focus().score(table.case(table.explain(explainer), explainer=explainer))
    case = image.case(image.explain(explainer), explainer=explainer)
    with pytest.raises(Unsupported, match="labels"):
        Focus().score(replace(case, labels=None))
    with pytest.raises(Unsupported, match="the data and the recipe"):
        Focus().score(replace(case, variants=None))


# Translations


def series(x: list[float], weight: list[float]) -> toy_worlds.World:
    """The same sample twice, in one channel; every step is a unit."""
    values = torch.tensor([x, x], dtype=torch.float64)[:, None]
    return toy_worlds.world(
        toy_worlds.Linear(torch.tensor(weight)),
        values,
        torch.arange(len(x))[None],
        values.repeat(2, 1, 1),
    )


def continuity(world: toy_worlds.World, explainer: Any, max_shift: int = 1) -> float:
    case = world.case(world.explain(explainer), explainer=explainer)
    return Continuity(max_shift).score(case)[0].item()


def test_continuity_of_a_linear_model() -> None:
    """X = 1 2 4 becomes 2 4 4 or 1 1 2, steps of sqrt(5); contributions to zero are 5 1 1 times x,
    5 2 4, and change by 5 + 2 + 0 or 0 + 1 + 2, of 11.
    """
    world = series([1.0, 2.0, 4.0], [5.0, 1.0, 1.0])
    assert continuity(world, ExactMap()) == pytest.approx(7 / 11 / sqrt(5))


def test_translations_repeat_the_edge_and_keep_padding() -> None:
    world = series([1.0, 2.0, 4.0, 8.0], [1.0] * 4)
    found = [moved[0, 0].tolist() for moved in translations(world.inputs, 2)]
    assert found == [[2, 4, 8, 8], [1, 1, 2, 4], [4, 8, 8, 8], [1, 1, 1, 2]]
    image = toy_worlds.image().inputs
    moved = translations(image, 1)
    assert torch.equal(moved[0][:, :, :-1], image.x[:, :, 1:]), "up"
    assert torch.equal(moved[3][..., 1:], image.x[..., :-1]), "right"
    padded = replace(
        image, units=torch.where(image.units == 0, -1, image.units)[:1].expand(5, 3, 8, 8)
    )
    outside = padded.units < 0
    assert all(torch.equal(m[outside], image.x[outside]) for m in translations(padded, 2))


@dataclass(frozen=True)
class Still:
    """A map that does not look at its input."""

    value: float = 1.0

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(torch.full_like(inputs.x, self.value))


def test_a_map_that_ignores_its_input_is_continuous_and_zeros_are_not_scored() -> None:
    world = series([1.0, 2.0, 4.0], [1.0] * 3)
    assert continuity(world, Still()) == 0
    assert isnan(continuity(world, Still(0.0)))


def test_where_nothing_moves_there_is_no_score() -> None:
    assert isnan(continuity(series([2.0, 2.0, 2.0], [1.0] * 3), ExactMap()))


def test_units_of_data_and_map_do_not_count() -> None:
    world = series([1.0, 2.0, 4.0], [5.0, 1.0, 1.0])
    small = world.inputs.domain
    domain = replace(small, scale=small.scale * 10)
    tenfold = replace(world, inputs=replace(world.inputs, domain=domain))
    assert continuity(tenfold, ExactMap()) == pytest.approx(10 * continuity(world, ExactMap()))


@pytest.mark.parametrize("world", [toy_worlds.tabular(), toy_worlds.text(), toy_worlds.gates()])
def test_what_has_no_axis_to_move_along_is_declined(world: toy_worlds.World) -> None:
    with pytest.raises(Unsupported, match="translations need"):
        Continuity().score(world.case(world.explain(Still()), explainer=Still()))
