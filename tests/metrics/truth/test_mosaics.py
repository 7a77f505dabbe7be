"""Focus: mosaics show what they should, and the score is the share of positive attribution on them.

On images of one colour each, where the model is the mean of every channel, so that the exact map of
a class is positive on the quadrants of that class and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from xai_bench.certify.retraining import ChannelMeans, ExactMap, colour_task
from xai_bench.certify.variants import with_model_variants
from xai_bench.metrics.truth.mosaics import Focus
from xai_bench.types import Explanation, Inputs, Model, Rng, Unsupported

SIZE = 8
QUADRANTS = [(row, column) for row in (0, 4) for column in (0, 4)]


@dataclass(frozen=True)
class Masked:
    """`factor * x` where `mask [H, W]` is 1, whatever is explained; keeps the inputs it got."""

    mask: Tensor = field(default_factory=lambda: torch.ones(SIZE, SIZE, dtype=torch.float64))
    factor: float = 1.0
    inputs: list[Tensor] = field(default_factory=list)

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        self.inputs.append(inputs.x)
        return Explanation(self.factor * self.mask * inputs.x)


class FirstQuadrantMeans(nn.Module):
    """The mean of each channel in the first quadrant: the model depends on nothing else."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :4, :4].mean((2, 3))


def focus(explainer: Any, world: toy_worlds.World | None = None) -> Tensor:
    world = world or colour_task()
    return Focus().score(world.case(world.explain(explainer), explainer=explainer))


def quadrants(mosaic: Tensor) -> list[Tensor]:
    """`[C, H, W]` -> four times `[C, H / 2, W / 2]`."""
    return [mosaic[:, row : row + 4, column : column + 4] for row, column in QUADRANTS]


# What a mosaic shows


def test_two_quadrants_are_of_the_class_and_one_of_them_is_the_sample() -> None:
    explainer, world = Masked(), colour_task()
    focus(explainer, world)
    mosaics = explainer.inputs[-1]
    assert mosaics.shape == world.inputs.x.shape
    for mosaic, label, sample in zip(mosaics, world.targets, world.inputs.x, strict=True):
        colours = [int(quadrant.flatten(1).sum(1).argmax()) for quadrant in quadrants(mosaic)]
        assert colours.count(int(label)) == 2
        half_size = sample.view(3, 4, 2, 4, 2).mean((2, 4))
        assert sum(torch.allclose(quadrant, half_size) for quadrant in quadrants(mosaic)) == 1


def test_images_of_odd_size_are_shown_whole() -> None:
    x = toy_worlds.normal(6, 3, 5, 7, seed=1).abs()
    units = torch.arange(35).view(5, 7).expand(3, 5, 7)
    world = with_model_variants(toy_worlds.world(ChannelMeans(), x, units, x))
    explainer = Masked(torch.ones(5, 7, dtype=torch.float64))
    assert focus(explainer, world).shape == (6,)
    assert explainer.inputs[-1].shape == x.shape


# The score


def test_the_score_is_the_share_of_the_class_in_the_positive_attribution() -> None:
    """Where the map is the mosaic itself, all quadrants of the class are of its colour only."""
    explainer, world = Masked(), colour_task()
    scores = focus(explainer, world)
    mosaics = explainer.inputs[-1]
    for score, mosaic, label in zip(scores, mosaics, world.targets, strict=True):
        assert score.item() == pytest.approx((mosaic[label].sum() / mosaic.sum()).item())


def test_the_exact_map_of_a_model_that_uses_all_pixels_scores_1() -> None:
    torch.testing.assert_close(focus(ExactMap()), torch.ones(180, dtype=torch.float64))


def test_a_model_that_uses_one_quadrant_leaves_half_of_the_samples_to_score() -> None:
    """The exact map is zero where that quadrant shows another class: NaN. A map that only says
    where the model looks scores 1 on the others, and 0 on these: right half of the time.
    """
    colours = colour_task()
    background = colours.inputs.domain.background
    world = with_model_variants(
        toy_worlds.world(
            FirstQuadrantMeans().double(), colours.inputs.x, colours.inputs.units[0], background
        )
    )
    exact = focus(ExactMap(), world)
    scored = ~exact.isnan()
    assert set(exact[scored].tolist()) == {1.0}
    assert 0.35 < scored.double().mean().item() < 0.65
    first_quadrant = torch.zeros(SIZE, SIZE, dtype=torch.float64)
    first_quadrant[:4, :4] = 1
    positions = focus(Masked(first_quadrant), world)
    assert set(positions.tolist()) == {0.0, 1.0}
    assert torch.equal(positions == 1, scored)


# What cannot be scored


def test_a_map_without_positive_attribution_is_not_scored() -> None:
    assert focus(Masked(factor=-1.0)).isnan().all()


def test_a_class_without_other_images_is_not_scored() -> None:
    world, explainer = colour_task(), Masked()
    case = world.case(world.explain(explainer), explainer=explainer)
    unknown = torch.full((len(world.inputs),), 9)
    assert Focus().score(replace(case, labels=unknown)).isnan().all()


def test_tables_unlabelled_images_and_models_without_data_are_declined() -> None:
    table = with_model_variants(toy_worlds.tabular())
    with pytest.raises(Unsupported, match="mosaics need images"):
        focus(ExactMap(), table)
    image = with_model_variants(toy_worlds.image())
    case = image.case(image.explain(ExactMap()), explainer=ExactMap())  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match="labels"):
        Focus().score(replace(case, labels=None))
    with pytest.raises(Unsupported, match="its data and recipe"):
        Focus().score(replace(case, variants=None))
