"""Consistency and sufficiency: shares of companions by hand, and a reference implementation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from xai_bench.certify.variants import with_model_variants
from xai_bench.metrics.fidelity.consistency import Consistency, SufficiencyDasgupta
from xai_bench.types import Case, Explanation, Inputs, Model, Rng, Unsupported

METRICS = [Consistency(), SufficiencyDasgupta()]


@dataclass(frozen=True, eq=False)
class MapBySign:
    """A map that depends on the first column alone.

    Attributes:
        maps: `[2, U]`, the map where the column is negative, and where it is positive.
        n_rows: how many samples each call explained.
    """

    maps: Tensor
    n_rows: list[int]

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        self.n_rows.append(len(inputs))
        return Explanation(self.maps[(inputs.x[:, 0] > 0).long()].double())


@dataclass(frozen=True)
class LinearContributions:
    """The contributions of a linear model to the explained output."""

    sign: float = 1.0

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        weight = torch.tensor([[3.0, 1.0, 0.5]], dtype=torch.float64)
        return Explanation(self.sign * weight * inputs.x * (1 - 2 * targets[:, None].double()))


def world() -> toy_worlds.World:
    """Outputs `f` and `-f`, `f = 3 x0 + x1 + x2 / 2`, at the corners of a cube: the class is the
    sign of x0. Three of the eight companions are of class 0.
    """
    layer = nn.Linear(3, 2, bias=False)
    weight = torch.tensor([3.0, 1.0, 0.5])
    layer.weight = nn.Parameter(torch.stack([weight, -weight]))
    side = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    corners = torch.cartesian_prod(side, side, side)
    companions = torch.cat([corners[:4], corners[:1], corners[5:]])
    return with_model_variants(toy_worlds.world(layer, corners, torch.arange(3), companions))


def case_of(explainer: Any) -> Case:
    made = world()
    return made.case(made.explain(explainer), explainer=explainer)


def scores(metric: Any, explainer: Any) -> list[float]:
    scores: Tensor = metric.score(case_of(explainer))
    return scores.tolist()


@pytest.mark.parametrize("metric", METRICS)
def test_contributions_to_one_output_determine_the_class(metric: Any) -> None:
    """Against a map for the companion's own class, all of them would be positive on x0."""
    assert scores(metric, LinearContributions()) == [1.0] * 8


@pytest.mark.parametrize("metric", METRICS)
def test_the_same_map_for_all_samples_scores_the_share_of_the_class(metric: Any) -> None:
    explainer = MapBySign(torch.tensor([[1.0, -2, 3], [1.0, -2, 3]]), [])
    assert scores(metric, explainer) == [5 / 8] * 4 + [3 / 8] * 4


def test_a_discrete_explanation_is_the_largest_units_and_their_signs() -> None:
    first = torch.tensor([3.0, -2.0, 1.0])
    for second, apart in (
        ([3.0, -2.0, 0.1], False),  # the two largest are the same, with the same signs
        ([2.0, -3.0, 1.0], False),  # their order is no part of it
        ([3.0, 2.0, 1.0], True),
        ([3.0, 1.0, -2.0], True),
    ):
        explainer = MapBySign(torch.stack([first, torch.tensor(second)]), [])
        expected = [1.0] * 8 if apart else [5 / 8] * 4 + [3 / 8] * 4
        assert scores(Consistency(n_top=2), explainer) == expected


def test_explanations_are_similar_by_their_cosine() -> None:
    """(1, 0) and (3, 4) have cosine 3/5."""
    explainer = MapBySign(torch.tensor([[2.0, 0, 0], [3.0, 4.0, 0]]), [])
    assert scores(SufficiencyDasgupta(0.59), explainer) == [5 / 8] * 4 + [3 / 8] * 4
    assert scores(SufficiencyDasgupta(0.61), explainer) == [1.0] * 8


@pytest.mark.parametrize("metric", METRICS)
def test_a_map_without_a_similar_companion_and_a_map_of_zeros_are_not_scored(metric: Any) -> None:
    case = case_of(MapBySign(torch.tensor([[1.0, 2, 3], [1.0, 2, 3]]), []))
    alone = case.with_attribution(-case.attribution)
    assert all(isnan(value) for value in metric.score(alone).tolist())
    zeros = case_of(MapBySign(torch.zeros(2, 3), []))
    assert all(isnan(value) for value in metric.score(zeros).tolist())


@pytest.mark.parametrize("metric", METRICS)
def test_companions_are_explained_once_per_output(metric: Any) -> None:
    explainer = MapBySign(torch.tensor([[1.0, -2, 3], [1.0, 2, 3]]), [])
    case = case_of(explainer)
    explainer.n_rows.clear()
    metric.score(case)
    metric.score(replace(case, own={}))
    assert explainer.n_rows == [8, 8], "two outputs; nothing is left to do for the next batch"


def test_a_reference_implementation_agrees() -> None:
    """Sample by sample and companion by companion, on random maps of a network."""
    net = toy_worlds.seeded(nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)))
    made = with_model_variants(
        toy_worlds.world(
            net, toy_worlds.normal(7, 5), torch.arange(5), toy_worlds.normal(30, 5, seed=2)
        )
    )
    assert made.variants is not None
    others, _, _ = made.variants.split("valid")
    gradient = _Gradient()
    case = made.case(made.explain(gradient), explainer=gradient)
    scores = [metric.score(case).tolist() for metric in METRICS]
    for row in range(7):
        own = case.attribution[row]
        target = case.targets[row].expand(len(others))
        maps = gradient.explain(made.model, others, target, rng=made.rng).attribution
        own_class = made.model.outputs(made.inputs)[row].argmax()
        right = made.model.outputs(others).argmax(1) == own_class
        similar: list[list[bool]] = [[], []]
        for other in maps:
            top = [
                {(int(u), float(a[u].sign())) for u in a.abs().argsort(descending=True)[:2]}
                for a in (own, other)
            ]
            similar[0].append(top[0] == top[1])
            similar[1].append(bool(torch.cosine_similarity(own, other, dim=0) >= 0.6))
        for values, which in zip(scores, similar, strict=True):
            hits = [bool(r) for r, same in zip(right, which, strict=True) if same]
            expected = sum(hits) / len(hits) if hits else float("nan")
            assert values[row] == pytest.approx(expected, nan_ok=True)


@dataclass(frozen=True)
class _Gradient:
    """The gradient of the explained output."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        x = inputs.x.detach().clone().requires_grad_()
        return Explanation(
            torch.autograd.grad(model.target_output(inputs.with_x(x), targets).sum(), x)[0]
        )


@pytest.mark.parametrize("metric", METRICS)
def test_regression_units_per_sample_and_missing_data_are_unsupported(metric: Any) -> None:
    explainer, linear = MapBySign(torch.ones(2, 3), []), toy_worlds.linear([1.0, 2.0, 3.0])
    with pytest.raises(Unsupported, match="a classifier"):
        metric.score(linear.case(linear.explain(explainer), explainer=explainer))
    text = with_model_variants(toy_worlds.text())
    with pytest.raises(Unsupported, match="units of their own"):
        metric.score(text.case(text.explain(_Gradient()), explainer=_Gradient()))
    with pytest.raises(Unsupported, match="its data and recipe"):
        metric.score(replace(case_of(explainer), variants=None))
