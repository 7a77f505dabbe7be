"""How much does the explanation change for what the model itself changes?

A map may follow its input because the model does: these metrics hold one against the other, among
the same neighbours as the plain stability metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.metrics.common import norm, pooled
from xai_bench.metrics.probes.neighbours import (
    NeighbourOutputs,
    NeighbourRepresentations,
    Neighbours,
)
from xai_bench.metrics.probes.removal.curves import counts
from xai_bench.metrics.stability.sensitivity import distance, relative, worst
from xai_bench.types import Case


@dataclass(frozen=True)
class RelativeOutputStability:
    """Largest ratio of the map's relative change, element by element, to the outputs' change.

    The outputs (logits) change by at least `epsilon_min`, in their own unit. The paper divides the
    map by every element as it is; here magnitudes count as at least `floor` times the largest, so
    that a zero does not make the ratio explode. Neighbours that the model gives another class are
    left out; NaN where none is left, and for a map of zeros.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Agarwal+ 2022, arXiv:2203.06877"
    radius: float = 0.1
    n_draws: int = 10
    floor: float = 0.01
    epsilon_min: float = 0.01

    def score(self, case: Case) -> Tensor:
        answers = case.measure(NeighbourOutputs(self.radius, self.n_draws))
        change = norm(answers.there - answers.here[:, None], 2).clamp(min=self.epsilon_min)
        moved = _map_change(case, Neighbours(self.radius, self.n_draws), self.floor)
        return worst(moved / change, answers.same_class())


@dataclass(frozen=True)
class RelativeRepresentationStability:
    """Largest ratio of the map's relative change to that of the last hidden representation.

    That is what goes into the model's last layer with parameters. Both changes are taken element by
    element, where magnitudes count as at least `floor` times the largest (the paper has no such
    floor); that of the representation is at least `epsilon_min`. Neighbours of another class are
    left out; NaN where none is left, and for a map of zeros. Models without a torch module are
    unsupported.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Agarwal+ 2022, arXiv:2203.06877"
    radius: float = 0.1
    n_draws: int = 10
    floor: float = 0.01
    epsilon_min: float = 0.01

    def score(self, case: Case) -> Tensor:
        hidden = case.measure(NeighbourRepresentations(self.radius, self.n_draws))
        largest = hidden.here.abs().amax(1, keepdim=True)
        change = relative(hidden.there, hidden.here, (self.floor * largest).clamp(min=1e-12))
        moved = _map_change(case, Neighbours(self.radius, self.n_draws), self.floor)
        same = case.measure(NeighbourOutputs(self.radius, self.n_draws)).same_class()
        return worst(moved / change.clamp(min=self.epsilon_min), same)


@dataclass(frozen=True)
class OutputNormalisedSensitivity:
    """Mean relative change of the map over mean relative change of the outputs, among neighbours.

    Above 1 the explanation is more fragile than the model that it explains. Outputs that change by
    less than `epsilon_min`, relatively, count as changing by that much: a model that is flat near x
    does not make the ratio explode. NaN where they do not change at all, and for a map of zeros.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Kiourti+ 2025, arXiv:2512.06665 (the question, not the index)"
    radius: float = 0.1
    n_draws: int = 10
    epsilon_min: float = 0.01

    def score(self, case: Case) -> Tensor:
        near = case.measure(Neighbours(self.radius, self.n_draws))
        answers = case.measure(NeighbourOutputs(self.radius, self.n_draws))
        change = distance(answers.there, answers.here).mean(1)
        moved = distance(near.attributions, case.attribution).mean(1)
        return moved / torch.where(change > 0, change.clamp(min=self.epsilon_min), torch.nan)


@dataclass(frozen=True)
class AdversarialFragility:
    """Share of the top `k = ceil(fraction * U)` units that the worst neighbour of the same class
    drops from its own top `k`.

    Units are compared by magnitude; ties fall alike in all maps. The neighbours are random, so an
    attack may do worse. NaN where no neighbour keeps the class or `k` is all units, and for a map
    of zeros.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Ghorbani+ 2019, arXiv:1710.10547"
    radius: float = 0.1
    n_draws: int = 10
    fraction: float = 0.25

    def score(self, case: Case) -> Tensor:
        near = case.measure(Neighbours(self.radius, self.n_draws))
        n_units = units.count(case.inputs.units)
        k = counts(n_units, (self.fraction,))
        top = self._top(case, case.attribution, k)
        kept = [(top & self._top(case, a, k)).sum(1) for a in near.attributions.unbind(1)]
        lost = 1 - torch.stack(kept, dim=1).double() / k
        same = case.measure(NeighbourOutputs(self.radius, self.n_draws)).same_class()
        scored = (k[:, 0] < n_units) & (pooled(case) != 0).any(1)
        return torch.where(scored, worst(lost, same), torch.nan)

    def _top(self, case: Case, attribution: Tensor, k: Tensor) -> Tensor:
        """`[B, *S], [B, 1] -> [B, U]` bool."""
        size = units.pool(attribution.double(), case.inputs.units).abs()
        return units.ranking(size, case.inputs.units, rng=case.rng.child("fragility")) < k


def _map_change(case: Case, probe: Neighbours, floor: float) -> Tensor:
    """`[B, K]`: norm of the map's element-wise relative change; NaN for a map of zeros."""
    near = case.measure(probe)
    largest = case.attribution.abs().flatten(1).amax(1)
    largest = torch.where(largest > 0, largest, torch.nan)
    shape = (-1, *[1] * (case.attribution.dim() - 1))
    return relative(near.attributions, case.attribution, floor * largest.view(shape))
