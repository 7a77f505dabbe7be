"""Continuity: what translations do to inputs, and the score as the steepest change of the map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan, sqrt
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.certify.retraining import ExactMap
from xai_bench.metrics.stability.continuity import Continuity, translations
from xai_bench.types import Explanation, Inputs, Model, Rng, Unsupported


@dataclass(frozen=True)
class Constant:
    """The same value everywhere, whatever is explained."""

    value: float = 1.0

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(torch.full_like(inputs.x, self.value))


def series(x: list[float], weight: list[float]) -> toy_worlds.World:
    """A linear model of a series of one channel, shown twice; every step is a unit."""
    values = torch.tensor([x, x], dtype=torch.float64)[:, None]
    units = torch.arange(len(x))[None]
    linear = toy_worlds.Linear(torch.tensor(weight))
    return toy_worlds.world(linear, values, units, values.repeat(2, 1, 1))


def continuity(world: toy_worlds.World, explainer: Any, max_shift: int = 1) -> float:
    case = world.case(world.explain(explainer), explainer=explainer)
    return Continuity(max_shift).score(case)[0].item()


# Translations


def test_a_translated_series_repeats_its_edge() -> None:
    world = series([1.0, 2.0, 4.0, 8.0], [1.0] * 4)
    translated = [x[0, 0].tolist() for x in translations(world.inputs, 2)]
    assert translated == [[2, 4, 8, 8], [1, 1, 2, 4], [4, 8, 8, 8], [1, 1, 1, 2]]


def test_an_image_is_translated_along_both_axes() -> None:
    image = toy_worlds.image().inputs
    up, _, _, right = translations(image, 1)
    assert torch.equal(up[:, :, :-1], image.x[:, :, 1:])
    assert torch.equal(right[..., 1:], image.x[..., :-1])


def test_padding_is_not_translated() -> None:
    image = toy_worlds.image().inputs
    units = torch.where(image.units == 0, -1, image.units)[:1].expand(5, 3, 8, 8)
    padded = replace(image, units=units)
    padding = units < 0
    assert all(torch.equal(x[padding], image.x[padding]) for x in translations(padded, 2))


@pytest.mark.parametrize("world", [toy_worlds.tabular(), toy_worlds.text(), toy_worlds.gates()])
def test_inputs_without_an_axis_are_declined(world: toy_worlds.World) -> None:
    with pytest.raises(Unsupported, match="translations need"):
        continuity(world, Constant())


# The score


def test_continuity_of_a_linear_model_by_hand() -> None:
    """1 2 4 becomes 2 4 4 or 1 1 2, steps of sqrt(5). Its contributions to zero, 5 1 1 times x, are
    5 2 4 and change by 5 + 2 + 0 or by 0 + 1 + 2, of 11 in all.
    """
    world = series([1.0, 2.0, 4.0], [5.0, 1.0, 1.0])
    assert continuity(world, ExactMap()) == pytest.approx(7 / 11 / sqrt(5))


def test_a_step_is_measured_in_standard_deviations() -> None:
    world = series([1.0, 2.0, 4.0], [5.0, 1.0, 1.0])
    domain = replace(world.inputs.domain, scale=world.inputs.domain.scale * 10)
    tenfold = replace(world, inputs=replace(world.inputs, domain=domain))
    assert continuity(tenfold, ExactMap()) == pytest.approx(10 * continuity(world, ExactMap()))


def test_a_map_that_ignores_its_input_scores_0() -> None:
    assert continuity(series([1.0, 2.0, 4.0], [1.0] * 3), Constant()) == 0


def test_a_map_of_zeros_and_an_input_that_translations_leave_alone_are_not_scored() -> None:
    assert isnan(continuity(series([1.0, 2.0, 4.0], [1.0] * 3), Constant(0.0)))
    assert isnan(continuity(series([2.0, 2.0, 2.0], [1.0] * 3), ExactMap()))
