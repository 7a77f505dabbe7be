"""The certificate rejects the defects of other libraries, each rebuilt in a few lines.

Each class is wrong in exactly one way; the number is that of the ledger in the notes on metrics.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from xai_bench.certify.check_result import faults
from xai_bench.certify.metric import certificate
from xai_bench.core import coalitions, units
from xai_bench.core.baselines import Constant
from xai_bench.metrics.fidelity.deletion import Deletion
from xai_bench.types import Baseline, Case, Inputs, KnownScores

BATCH, ORDER = "same bits in any batch and order", "exact > noisy > random"
"""Properties of the certificate that reject several defects."""


@dataclass(frozen=True)
class Defect:
    """A metric that declares what it should; the defects below are in `score`.

    Attributes:
        rejected_by: the property of the certificate that does not hold; others may not, too.
    """

    rejected_by: ClassVar[str]

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
    single = torch.eye(units.width(case.inputs.units), dtype=torch.bool).expand(
        len(case.inputs), -1, -1
    )
    gone = units.lookup(single, case.inputs.units) & (case.inputs.units >= 0)[:, None]
    points = torch.where(gone, replaced[:, None], case.inputs.x[:, None])
    return output(case, case.inputs.x)[:, None] - coalitions.values_at(
        case.model, case.inputs, case.targets, points
    )


def pooled(case: Case) -> Tensor:
    return units.pool(case.attribution.double(), case.inputs.units)


class D01(Defect):
    """Monotonicity that fills with the baseline and then writes the same baseline: never x."""

    rejected_by = ORDER

    def score(self, case: Case) -> Tensor:
        base = absent(case, self.baseline)
        return (path(case, base, base).diff(dim=1) >= -1e-9).all(1).double()


class D02(Defect):
    """ROAD that goes on with the first entry of what it collected."""

    rejected_by = BATCH

    def score(self, case: Case) -> Tensor:
        left = path(case, case.inputs.x, absent(case, self.baseline))
        return -left[0].mean().expand(len(case.inputs))


class D03(Defect):
    """Sensitivity-n that correlates the cumulative top k across the samples of the batch."""

    rejected_by = BATCH

    def score(self, case: Case) -> Tensor:
        left = path(case, case.inputs.x, absent(case, self.baseline))
        top = pooled(case).sort(dim=1, descending=True).values[:, :2].sum(1)
        drop = left[:, 0] - left[:, 2]
        return correlation(top[None], drop[None]).expand(len(case.inputs))


class D06(Defect):
    """Completeness as `==` of floats, after the map has been divided by its largest value."""

    rejected_by = ORDER

    def score(self, case: Case) -> Tensor:
        gap = output(case, case.inputs.x) - output(case, absent(case, self.baseline))
        scaled = pooled(case) / pooled(case).abs().amax(1, keepdim=True)
        return (scaled.sum(1) == gap).double()


class D09(Defect):
    """Pointing game whose "nothing marked" becomes True on its way through an array of booleans."""

    rejected_by = "nothing to find"
    category = "truth"
    needs = ("rationale",)

    def score(self, case: Case) -> Tensor:
        assert case.rationale is not None
        inside = units.pool(case.rationale.double(), case.inputs.units) > 0
        hit = inside.gather(1, pooled(case).argmax(1, keepdim=True))[:, 0].double()
        undecided = torch.where(inside.any(1), hit, torch.nan)
        return undecided.bool().double()


class D14(Defect):
    """Pixel flipping whose area takes every step as 1 wide, however many there are."""

    rejected_by = "model that ignores x"
    higher_is_better = False

    def score(self, case: Case) -> Tensor:
        left = path(case, case.inputs.x, absent(case, self.baseline))
        return torch.trapezoid(left[:, 1:], dim=1)


class D18(Defect):
    """Randomisation test whose average includes the map's likeness to itself."""

    rejected_by = "unrelated maps"
    known_scores = KnownScores(random=0)
    category = "randomisation"
    higher_is_better = False

    def score(self, case: Case) -> Tensor:
        other = case.explain(case.inputs, model=Shifted(case.model))
        size, again = pooled(case), units.pool(other, case.inputs.units)
        return (1 + correlation(size, again)) / 2


class D23(Defect):
    """Region perturbation that gives the drop and says that lower is better."""

    rejected_by = ORDER
    higher_is_better = False

    def score(self, case: Case) -> Tensor:
        left = path(case, case.inputs.x, absent(case, self.baseline))
        return (left[:, :1] - left).mean(1)


class D24(Defect):
    """Sensitivity to noise of a fixed size, whatever the data are measured in."""

    rejected_by = "same in other units of the data"
    category = "stability"
    higher_is_better = False

    def score(self, case: Case) -> Tensor:
        noise = 0.4 * case.rng.uniform(*case.inputs.x.shape[1:]) - 0.2
        near = case.explain(case.inputs.with_x(case.inputs.x + noise))
        size = case.attribution.flatten(1).norm(dim=1)
        return (near - case.attribution).flatten(1).norm(dim=1) / size


class D29(Defect):
    """Monotonicity that puts values back from the top, and compares in feature order."""

    rejected_by = ORDER

    def score(self, case: Case) -> Tensor:
        order = units.ranking(pooled(case), case.inputs.units, rng=case.rng)
        values = path(case, absent(case, self.baseline), case.inputs.x)
        by_feature = values[:, 1:].gather(1, order)
        return (by_feature.diff(dim=1) >= 0).double().mean(1)


class D30(Defect):
    """Faithfulness whose row of means is written into instead of a copy of it."""

    rejected_by = "caller's tensors and generators untouched"

    def score(self, case: Case) -> Tensor:
        means = case.inputs.domain.background
        scores = correlation(pooled(case), unit_drops(case, means[:1].expand_as(case.inputs.x)))
        means[0] = case.inputs.x[-1]
        return scores


class D33(Defect):
    """Faithfulness correlation that multiplies x by the baseline instead of replacing it."""

    rejected_by = "no map beats the exact one"

    def score(self, case: Case) -> Tensor:
        replaced = case.inputs.x * absent(case, self.baseline)
        return correlation(pooled(case), unit_drops(case, replaced))


class D34(Defect):
    """Infidelity of maps that were divided by the norm of all maps of the batch."""

    rejected_by = BATCH
    higher_is_better = False

    def score(self, case: Case) -> Tensor:
        drops = unit_drops(case, absent(case, self.baseline))
        return (pooled(case) / case.attribution.norm() - drops).square().mean(1)


class D35(Defect):
    """Sensitivity divided by the norm of the whole batch's noise."""

    rejected_by = BATCH
    category = "stability"
    higher_is_better = False

    def score(self, case: Case) -> Tensor:
        scale = case.inputs.domain.scale
        noise = scale * (0.2 * case.rng.uniform(*case.inputs.x.shape[1:]) - 0.1)
        near = case.explain(case.inputs.with_x(case.inputs.x + noise))
        return (near - case.attribution).flatten(1).norm(dim=1) / (noise / scale).norm()


class D41(Defect):
    """Output stability over the relative change of the output, skipping exact zeros only."""

    rejected_by = "bounded on a flat model"
    category = "stability"
    higher_is_better = False

    def score(self, case: Case) -> Tensor:
        noise = case.inputs.domain.scale * 0.1 * case.rng.normal(*case.inputs.x.shape[1:])
        near = case.inputs.with_x(case.inputs.x + noise)
        change = (case.explain(near) - case.attribution).flatten(1).norm(dim=1)
        at_x, nearby = output(case, case.inputs.x), output(case, near.x)
        relative = ((nearby - at_x) / at_x).abs()
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


DEFECTS = Defect.__subclasses__()


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_the_certificate_rejects_a_defect_by_the_property_that_it_breaks(
    defect: type[Defect],
) -> None:
    metric: Any = defect()
    results = certificate(defect.__name__, metric)
    assert defect.rejected_by in {result.title for result in results if result.fault}
    assert not [result for result in results if "raised" in result.fault or result.declined]


@pytest.mark.slow
def test_the_certificate_accepts_a_metric_without_defects() -> None:
    assert faults(certificate("deletion", Deletion(Constant()))) == []
