"""Variance of the map among neighbours, split into the explainer's noise and the input's effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.metrics.probes.neighbours import neighbour_points
from xai_bench.types import Case, Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class Variances:
    """Unbiased estimates, `[B, *S]` for every element of the map.

    Attributes:
        noise: variance of the map at one input over the explainer's random numbers; exactly 0 for
            deterministic explainers.
        input: variance over neighbouring inputs of the expected map; an unbiased estimate of 0 may
            be below it.
    """

    noise: Tensor
    input: Tensor


@dataclass(frozen=True)
class RepeatedNeighbours:
    """The points of `Neighbours`, each explained `n_repeats` times with fresh random numbers.

    One-way analysis of variance with random effects: the variance of the neighbours' means is that
    of the expected map plus `1 / n_repeats` of the noise, which the repeats estimate. Costs
    `n_draws * n_repeats` explanations per sample. Raises `Unsupported` for fewer than two of each.
    """

    shared: ClassVar[bool] = False
    radius: float = 0.1
    n_draws: int = 10
    n_repeats: int = 2

    def measure(self, case: Case) -> Variances:
        """Both variances, element by element."""
        if self.n_draws < 2 or self.n_repeats < 2:
            raise Unsupported("a variance needs n_draws and n_repeats of at least 2")
        noise, means = [], []
        for number, point in enumerate(neighbour_points(case, self.radius, self.n_draws).unbind(1)):
            inputs = case.inputs.with_x(point)
            # Every explanation has a repeat number of its own, and 0 is the one under test.
            first = 1 + number * self.n_repeats
            repeats = range(first, first + self.n_repeats)
            maps = torch.stack([case.explain(inputs, repeat=r).double() for r in repeats], dim=1)
            noise.append(_variance(maps))
            # As a difference from the first, so that equal maps have exactly their value as mean.
            means.append(maps[:, 0] + (maps - maps[:, :1]).mean(1))
        within = torch.stack(noise, dim=1).mean(1)
        between = _variance(torch.stack(means, dim=1))
        return Variances(within, between - within / self.n_repeats)


def _variance(maps: Tensor) -> Tensor:
    """`[B, K, *S] -> [B, *S]`: unbiased; from differences, so exactly 0 for equal maps."""
    centred = maps - maps[:, :1]
    centred = centred - centred.mean(1, keepdim=True)
    return centred.square().sum(1) / (maps.shape[1] - 1)
