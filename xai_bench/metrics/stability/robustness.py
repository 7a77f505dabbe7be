"""How much the explanation changes relative to the model itself.

A map may change with its input because the model does: these metrics compare the two, among the
same neighbours as the plain stability metrics.
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
class _RelativeStability:
    """What both relative stabilities can be set to.

    Attributes:
        radius, n_draws: those of `Neighbours`.
        floor: smallest magnitude that changes are divided by, relative to the largest.
        epsilon_min: smallest change of the model.
    """

    radius: float = 0.1
    n_draws: int = 10
    floor: float = 0.01
    epsilon_min: float = 0.01


@dataclass(frozen=True)
class RelativeOutputStability(_RelativeStability):
    """Largest ratio of the map's relative change, element by element, to the outputs' change.

    The change of the outputs (logits) counts as at least `epsilon_min`, in their own unit. In the
    paper the map is divided by every element as it is; here magnitudes count as at least `floor`
    times the largest, so that the ratio is bounded near zeros. Neighbours that the model puts into
    another class are left out; NaN where none is left, and for a map of zeros.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Agarwal+ 2022, arXiv:2203.06877"

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        # Logits, as in the paper: probabilities hardly move where the model is sure.
        outputs = case.measure(NeighbourOutputs(self.radius, self.n_draws))
        change = norm(outputs.nearby - outputs.at_x[:, None], 2).clamp(min=self.epsilon_min)
        map_change = _map_change(case, Neighbours(self.radius, self.n_draws), self.floor)
        return worst(map_change / change, outputs.same_class())


@dataclass(frozen=True)
class RelativeRepresentationStability(_RelativeStability):
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

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        hidden = case.measure(NeighbourRepresentations(self.radius, self.n_draws))
        largest = hidden.at_x.abs().amax(1, keepdim=True)
        # A representation after a ReLU is mostly zeros, by which the paper's ratio would divide.
        change = relative(hidden.nearby, hidden.at_x, (self.floor * largest).clamp(min=1e-12))
        map_change = _map_change(case, Neighbours(self.radius, self.n_draws), self.floor)
        same_class = case.measure(NeighbourOutputs(self.radius, self.n_draws)).same_class()
        return worst(map_change / change.clamp(min=self.epsilon_min), same_class)


@dataclass(frozen=True)
class OutputNormalisedSensitivity:
    """Mean relative change of the map over mean relative change of the outputs, among neighbours.

    Above 1 the explanation is more fragile than the model that it explains. A relative change of
    the outputs counts as at least `epsilon_min`, so that the ratio is bounded where the model is
    flat near x. NaN where they do not change at all, and for a map of zeros.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Kiourti+ 2025, arXiv:2512.06665 (the question, not the index)"
    radius: float = 0.1
    n_draws: int = 10
    epsilon_min: float = 0.01

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        near = case.measure(Neighbours(self.radius, self.n_draws))
        outputs = case.measure(NeighbourOutputs(self.radius, self.n_draws))
        change = distance(outputs.nearby, outputs.at_x).mean(1)
        map_change = distance(near.attributions, case.attribution).mean(1)
        return map_change / torch.where(change > 0, change.clamp(min=self.epsilon_min), torch.nan)


@dataclass(frozen=True)
class AdversarialFragility:
    """Share of the top `k = ceil(fraction * U)` units that are not in the top `k` of a neighbour.

    Of the neighbours of the same class, the one that loses most. Units are compared by magnitude;
    one stream breaks the ties of all maps. The neighbours are random, so an attack may find worse
    ones. NaN where no neighbour keeps the class or `k` is all units, and for a map
    of zeros.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Ghorbani+ 2019, arXiv:1710.10547"
    radius: float = 0.1
    n_draws: int = 10
    fraction: float = 0.25

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        near = case.measure(Neighbours(self.radius, self.n_draws))
        n_units = units.count(case.inputs.units)
        k = counts(n_units, (self.fraction,))
        top = self._top(case, case.attribution, k)
        # Random neighbours, not an attack: an attack would need gradients through the explainer.
        kept = [(top & self._top(case, a, k)).sum(1) for a in near.attributions.unbind(1)]
        lost = 1 - torch.stack(kept, dim=1).double() / k
        same_class = case.measure(NeighbourOutputs(self.radius, self.n_draws)).same_class()
        scored = (k[:, 0] < n_units) & (pooled(case) != 0).any(1)
        return torch.where(scored, worst(lost, same_class), torch.nan)

    def _top(self, case: Case, attribution: Tensor, k: Tensor) -> Tensor:
        """`[B, *S], [B, 1] -> [B, U]` bool: the `k` units of the largest magnitude."""
        size = units.pool(attribution.double(), case.inputs.units).abs()
        return units.ranking(size, case.inputs.units, rng=case.rng.child("fragility")) < k


def _map_change(case: Case, probe: Neighbours, floor: float) -> Tensor:
    """`[B, K]`: norm of the map's element-wise relative change; NaN for a map of zeros."""
    near = case.measure(probe)
    largest = case.attribution.abs().flatten(1).amax(1)
    largest = torch.where(largest > 0, largest, torch.nan)
    shape = (-1, *[1] * (case.attribution.dim() - 1))
    return relative(near.attributions, case.attribution, floor * largest.view(shape))
