"""ROAD: accuracies by hand, a reference implementation, and the same bits in any batch."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from xai_bench.core.cost import Metered
from xai_bench.core.inpainting import harmonic
from xai_bench.core.seeds import Seeds
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.loop import evaluate
from xai_bench.explainers.controls import InputMagnitude
from xai_bench.metrics.fidelity.road import Road
from xai_bench.types import Case, Unsupported

QUARTERS = (0.25, 0.5, 0.75)


class Peak(nn.Module):
    """Class 1 where the third of four steps is above 3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(x)).to(x), x[:, 0, 2] - 3], dim=1)


def peak(n: int = 1) -> toy_worlds.World:
    """One channel, the steps 0, 0, 10, 0: without the third, its neighbours say 0."""
    x = torch.tensor([0.0, 0.0, 10.0, 0.0]).double().expand(n, 1, 4)
    return toy_worlds.world(Peak(), x, torch.arange(4)[None], toy_worlds.normal(16, 1, 4))


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_accuracy_for_every_order_of_four_steps_by_hand(order: tuple[int, ...]) -> None:
    """Right as long as the peak is there: removed first, 0 of 3; second, 1; third, 2; last, all.

    At the third quarter one step is left and fills the series.
    """
    world = peak()
    attribution = torch.empty(4).double()
    attribution[list(order)] = torch.tensor([4.0, 3.0, 2.0, 1.0]).double()
    scores = Road(noise=0.0, fractions=QUARTERS).score(world.case(attribution.view(1, 1, 4)))
    assert scores.tolist() == pytest.approx([order.index(2) / 3])


def test_accuracy_is_that_of_the_true_label() -> None:
    world = peak()
    case = replace(world.case(world.inputs.x), labels=torch.tensor([0]))
    assert Road(0.0, QUARTERS).score(case).tolist() == [1.0], "wrong at x, right without the peak"


def test_a_random_map_scores_at_chance() -> None:
    """The peak's place in the order is uniform: (0 + 1 + 2 + 3) / 3 / 4."""
    n = 3000
    world = peak(n)
    scores = Road(0.0, QUARTERS).score(world.case(toy_worlds.normal(n, 1, 4, seed=3)))
    error = scores.std().item() / n**0.5
    assert scores.mean().item() == pytest.approx(0.5, abs=4 * error)
    flat = Road(0.0, QUARTERS).score(world.case(torch.zeros(n, 1, 4).double()))
    assert flat.mean().item() == pytest.approx(0.5, abs=4 * error), "ties are shuffled"


def test_a_reference_implementation_agrees() -> None:
    """One sample, one fraction and one channel at a time."""
    world = toy_worlds.image()
    attribution = world.explain(InputMagnitude())
    case = world.case(attribution)
    scores = Road(noise=0.5, fractions=(0.2, 0.6)).score(case)
    scale = world.inputs.domain.scale
    noise = case.rng.child("road").child("noisy_linear").normal(1, 3, 8, 8)[:, 0]
    for b in range(len(world.inputs)):
        labels = world.inputs.units[b]
        sums = [attribution[b][labels == unit].sum().item() for unit in range(16)]
        order = sorted(range(16), key=lambda unit, s=sums: -s[unit])  # type: ignore[misc]
        right = []
        for n_removed in (4, 10):
            point = world.inputs.x[b].clone()
            absent = torch.isin(labels, torch.tensor(order[:n_removed]))
            for channel in range(3):
                gone = absent[channel]
                filled = harmonic(point[channel][None], ~gone[None])[0]
                moved = filled + 0.5 * (scale * noise[b])[channel]
                point[channel] = torch.where(gone, moved, point[channel])
            said = world.model.outputs(world.inputs.take(torch.tensor([b])).with_x(point[None]))
            right.append(float(said.argmax() == world.targets[b]))
        assert scores[b].item() == sum(right) / 2


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_road_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    """D02 scored the first batch only."""
    world = toy_worlds.image()

    def scores(size: int) -> Tensor:
        bench = EvaluationContext(
            world.model,
            world.inputs,
            world.targets,
            Seeds(0),
            labels=world.targets,
            batch_size=size,
            strict=True,
        )
        metrics = [ConfiguredMetric("road", Road(noise=0.5))]
        return (
            evaluate(bench, ConfiguredExplainer("map", InputMagnitude()), metrics)
            .scores["road"]
            .values
        )

    whole = scores(64)
    assert whole.unique().numel() > 1
    assert torch.equal(scores(batch_size), whole)


def test_road_needs_images_or_series_a_classifier_and_labels() -> None:
    image, table = toy_worlds.image(), toy_worlds.tabular()
    case: Case = replace(image.case(image.inputs.x), labels=None)
    with pytest.raises(Unsupported, match="true labels"):
        Road().score(case)
    with pytest.raises(Unsupported, match="channels, time"):
        Road().score(table.case(table.inputs.x))
    one = toy_worlds.linear([1.0, 2.0])
    with pytest.raises(Unsupported, match="classifier"):
        Road().score(one.case(one.inputs.x))


def test_road_costs_one_row_per_fraction() -> None:
    world = toy_worlds.image()
    metered = Metered(world.model)
    Road().score(replace(world.case(world.inputs.x), model=metered))
    assert metered.usage.rows.forward == 9 * len(world.inputs)
