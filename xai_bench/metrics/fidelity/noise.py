"""How much the output changes when noise is added to the important units, or to all others.

There is no baseline: the input stays near the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.core.tokens import require_numbers
from xai_bench.metrics.common import pooled
from xai_bench.metrics.probes.removal.curves import counts
from xai_bench.types import Case, KnownScores

TOP = (0.05, 0.1, 0.15, 0.2, 0.25)
"""Shares of units that count as important, over which OpenXAI averages."""


@dataclass(frozen=True)
class _NoiseOnUnits:
    """What both metrics state and can be set to."""

    sign_invariant: ClassVar[bool] = True
    permutation_invariant: ClassVar[bool] = False
    best_per_sample: ClassVar[bool] = False
    # On eight units they depend on the spread of the data.
    known_scores: ClassVar[KnownScores] = KnownScores()
    sigma: float = 0.1
    n_draws: int = 20


@dataclass(frozen=True)
class PGI(_NoiseOnUnits):
    """Mean absolute change of the target output under noise on the most important units.

    Mean over the top 5, 10, 15, 20 and 25 % of units by magnitude, and over `n_draws` draws of
    normal noise of `sigma` standard deviations of each element. Blind to signs. Costs at most
    `1 + 5 * n_draws` rows; all explainers get the same noise.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Dai+ 2022, arXiv:2205.07277; Agarwal+ 2022, arXiv:2206.11104"

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the output."""
        return _mean_change(case, self.sigma, self.n_draws, on_top=True)


@dataclass(frozen=True)
class PGU(_NoiseOnUnits):
    """Mean absolute change of the target output under noise on all but the most important units.

    The top 5, 10, 15, 20 and 25 % of units by magnitude stay as they are. Mean over these shares
    and over `n_draws` draws of normal noise of `sigma` standard deviations of each element. Blind
    to signs. Costs at most `1 + 5 * n_draws` rows; all explainers get the same noise.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Dai+ 2022, arXiv:2205.07277; Agarwal+ 2022, arXiv:2206.11104"

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the output."""
        return _mean_change(case, self.sigma, self.n_draws, on_top=False)


def _mean_change(case: Case, sigma: float, n_draws: int, *, on_top: bool) -> Tensor:
    """`[B]`: mean over draws and over the shares in `TOP`; equal numbers of units cost once.

    `on_top`: whether the noise is added to the top units or to all others.
    """
    inputs = case.inputs
    require_numbers(inputs.domain, "noise on units")
    rng = case.rng.child("noise")
    size = pooled(case).abs()
    rank = units.ranking(size, inputs.units, rng=rng)
    # Several shares of few units are the same number of units: each is evaluated once.
    top, column = counts(units.count(inputs.units), TOP).unique(dim=1, return_inverse=True)
    # PGI moves the top and PGU all others, so that both together read one ranking.
    fixed = (rank[:, None] >= top[..., None]) == on_top
    stays = units.kept_elements(fixed, inputs.units)
    intact = coalitions.values_at(case.model, inputs, case.targets, inputs.x[:, None])
    changes = torch.zeros(stays.shape[:2], dtype=torch.float64)
    for draw in range(n_draws):
        # One stream per draw, so that more draws continue fewer.
        noise = rng.child(draw).normal(*inputs.x.shape[1:])
        step = (sigma * inputs.domain.scale * noise).to(inputs.x)
        # Sizes of single changes: in a mean over draws, rises and falls would cancel.
        changes += (_values(case, stays, step) - intact).abs()
    return (changes / n_draws)[:, column].mean(1)


def _values(case: Case, stays: Tensor, step: Tensor) -> Tensor:
    """`[B, K, *S], [B, *S] -> [B, K]`: target outputs with `step` added where x does not stay."""
    x = case.inputs.x
    noisy = [torch.where(stay, x, x + step)[:, None] for stay in stays.unbind(1)]
    values = [coalitions.values_at(case.model, case.inputs, case.targets, x) for x in noisy]
    return torch.cat(values, dim=1)
