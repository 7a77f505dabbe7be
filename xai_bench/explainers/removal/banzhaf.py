"""Banzhaf values of the game in which a coalition of units is worth the model's output on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai_bench.explainers.removal import paired_sampling
from xai_bench.explainers.removal.engine import Credits, answers, sampled_rows
from xai_bench.types import Answer, Baseline, Inputs, Kind, Model, Rng, Rows


@dataclass(frozen=True)
class Banzhaf:
    """A unit's mean gain over all coalitions of the others, each as likely; gains need not add up.

    They are the coefficients of the linear function closest to the game (Hammer & Holzman 1992),
    here of a regression on coalitions drawn with their complements, by fair coins. `budget` bounds
    the model rows per sample, of which a coalition costs one per reference. Up to 12 units, no pair
    is drawn twice: a budget that covers all `2^U` coalitions gives exact values and errors of 0.
    Liu+ 2024 (Kernel Banzhaf).
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Banzhaf 1965; Liu+ 2024, arXiv:2410.08336"
    version: ClassVar[int] = 2

    baseline: Baseline
    budget: int = 512

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        return self.answer(model, inputs, targets, rng=rng).attribution

    def answer(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Answer:
        return next(self.anytime(model, inputs, targets, (self.budget,), rng=rng))

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Answer]:
        return answers(self, model, inputs, targets, budgets, rng=rng)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return sampled_rows(self, self.budget, n_units, n_references)

    def least(self, n_units: int) -> int:
        return 2 * n_units

    def n_coalitions(self, n_units: int, most: int) -> int:
        return paired_sampling.n_coalitions(n_units, most)

    def plan(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        return paired_sampling.both(paired_sampling.by_coins(n_units, n_coalitions // 2, rng=rng))

    def solve(self, kept: Tensor, values: Tensor) -> Credits:
        return paired_sampling.linear_game(kept, values, paired_sampling.fair(kept.shape[1]), None)
