"""A metric that is tried, and the explanations it is tried on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from xai_bench.certify.toy_worlds import Linear, World, linear, world
from xai_bench.core.baselines import Constant, Marginal
from xai_bench.types import Case, Explanation, Inputs, Metric, Model, Rng, Tags, tags_of

SMALL = {"n_draws": 4, "n_repeats": 2, "n_models": 2, "width": 2, "baseline": Marginal(2)}
"""Settings that make a metric quick, where it has them: an invariance holds at any size."""


@dataclass(frozen=True)
class Cubes:
    """An explainer of products only, whose bits do not depend on the batch.

    The map is `factor * ((x / scale)^3 + noise)`, and 0 in padding.
    """

    factor: float = 1.0
    noise: float = 0.1

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Ignores the model and the targets."""
        x = inputs.x / inputs.domain.scale
        # Products of single numbers round alike in every batch, where matrix products may not.
        cubes = self.factor * (x * x * x + self.noise * rng.normal(*x.shape[1:]))
        return Explanation(torch.where(inputs.units < 0, 0, cubes))


@dataclass(frozen=True)
class CountedExplainer:
    """The same explainer; `n_rows` notes how many samples each call explains."""

    explainer: Any
    n_rows: list[int] = field(default_factory=list)

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The explanation of the explainer."""
        self.n_rows.append(len(inputs))
        explanation: Explanation = self.explainer.explain(model, inputs, targets, rng=rng)
        return explanation


@dataclass(frozen=True, eq=False)
class MetricUnderTest:
    """A metric under the name by which faults call it."""

    name: str
    metric: Metric

    def with_fields(self, changes: Mapping[str, Any]) -> MetricUnderTest:
        """The same metric with other settings; those it does not have are left out."""
        fields = getattr(self.metric, "__dataclass_fields__", {})
        settings = {name: value for name, value in changes.items() if name in fields}
        metric: Any = self.metric
        return replace(self, metric=replace(metric, **settings)) if settings else self

    @property
    def small(self) -> MetricUnderTest:
        """The same metric made quick."""
        return self.with_fields(SMALL)

    def against(self, value: float) -> MetricUnderTest:
        """The same metric with one constant baseline; itself where it has no baseline."""
        return self.with_fields({"baseline": Constant(value)})

    @property
    def tags(self) -> Tags:
        """What its class states."""
        return tags_of(self.metric)

    @property
    def reads_truth(self) -> bool:
        """Whether scores depend on a written-down truth or a rationale."""
        return bool({"truth", "rationale"} & set(self.tags.needs))

    @property
    def sign(self) -> int:
        """1 where higher scores are better, -1 where lower ones are."""
        return 1 if self.metric.higher_is_better else -1

    def score(self, case: Case) -> Tensor:
        """`[B]`: what the metric says."""
        return self.metric.score(case)

    def goodness(self, case: Case) -> Tensor:
        """`[B]`: the score, turned so that more is better."""
        return self.score(case) * self.sign


def case_of(world: World, explainer: Any = None, shared: Any = None) -> Case:
    """The case of an explainer, by default `Cubes`; every other unit is in the truth."""
    explainer = explainer or Cubes()
    other: Any = Cubes(noise=0.5)
    truth = world.explain(other)
    # Half of the units: with all or none relevant, most metrics of truth have nothing to score.
    truth = torch.where(world.inputs.units % 2 == 0, truth, 0)
    case = world.case(world.explain(explainer), "contribution", explainer, truth, shared)
    return replace(case, rationale=truth != 0)


def with_truth(case: Case, truth: Tensor) -> Case:
    """The case with this truth `[B, *S]`; the rationale lies where it is not 0."""
    return replace(case, truth=truth, rationale=truth != 0)


def eight_units(n: int) -> tuple[World, Tensor]:
    """`n` equal samples with units worth 1, 2, ..., 8; the exact contributions `[n, 8]`.

    A linear model at x = 1 with baseline 0. What metrics must score there is stated by their tag
    `known_scores`.
    """
    weight = torch.arange(1.0, 9, dtype=torch.float64)
    return with_large_batches(linear(weight.tolist(), n=n)), weight.expand(n, 8)


def nearly_constant(output: float, n_units: int, slope: float = 0.0) -> World:
    """A model that hardly depends on its input: `output + slope * (sum of x)`, at x = 1."""
    module = Linear(torch.full((n_units,), slope, dtype=torch.float64), output)
    x = torch.ones(4, n_units, dtype=torch.float64)
    background = torch.linspace(-1, 1, 16, dtype=torch.float64)[:, None].expand(16, n_units)
    return world(module, x, torch.arange(n_units), background.contiguous())


def with_large_batches(world: World) -> World:
    """The same world with large calls of the model, which makes many samples quick."""
    return replace(world, model=replace(world.model, max_rows=1 << 16))


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Whether both are equal to the last bit; NaN equals NaN."""
    return torch.equal(left.nan_to_num(nan=-7e77), right.nan_to_num(nan=-7e77))
