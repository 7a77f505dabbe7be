"""The defects that were found in other libraries, built again in small: the certificate says no.

Each class is wrong in exactly one way; the number is that of the ledger in the notes on metrics.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from xai_bench.certify.expected import Expected
from xai_bench.certify.metric import certificate
from xai_bench.core import coalitions, units
from xai_bench.core.baselines import Constant
from xai_bench.metrics.fidelity.deletion import Deletion
from xai_bench.types import Baseline, Case, Inputs, Metric


@dataclass(frozen=True)
class Structure:
    """What a metric says of itself; the defects below are in `score`."""

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "the ledger"
    baseline: Baseline = field(default_factory=Constant)


def absent(case: Case, baseline: Baseline) -> Tensor:
    """`[B, *S]`: one reference per sample."""
    return baseline.references(case.inputs, rng=case.rng).mean(1)


def output(case: Case, x: Tensor) -> Tensor:
    """`[B]`: the target output at `x [B, *S]`."""
    return coalitions.values_at(case.model, case.inputs, case.targets, x[:, None])[:, 0]


def path(case: Case, start: Tensor, end: Tensor) -> Tensor:
    """`[B, U + 1]`: outputs while the units of `start` become those of `end`, largest first."""
    scores = units.pool(case.attribution.double(), case.inputs.units)
    rank = units.ranking(scores, case.inputs.units, rng=case.rng)
    steps = torch.arange(scores.shape[1] + 1)
    moved = units.lookup(rank[:, None] < steps[:, None], case.inputs.units)
    moved &= (case.inputs.units >= 0)[:, None]
    points = torch.where(moved, end[:, None], start[:, None])
    return coalitions.values_at(case.model, case.inputs, case.targets, points)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """`[B, K], [B, K] -> [B]`, Pearson."""
    a, b = (v - v.mean(1, keepdim=True) for v in (a, b))
    return (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()


def unit_drops(case: Case, replaced: Tensor) -> Tensor:
    """`[B, U]`: how far the output falls when one unit takes the values of `replaced [B, *S]`."""
    one = torch.eye(units.width(case.inputs.units), dtype=torch.bool).expand(
        len(case.inputs), -1, -1
    )
    gone = units.lookup(one, case.inputs.units) & (case.inputs.units >= 0)[:, None]
    points = torch.where(gone, replaced[:, None], case.inputs.x[:, None])
    return output(case, case.inputs.x)[:, None] - coalitions.values_at(
        case.model, case.inputs, case.targets, points
    )


def pooled(case: Case) -> Tensor:
    return units.pool(case.attribution.double(), case.inputs.units)


class D01(Structure):
    """Monotonicity that fills with the baseline and then writes the same baseline: never x."""

    def score(self, case: Case) -> Tensor:
        base = absent(case, self.baseline)
        return (path(case, base, base).diff(dim=1) >= -1e-9).all(1).double()


class D02(Structure):
    """ROAD that goes on with the first entry of what it collected."""

    def score(self, case: Case) -> Tensor:
        left = path(case, case.inputs.x, absent(case, self.baseline))
        return -left[0].mean().expand(len(case.inputs))


class D03(Structure):
    """Sensitivity-n that correlates the cumulative top k across the samples of the batch."""

    def score(self, case: Case) -> Tensor:
        left = path(case, case.inputs.x, absent(case, self.baseline))
        top = pooled(case).sort(dim=1, descending=True).values[:, :2].sum(1)
        drop = left[:, 0] - left[:, 2]
        return correlation(top[None], drop[None]).expand(len(case.inputs))


class D06(Structure):
    """Completeness as `==` of floats, after the map has been divided by its largest value."""

    def score(self, case: Case) -> Tensor:
        gap = output(case, case.inputs.x) - output(case, absent(case, self.baseline))
        scaled = pooled(case) / pooled(case).abs().amax(1, keepdim=True)
        return (scaled.sum(1) == gap).double()


class D09(Structure):
    """Pointing game whose "nothing marked" becomes True on its way through an array of booleans."""

    category = "truth"
    needs = ("rationale",)

    def score(self, case: Case) -> Tensor:
        assert case.rationale is not None
        inside = units.pool(case.rationale.double(), case.inputs.units) > 0
        hit = inside.gather(1, pooled(case).argmax(1, keepdim=True))[:, 0].double()
        undecided = torch.where(inside.any(1), hit, torch.nan)
        return undecided.bool().double()


class D14(Structure):
    """Pixel flipping whose area takes every step as 1 wide, however many there are."""

    higher_is_better = False

    def score(self, case: Case) -> Tensor:
        left = path(case, case.inputs.x, absent(case, self.baseline))
        return torch.trapezoid(left[:, 1:], dim=1)


class D18(Structure):
    """Randomisation test whose average includes the map's likeness to itself."""

    category = "randomisation"
    higher_is_better = False

    def score(self, case: Case) -> Tensor:
        other = case.explain(case.inputs, model=Shifted(case.model))
        size, again = pooled(case), units.pool(other, case.inputs.units)
        return (1 + correlation(size, again)) / 2


class D23(Structure):
    """Region perturbation that gives the drop and says that lower is better."""

    higher_is_better = False

    def score(self, case: Case) -> Tensor:
        left = path(case, case.inputs.x, absent(case, self.baseline))
        return (left[:, :1] - left).mean(1)


class D24(Structure):
    """Sensitivity to noise of a fixed size, whatever the data are measured in."""

    category = "stability"
    higher_is_better = False

    def score(self, case: Case) -> Tensor:
        noise = 0.4 * case.rng.uniform(*case.inputs.x.shape[1:]) - 0.2
        near = case.explain(case.inputs.with_x(case.inputs.x + noise))
        size = case.attribution.flatten(1).norm(dim=1)
        return (near - case.attribution).flatten(1).norm(dim=1) / size


class D29(Structure):
    """Monotonicity that puts values back from the top, and compares in feature order."""

    def score(self, case: Case) -> Tensor:
        order = units.ranking(pooled(case), case.inputs.units, rng=case.rng)
        values = path(case, absent(case, self.baseline), case.inputs.x)
        by_feature = values[:, 1:].gather(1, order)
        return (by_feature.diff(dim=1) >= 0).double().mean(1)


class D30(Structure):
    """Faithfulness whose row of means is written into instead of a copy of it."""

    def score(self, case: Case) -> Tensor:
        means = case.inputs.domain.background
        found = correlation(pooled(case), unit_drops(case, means[:1].expand_as(case.inputs.x)))
        means[0] = case.inputs.x[-1]
        return found


class D33(Structure):
    """Faithfulness correlation that multiplies x by the baseline instead of replacing it."""

    def score(self, case: Case) -> Tensor:
        replaced = case.inputs.x * absent(case, self.baseline)
        return correlation(pooled(case), unit_drops(case, replaced))


class D34(Structure):
    """Infidelity of maps that were divided by the norm of all maps of the batch."""

    higher_is_better = False

    def score(self, case: Case) -> Tensor:
        drops = unit_drops(case, absent(case, self.baseline))
        return (pooled(case) / case.attribution.norm() - drops).square().mean(1)


class D35(Structure):
    """Sensitivity divided by the norm of the whole batch's noise."""

    category = "stability"
    higher_is_better = False

    def score(self, case: Case) -> Tensor:
        scale = case.inputs.domain.scale
        noise = scale * (0.2 * case.rng.uniform(*case.inputs.x.shape[1:]) - 0.1)
        near = case.explain(case.inputs.with_x(case.inputs.x + noise))
        return (near - case.attribution).flatten(1).norm(dim=1) / (noise / scale).norm()


class D41(Structure):
    """Output stability over the relative change of the output, skipping exact zeros only."""

    category = "stability"
    higher_is_better = False

    def score(self, case: Case) -> Tensor:
        noise = case.inputs.domain.scale * 0.1 * case.rng.normal(*case.inputs.x.shape[1:])
        near = case.inputs.with_x(case.inputs.x + noise)
        change = (case.explain(near) - case.attribution).flatten(1).norm(dim=1)
        here, there = output(case, case.inputs.x), output(case, near.x)
        relative = ((there - here) / here).abs()
        ratio = change / case.attribution.flatten(1).norm(dim=1) / relative
        return torch.where(relative == 0, torch.nan, ratio)


@dataclass(frozen=True, eq=False)
class Shifted:
    """Another model: the outputs of the given one, moved."""

    of: object

    def __getattr__(self, name: str) -> object:
        return getattr(self.of, name)

    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        return self.of.target_output(inputs, targets) + 1  # type: ignore[attr-defined, no-any-return]


BATCH, ORDER = "same bits in any batch and order", "exact > noisy > random"
REJECTED = {
    D01: ORDER,
    D02: BATCH,
    D03: BATCH,
    D06: ORDER,
    D09: "nothing to find",
    D14: "model that ignores x",
    D18: "unrelated maps",
    D23: ORDER,
    D24: "same in other units of the data",
    D29: ORDER,
    D30: "caller's tensors and generators untouched",
    D33: "no map beats the exact one",
    D34: BATCH,
    D35: BATCH,
    D41: "bounded on a flat model",
}
"""Defect -> the property that tells it; others may tell it, too."""


@pytest.mark.parametrize("defect", REJECTED, ids=lambda defect: defect.__name__)
def test_the_certificate_rejects(defect: type[Metric]) -> None:
    found = certificate(defect.__name__, defect(), Expected(chance=0) if defect is D18 else None)
    assert REJECTED[defect] in {finding.title for finding in found if finding.fault}
    assert not [f for f in found if "raised" in f.fault or f.declined]


def test_the_certificate_accepts_what_is_right() -> None:
    assert not [f for f in certificate("deletion", Deletion(Constant())) if f.fault]
