"""Sobol indices: how much of the output's variance goes away with a unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.explainers.removal.engine import CoalitionSampler, UnitAttributions
from xai_bench.types import Kind, Rng


@dataclass(frozen=True)
class Sobol(CoalitionSampler):
    """Total indices: the share of the output's variance that is due to a unit, alone or with
    others, when every unit fades to its reference by a share that is uniform on 0 .. 1.

    A design is two random points and, per unit, the first with that unit from the second: `U + 2`
    coalitions, by the estimator of Jansen 1999. Designs are independent draws where the paper takes
    a low-discrepancy sequence, so that their spread gives the standard error. 0 where the output
    does not vary. Fel+ 2021.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Fel+ 2021, arXiv:2111.04138"
    version: ClassVar[int] = 3
    # Designs are drawn; variances do not add up.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry", "linearity")

    budget: int = 4000

    def least(self, n_units: int) -> int:
        """Eight designs: a variance from fewer is off by more than its size."""
        return 8 * (n_units + 2)

    def n_coalitions(self, n_units: int, most: int) -> int:
        """Whole designs."""
        return most - most % (n_units + 2)

    def design(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        """`[n_designs * (u + 2), u]` float32: the share of each unit that is kept."""
        ends = rng.uniform(n_coalitions // (n_units + 2), 2, n_units)[0].float()
        mixed = torch.where(torch.eye(n_units, dtype=torch.bool), ends[:, 1:], ends[:, :1])
        return torch.cat([ends, mixed], dim=1).flatten(0, 1)

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """The ratio of two means over designs, and its standard error by the delta method."""
        by_design = values.unflatten(1, (-1, kept.shape[1] + 2))
        ends, mixed = by_design[:, :, :2], by_design[:, :, 2:]
        centre = ends.mean((1, 2), keepdim=True)
        spread = (ends - centre).square().mean(2, keepdim=True)
        # Jansen's squares need no mean taken off, so a large constant in the output does not round
        # away what varies.
        lost = (ends[:, :, :1] - mixed).square() / 2
        variance = spread.mean(1, keepdim=True)
        # Below the rounding of a float32 model, what varies is noise.
        moves = variance > torch.finfo(torch.float32).eps ** 2 * centre.square()
        scale = torch.where(moves, variance, torch.inf)
        index = lost.mean(1, keepdim=True) / scale
        # To first order, what one design adds to the ratio of both means.
        influence = (lost - index * spread) / scale
        n_designs = influence.shape[1]
        error = influence.std(1, correction=1) / n_designs**0.5
        return UnitAttributions(index[:, 0], error, degrees_of_freedom=n_designs - 1)
