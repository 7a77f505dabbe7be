"""Variance of the map, split into the explainer's own noise and its answer to the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.metrics.probes.neighbours import nearby
from xai_bench.types import Case, Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class Variances:
    """Unbiased estimates, `[B, *S]` for every element of the map.

    Attributes:
        noise: variance of the map at one input over the explainer's random numbers; exactly 0 for
            deterministic explainers.
        input: variance over neighbouring inputs of the map's mean; below 0 by chance where there is
            none.
    """

    noise: Tensor
    input: Tensor


@dataclass(frozen=True)
class RepeatedNeighbours:
    """The points of `Neighbours`, each explained `n_repeats` times with numbers of its own.

    The analysis of variance with random effects: the spread of the neighbours' means holds the
    answer to the input and `1 / n_repeats` of the noise, which is known from the repeats. Costs
    `n_draws * n_repeats` explanations per sample.
    """

    shared: ClassVar[bool] = False
    radius: float = 0.1
    n_draws: int = 10
    n_repeats: int = 2

    def measure(self, case: Case) -> Variances:
        if self.n_draws < 2 or self.n_repeats < 2:
            raise Unsupported("a variance takes n_draws and n_repeats of at least 2")
        noise, means = [], []
        for number, point in enumerate(nearby(case, self.radius, self.n_draws).unbind(1)):
            inputs = case.inputs.with_x(point)
            first = 1 + number * self.n_repeats
            repeats = range(first, first + self.n_repeats)
            maps = torch.stack([case.explain(inputs, repeat=r).double() for r in repeats], dim=1)
            noise.append(_variance(maps))
            # From the first on, so that equal maps have their own value as the mean.
            means.append(maps[:, 0] + (maps - maps[:, :1]).mean(1))
        within = torch.stack(noise, dim=1).mean(1)
        between = _variance(torch.stack(means, dim=1))
        return Variances(within, between - within / self.n_repeats)


def _variance(maps: Tensor) -> Tensor:
    """`[B, K, *S] -> [B, *S]`: unbiased; from differences, so exactly 0 for equal maps."""
    centred = maps - maps[:, :1]
    centred = centred - centred.mean(1, keepdim=True)
    return centred.square().sum(1) / (maps.shape[1] - 1)
