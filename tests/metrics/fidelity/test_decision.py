"""What removal does to the predicted class, worked out by hand for two classes."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import pytest
import torch
from torch import Tensor, nn

from xai_bench.certify import toy_worlds
from xai_bench.core.baselines import Constant
from xai_bench.metrics.fidelity.decision import DecisionFlip, FlipShare, LogOdds
from xai_bench.types import Case, Inputs, Rng, Unsupported

WEIGHT = [4.0, 3.0, 2.0, 1.0]
ZERO = Constant(0.0)


class Threshold(nn.Module):
    """The first class has the sum, the second one a fixed output."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(WEIGHT))
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        first = x @ self.weight
        return torch.stack([first, torch.full_like(first, self.threshold)], dim=1)


def case(threshold: float, attribution: list[float]) -> Case:
    x = torch.ones(1, 4, dtype=torch.float64)
    world = toy_worlds.world(Threshold(threshold), x, torch.arange(4), toy_worlds.normal(8, 4))
    return world.case(torch.tensor([attribution], dtype=torch.float64))


def sigmoid_log(lead: float) -> float:
    return -log(1 + 2.718281828459045**-lead)


@pytest.mark.parametrize(
    ("threshold", "attribution", "flips", "share"),
    [
        pytest.param(6.5, WEIGHT, 1, 1 / 4, id="6 are left"),
        pytest.param(5.5, WEIGHT, 0, 2 / 4, id="6, then 3"),
        pytest.param(5.5, WEIGHT[::-1], 0, 3 / 4, id="9, 7, 4"),
        pytest.param(-1.0, WEIGHT, 0, 1, id="never"),
        pytest.param(11.0, WEIGHT, 0, 1, id="the other class, which removal helps"),
    ],
)
def test_the_decision_changes_with_the_first_unit_that_tips_it(
    threshold: float, attribution: list[float], flips: int, share: float
) -> None:
    one = case(threshold, attribution)
    assert DecisionFlip(ZERO).score(one).tolist() == [flips]
    assert FlipShare(ZERO).score(one).tolist() == [share]


@pytest.mark.parametrize(
    ("attribution", "left"), [(WEIGHT, (6, 3)), (WEIGHT[::-1], (9, 7))], ids=["exact", "reverse"]
)
def test_log_odds_is_the_mean_change_at_the_fractions(
    attribution: list[float], left: tuple[float, float]
) -> None:
    """1, 5, 10 and 20 % of four units are one unit, 50 % are two."""
    one, two = (sigmoid_log(total - 5.5) for total in left)
    expected = (4 * one + two) / 5 - sigmoid_log(10 - 5.5)
    score = LogOdds(ZERO).score(case(5.5, attribution))
    assert score.item() == pytest.approx(expected)


def test_a_decision_that_changes_back_counts_from_the_first_change() -> None:
    """Shares of 1 / 2: only two units and all four are tried."""
    assert FlipShare(ZERO, max_steps=2).score(case(6.5, WEIGHT)).tolist() == [2 / 4]


def test_a_regressor_has_no_decision() -> None:
    one = toy_worlds.linear(WEIGHT).case(torch.ones(3, 4))
    for metric in (LogOdds(ZERO), DecisionFlip(ZERO), FlipShare(ZERO)):
        with pytest.raises(Unsupported, match="only a classifier has a decision"):
            metric.score(one)


@dataclass(frozen=True)
class Twice:
    """Zeros, as two references."""

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        return torch.zeros_like(inputs.x)[:, None].repeat(1, 2, 1)


def test_two_equal_references_are_one() -> None:
    one = case(6.5, WEIGHT)
    for metric in (LogOdds, DecisionFlip, FlipShare):
        torch.testing.assert_close(metric(Twice()).score(one), metric(ZERO).score(one))


def test_a_class_that_shares_the_first_place_is_still_predicted() -> None:
    """Without the first unit 6 are left, as many as the second class has."""
    assert DecisionFlip(ZERO).score(case(6.0, WEIGHT)).tolist() == [0]


def test_the_decision_flips_with_one_unit_of_many() -> None:
    """Of 150 equal units one is removed, not a share that is rounded up to two."""
    many = Threshold(148.5)
    many.weight = nn.Parameter(torch.ones(150, dtype=torch.float64))
    x = torch.ones(1, 150, dtype=torch.float64)
    world = toy_worlds.world(many, x, torch.arange(150), toy_worlds.normal(8, 150))
    assert DecisionFlip(ZERO).score(world.case(x)).tolist() == [0]
