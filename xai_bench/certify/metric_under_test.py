"""A metric on trial, and what it is tried on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from xai_bench.certify.expected import Expected
from xai_bench.certify.toy_worlds import Linear, World, linear, world
from xai_bench.core.baselines import Constant, Marginal
from xai_bench.core.cost import Metered
from xai_bench.types import Case, Explanation, Inputs, Metric, Model, Rng, tags_of

SMALL = {"n_draws": 4, "n_repeats": 2, "n_models": 2, "baseline": Marginal(2)}
"""Smaller settings for metrics that have them: invariances hold at any size."""


@dataclass(frozen=True)
class Cubes:
    """An explainer of products only, whose bits do not depend on the batch.

    `factor * ((x / scale)^3 + noise)`, and 0 in padding.
    """

    factor: float = 1.0
    noise: float = 0.1

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        x = inputs.x / inputs.domain.scale
        found = self.factor * (x * x * x + self.noise * rng.normal(*x.shape[1:]))
        return Explanation(torch.where(inputs.units < 0, 0, found))


@dataclass(frozen=True, eq=False)
class MetricUnderTest:
    """Attributes: `expected`, what is known of its scores by mathematics; `taught`, the same where
    it needs a laboratory.
    """

    name: str
    metric: Metric
    expected: Expected = field(default_factory=Expected)
    taught: Expected | None = None

    def with_fields(self, changes: Mapping[str, Any]) -> MetricUnderTest:
        """The same metric but for these of its fields; those it does not have are left out."""
        known = getattr(self.metric, "__dataclass_fields__", {})
        found = {name: value for name, value in changes.items() if name in known}
        metric: Any = self.metric
        return replace(self, metric=replace(metric, **found)) if found else self

    @property
    def small(self) -> MetricUnderTest:
        return self.with_fields(SMALL)

    def against(self, value: float) -> MetricUnderTest:
        """Measured against one constant baseline."""
        return self.with_fields({"baseline": Constant(value)})

    @property
    def reads_truth(self) -> bool:
        return bool({"truth", "rationale"} & set(tags_of(self.metric).needs))

    def score(self, case: Case) -> Tensor:
        return self.metric.score(case)

    def goodness(self, case: Case) -> Tensor:
        """`[B]`: the score, turned so that more is better."""
        return self.score(case) * (1 if self.metric.higher_is_better else -1)


def case_of(world: World, explainer: Any = None, shared: Any = None) -> Case:
    """An explainer judged with half of the units in the truth."""
    explainer = explainer or Cubes()
    other: Any = Cubes(noise=0.5)
    truth = world.explain(other)
    truth = torch.where(world.inputs.units % 2 == 0, truth, 0)
    case = world.case(world.explain(explainer), "contribution", explainer, truth, shared)
    return replace(case, rationale=truth != 0)


def told(case: Case, truth: Tensor) -> Case:
    """The case with this truth; the evidence lies where it is not 0."""
    return replace(case, truth=truth, rationale=truth != 0)


def ladder(n: int) -> tuple[World, Tensor]:
    """Eight units worth 1, 2, ..., 8 at x = 1 against 0; the exact contributions."""
    weight = torch.arange(1.0, 9, dtype=torch.float64)
    return roomy(linear(weight.tolist(), n=n)), weight.expand(n, 8)


def flat(output: float, n_units: int, slope: float = 0.0) -> World:
    """A model that hardly listens: `output + slope * (sum of x)`, at x = 1."""
    module = Linear(torch.full((n_units,), slope, dtype=torch.float64), output)
    x = torch.ones(4, n_units, dtype=torch.float64)
    background = torch.linspace(-1, 1, 16, dtype=torch.float64)[:, None].expand(16, n_units)
    return world(module, x, torch.arange(n_units), background.contiguous())


def roomy(world: World) -> World:
    """The same world with large calls of the model."""
    return replace(world, model=replace(world.model, max_rows=1 << 16))


def metered(case: Case) -> tuple[Case, Metered, list[int]]:
    """The case with its model's rows on a bill, and the rows that were explained anew."""
    meter, explained = Metered(case.model), list[int]()

    def explain(
        inputs: Inputs,
        *,
        repeat: int = 0,
        model: Model | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        explained.append(len(inputs))
        return case.explain(inputs, repeat=repeat, model=model, targets=targets)

    return replace(case, model=meter, explain=explain), meter, explained


def same(left: Tensor, right: Tensor) -> bool:
    """To the last bit; NaN equals NaN."""
    return torch.equal(left.nan_to_num(nan=-7e77), right.nan_to_num(nan=-7e77))
