"""How much the explanation changes under small changes of the input, or of its random numbers.

A map that ignores its input is perfectly stable: read stability beside fidelity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.metrics.common import norm
from xai_bench.metrics.probes.neighbours import NeighbourOutputs, Neighbours
from xai_bench.types import Case


@dataclass(frozen=True)
class MaxSensitivity:
    """Largest change of the map among neighbours, relative to the map.

    NaN for a map of zeros. A map that ignores its input scores 0.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Yeh+ 2019, arXiv:1901.09392"
    radius: float = 0.1
    n_draws: int = 10

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        near = case.measure(Neighbours(self.radius, self.n_draws))
        # Over the size of the map, which the paper's is not: else small maps look stable.
        return distance(near.attributions, case.attribution).amax(1)


@dataclass(frozen=True)
class AverageSensitivity:
    """Mean change of the map among neighbours, relative to the map.

    NaN for a map of zeros. A map that ignores its input scores 0.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Bhatt+ 2020, arXiv:2005.00631"
    radius: float = 0.1
    n_draws: int = 10

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        near = case.measure(Neighbours(self.radius, self.n_draws))
        return distance(near.attributions, case.attribution).mean(1)


@dataclass(frozen=True)
class LocalLipschitz:
    """Largest change of the map among neighbours, relative to the map, per step of the input.

    A step is measured in standard deviations, so that the score does not depend on the units of map
    or columns, as the paper's ratio does. NaN for a map of zeros.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Alvarez-Melis & Jaakkola 2018, arXiv:1806.08049 (made unit-free)"
    radius: float = 0.1
    n_draws: int = 10

    def score(self, case: Case) -> Tensor:
        """`[B]`, per standard deviation."""
        near = case.measure(Neighbours(self.radius, self.n_draws))
        scale = case.inputs.domain.scale.double()
        # Of the points as the model gets them: rounding to the data type of x is part of the step.
        step = norm((near.points.double() - case.inputs.x[:, None]) / scale, 2)
        return (distance(near.attributions, case.attribution) / step).amax(1)


@dataclass(frozen=True)
class RelativeInputStability:
    """Largest ratio of the map's relative change to the input's, element by element.

    The input's change counts as at least `epsilon_min`. The paper divides by every element as it
    is; here magnitudes count as at least `floor` times the standard deviation (of the input) or the
    map's largest value (of the map), so that the ratio is bounded near zeros. Neighbours that the
    model puts into another class are left out; NaN where none is left, and for a map of zeros.
    Costs `1 + n_draws` forward rows per sample beside the explanations.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Agarwal+ 2022, arXiv:2203.06877"
    radius: float = 0.1
    n_draws: int = 10
    floor: float = 0.01
    epsilon_min: float = 1e-6

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        near = case.measure(Neighbours(self.radius, self.n_draws))
        x, scale = case.inputs.x.double(), case.inputs.domain.scale.double()
        largest = case.attribution.abs().flatten(1).amax(1).view(-1, *[1] * (x.dim() - 1))
        map_change = relative(near.attributions, case.attribution, self.floor * largest)
        input_change = relative(near.points, x, self.floor * scale).clamp(min=self.epsilon_min)
        same_class = case.measure(NeighbourOutputs(self.radius, self.n_draws)).same_class()
        return worst(map_change / input_change, same_class)


@dataclass(frozen=True)
class Repeatability:
    """Mean relative change of the map when it is computed again with fresh random numbers.

    Exactly 0 for deterministic explainers; NaN for a map of zeros. Costs `n_repeats` explanations.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Visani+ 2022, arXiv:2001.11757 (the question, not the index)"
    n_repeats: int = 5

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        # Repeat 0 is the explanation under test.
        repeats = range(1, self.n_repeats + 1)
        maps = [case.explain(case.inputs, repeat=repeat) for repeat in repeats]
        return distance(torch.stack(maps, dim=1), case.attribution).mean(1)


def distance(maps: Tensor, reference: Tensor) -> Tensor:
    """`[B, K, *S], [B, *S] -> [B, K]`: norm of the difference over that of the reference.

    NaN where the reference is zero.
    """
    size = norm(reference.double(), 1)[:, None]
    return norm(maps.double() - reference[:, None], 2) / torch.where(size > 0, size, torch.nan)


def relative(points: Tensor, reference: Tensor, floor: Tensor) -> Tensor:
    """`[B, K, *S], [B, *S] -> [B, K]`: norm of the element-wise relative change.

    Magnitudes of the reference count as at least `floor`, which broadcasts to `[B, *S]`.
    """
    size = torch.maximum(reference.abs(), floor)
    return norm((points.double() - reference[:, None]) / size[:, None], 2)


def worst(ratio: Tensor, same_class: Tensor) -> Tensor:
    """`[B, K], [B, K] bool -> [B]`: the largest among those of the same class; NaN of none."""
    # Passed over one by one: a NaN among the neighbours would leave the whole sample unscored.
    largest = torch.where(same_class, ratio, -torch.inf).amax(1)
    return torch.where(largest >= 0, largest, torch.nan)
