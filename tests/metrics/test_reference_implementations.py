"""Metrics agree with reference implementations: one sample, one coalition, one number at a time.

Nothing is shared with the package but the model, the baselines and the random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, inf, nan, sqrt
from statistics import fmean

import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.core.baselines import Marginal
from xai_bench.metrics.fidelity.deletion import (
    AbPC,
    Comprehensiveness,
    Deletion,
    Insertion,
    Sufficiency,
)
from xai_bench.metrics.fidelity.random_subsets import FaithfulnessCorrelation, Infidelity
from xai_bench.metrics.stability import sensitivity
from xai_bench.types import Case, Explanation, Inputs, Model, Rng

BASELINE = Marginal(3)
FRACTIONS = [Fraction(f) for f in ("0", "0.01", "0.05", "0.1", "0.2", "0.3", "0.4", "0.5")]
ERASER = [Fraction(f) for f in ("0.01", "0.05", "0.1", "0.2", "0.5")]


@dataclass(frozen=True)
class Sample:
    """One sample of a case, in lists."""

    case: Case
    row: int
    references: Tensor

    @property
    def unit_ids(self) -> list[int]:
        numbers: list[int] = self.case.inputs.units[self.row].flatten().tolist()
        return numbers

    @property
    def n_units(self) -> int:
        return max(self.unit_ids) + 1

    def pooled(self, attribution: Tensor) -> list[float]:
        out = [0.0] * self.n_units
        values = attribution[self.row].flatten().tolist()
        for unit, value in zip(self.unit_ids, values, strict=True):
            if unit >= 0:
                out[unit] += value
        return out

    def points(self, removed: set[int]) -> list[Tensor]:
        """The sample without these units, once per reference."""
        x = self.case.inputs.x[self.row]
        points = []
        for reference in self.references[self.row]:
            elements = zip(
                self.unit_ids, x.flatten().tolist(), reference.flatten().tolist(), strict=True
            )
            point = [theirs if unit in removed else own for unit, own, theirs in elements]
            points.append(torch.tensor(point, dtype=x.dtype).view(x.shape))
        return points

    def without(self, removed: set[int]) -> float:
        return fmean(self.target(point) for point in self.points(removed))

    def outputs(self, point: Tensor) -> list[float]:
        inputs = self.case.inputs.take(torch.tensor([self.row])).with_x(point[None])
        values: list[float] = self.case.model.outputs(inputs)[0].tolist()
        return values

    def target(self, point: Tensor) -> float:
        return self.outputs(point)[int(self.case.targets[self.row])]


def samples(case: Case, stream: str) -> list[Sample]:
    references = BASELINE.references(case.inputs, rng=case.rng.child(stream))
    return [Sample(case, row, references) for row in range(len(case.inputs))]


# Removal curves


def curve(sample: Sample, order: list[int]) -> dict[int, float]:
    """Number of units removed, in this order -> output."""
    low = [ceil(f * sample.n_units) for f in FRACTIONS]
    steps = sorted({*low, *(sample.n_units - count for count in low)})
    return {count: sample.without(set(order[:count])) for count in steps}


def area(points: dict[int, float]) -> float:
    steps = sorted(points)
    parts = [(b - a) * (points[a] + points[b]) / 2 for a, b in pairwise(steps)]
    return sum(parts) / steps[-1]


def ranked(sample: Sample) -> list[int]:
    scores = sample.pooled(sample.case.attribution)
    return sorted(range(sample.n_units), key=lambda unit: -scores[unit])


def deletion(sample: Sample) -> float:
    return area(curve(sample, ranked(sample)))


def insertion(sample: Sample) -> float:
    """Over the fraction kept: top units are put back into an empty input, one after the other."""
    everything, kept = set(range(sample.n_units)), {}
    for removed in curve(sample, ranked(sample)[::-1]):
        top = sample.n_units - removed
        kept[top] = sample.without(everything - set(ranked(sample)[:top]))
    return area(kept)


def abpc(sample: Sample) -> float:
    return area(curve(sample, ranked(sample)[::-1])) - area(curve(sample, ranked(sample)))


def comprehensiveness(sample: Sample) -> float:
    tops = [set(ranked(sample)[: ceil(f * sample.n_units)]) for f in ERASER]
    return sample.without(set()) - fmean(sample.without(top) for top in tops)


def sufficiency(sample: Sample) -> float:
    rests = [set(ranked(sample)[ceil(f * sample.n_units) :]) for f in ERASER]
    return sample.without(set()) - fmean(sample.without(rest) for rest in rests)


# Random sets


def drawn(sample: Sample) -> list[set[int]]:
    """The sets with the smallest random numbers."""
    size = max(1, round(0.4 * sample.n_units))
    width = int(sample.case.inputs.units.max()) + 1
    numbers = sample.case.rng.child("coalition_values", "subsets").uniform(25, width)[sample.row]
    units = range(sample.n_units)
    return [set(sorted(units, key=lambda unit: row[unit])[:size]) for row in numbers.tolist()]


def correlation(sample: Sample) -> float:
    scores = sample.pooled(sample.case.attribution)
    x = [sum(scores[unit] for unit in removed) for removed in drawn(sample)]
    y = [sample.without(set()) - sample.without(removed) for removed in drawn(sample)]
    dx, dy = ([v - fmean(vs) for v in vs] for vs in (x, y))
    if max(map(abs, dx)) < 1e-12 or max(map(abs, dy)) < 1e-12:
        return nan
    top = sum(a * b for a, b in zip(dx, dy, strict=True))
    return top / sqrt(sum(a * a for a in dx) * sum(b * b for b in dy))


def infidelity(sample: Sample) -> float:
    scores = sample.pooled(sample.case.attribution)
    errors = [
        sum(scores[unit] for unit in removed) - (sample.without(set()) - sample.without(removed))
        for removed in drawn(sample)
    ]
    return fmean(error**2 for error in errors)


def infidelity_of_gradients(sample: Sample) -> float:
    """The paper's own form: attribution times perturbation, mean over references."""
    x, attribution = sample.case.inputs.x[sample.row], sample.case.attribution[sample.row]
    errors = []
    for removed in drawn(sample):
        predicted = fmean(
            ((x - point) * attribution).sum().item() for point in sample.points(removed)
        )
        errors.append(predicted - (sample.without(set()) - sample.without(removed)))
    return fmean(error**2 for error in errors)


# Neighbours


@dataclass(frozen=True)
class Cubes:
    """`x^3 + x`, and noise that is the same for every neighbour."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        x = inputs.x
        noisy = x * x * x + x + 0.1 * rng.normal(*x.shape[1:])
        return Explanation(torch.where(inputs.units < 0, 0, noisy))


RADIUS, FLOOR, N_DRAWS = 0.6, 0.05, 8


def neighbours(sample: Sample) -> list[Tensor]:
    inputs = sample.case.inputs
    shape = inputs.x.shape[1:]
    numbers = sample.case.rng.child("neighbours").uniform(N_DRAWS, *shape)[sample.row]
    real = inputs.units[sample.row] >= 0
    steps = [RADIUS * inputs.domain.scale * (2 * number - 1) for number in numbers]
    return [inputs.x[sample.row] + step * real for step in steps]


def explained(sample: Sample, point: Tensor) -> list[float]:
    x = sample.case.inputs.x.clone()
    x[sample.row] = point
    attribution: list[float] = sample.case.explain(sample.case.inputs.with_x(x))[
        sample.row
    ].flatten()
    return [float(value) for value in attribution]


def relative_change(before: list[float], after: list[float], floors: list[float]) -> float:
    triples = zip(before, after, floors, strict=True)
    return sqrt(sum(((b - a) / max(abs(b), floor)) ** 2 for b, a, floor in triples))


def relative_input_stability(sample: Sample) -> float:
    inputs, worst = sample.case.inputs, -inf
    x = inputs.x[sample.row]
    here = sample.outputs(x)
    before = sample.case.attribution[sample.row].flatten().tolist()
    floors = [FLOOR * scale for scale in inputs.domain.scale.flatten().tolist()]
    for point in neighbours(sample):
        there = sample.outputs(point)
        if there.index(max(there)) != here.index(max(here)):
            continue
        change = relative_change(
            before, explained(sample, point), [FLOOR * max(map(abs, before))] * len(before)
        )
        moved = relative_change(x.flatten().tolist(), point.flatten().tolist(), floors)
        worst = max(worst, change / moved)
    return worst if worst > -inf else nan


def max_sensitivity(sample: Sample) -> float:
    before = sample.case.attribution[sample.row].flatten().tolist()
    afters = [explained(sample, point) for point in neighbours(sample)]
    changes = [sum((b - a) ** 2 for b, a in zip(before, after, strict=True)) for after in afters]
    return sqrt(max(changes) / sum(b * b for b in before))


def repeatability(sample: Sample) -> float:
    case, before = sample.case, sample.case.attribution[sample.row]
    agains = [case.explain(case.inputs, repeat=k)[sample.row] for k in (1, 2, 3, 4)]
    size = sqrt(sum(b * b for b in before.flatten().tolist()))
    return fmean(
        sqrt(sum(d * d for d in (again - before).flatten().tolist())) / size for again in agains
    )


REFERENCES: list[tuple[object, Callable[[Sample], float], str]] = [
    (Deletion(BASELINE), deletion, "removal_curves"),
    (Insertion(BASELINE), insertion, "removal_curves"),
    (AbPC(BASELINE), abpc, "removal_curves"),
    (Comprehensiveness(BASELINE), comprehensiveness, "removal_curves"),
    (Sufficiency(BASELINE), sufficiency, "removal_curves"),
    (FaithfulnessCorrelation(BASELINE, 25, 0.4), correlation, "coalition_values"),
    (Infidelity(BASELINE, 25, 0.4), infidelity, "coalition_values"),
    (sensitivity.Repeatability(4), repeatability, "unused"),
    (sensitivity.MaxSensitivity(RADIUS, N_DRAWS), max_sensitivity, "neighbours"),
    (
        sensitivity.RelativeInputStability(RADIUS, N_DRAWS, FLOOR),
        relative_input_stability,
        "neighbours",
    ),
]


LATER = ("image", "series", "gates")
"""Of units without padding `make test` has a table."""
worlds = pytest.mark.parametrize(
    "where",
    [
        pytest.param(where, marks=pytest.mark.exhaustive if where in LATER else ())
        for where in toy_worlds.WORLDS
    ],
)


@pytest.mark.sample(3)
@pytest.mark.slow
@worlds
@pytest.mark.parametrize(
    ("metric", "reference", "stream"), REFERENCES, ids=[r.__name__ for _, r, _ in REFERENCES]
)
def test_a_metric_agrees_with_its_reference_implementation(
    metric: Deletion, reference: Callable[[Sample], float], stream: str, where: str
) -> None:
    world = toy_worlds.WORLDS[where]()
    case = world.case(world.explain(Cubes()), explainer=Cubes())
    expected = torch.tensor([reference(sample) for sample in samples(case, stream)]).double()
    torch.testing.assert_close(metric.score(case), expected, rtol=1e-6, atol=1e-9, equal_nan=True)


@pytest.mark.slow
@worlds
def test_infidelity_of_gradients_agrees_with_its_reference_implementation(where: str) -> None:
    world = toy_worlds.WORLDS[where]()
    case = world.case(world.explain(Cubes()), "sensitivity")
    pairs = samples(case, "coalition_values")
    expected = torch.tensor([infidelity_of_gradients(sample) for sample in pairs]).double()
    scores = Infidelity(BASELINE, 25, 0.4).score(case)
    torch.testing.assert_close(scores, expected, rtol=1e-6, atol=1e-9)


def test_the_comparison_includes_neighbours_of_other_classes() -> None:
    """Else the rule for them would go untested."""
    world = toy_worlds.tabular()
    case = world.case(world.explain(Cubes()), explainer=Cubes())
    flips = 0
    for sample in samples(case, "neighbours"):
        here = sample.outputs(case.inputs.x[sample.row])
        there = [sample.outputs(point) for point in neighbours(sample)]
        flips += sum(out.index(max(out)) != here.index(max(here)) for out in there)
    assert flips > 0
