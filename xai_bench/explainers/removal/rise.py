"""RISE: the output under random masks, attributed to what the masks let through."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions
from xai_bench.core.baselines import references
from xai_bench.core.spatial import require_spatial
from xai_bench.explainers.estimates import BudgetedExplainer, Moments, require_ascending
from xai_bench.explainers.removal.engine import CoalitionSampler, NullUnits, UnitAttributions
from xai_bench.explainers.removal.row_products import row_matmul
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng, Rows


@dataclass(frozen=True)
class RISE(BudgetedExplainer):
    """The mean of output times mask over smooth random masks, divided by `keep`.

    A grid of `cells` per axis of space or time is on or off at random, enlarged linearly to the
    input and shifted by a random part of a cell; what is masked fades into the reference. Each mask
    takes one model row, with the references in turn. Petsiuk+ 2018.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "removal"
    needs: ClassVar[tuple[str, ...]] = ("space",)
    paper: ClassVar[str] = "Petsiuk+ 2018, arXiv:1806.07421"
    version: ClassVar[int] = 2

    baseline: Baseline
    budget: int = 4000
    cells: int = 7
    keep: float = 0.5

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Explanation]:
        """One explanation per budget, ascending, in one run.

        Raises `Unsupported` for inputs without space or time, ValueError where budgets do not
        ascend.
        """
        require_spatial(inputs, "rise", ": take rise_units")
        require_ascending(budgets)
        starts, n_drawn = references(self.baseline, inputs, rng=rng), 0
        moments = Moments(inputs)
        per_call = max(model.max_rows // len(inputs), 1)
        for budget in budgets:
            for first in range(n_drawn, budget, per_call):
                draws = range(first, min(first + per_call, budget))
                masks, points = self._masked(inputs, starts, draws, rng)
                values = coalitions.values_at(model, inputs, targets, points)
                # One after the other, so that the bits do not depend on how many fit in a call.
                for mask, value in zip(masks.unbind(1), values.unbind(1), strict=True):
                    draw = mask * value.view(-1, *[1] * (mask.dim() - 1))
                    moments.add(draw[:, None].expand(inputs.x.shape))
            n_drawn = budget
            yield self._explanation(inputs, moments)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row per mask."""
        return Rows(self.budget)

    def _masked(
        self, inputs: Inputs, starts: Tensor, draws: range, rng: Rng
    ) -> tuple[Tensor, Tensor]:
        """`[B, k, *space]`, `[B, k, *S]`: some masks, and x faded into the references by them."""
        masks = torch.stack([self._mask(inputs, k, rng) for k in draws], dim=1)
        # One reference per mask: all of them for each would leave fewer masks to the same budget.
        start = starts[:, [k % starts.shape[1] for k in draws]]
        return masks, start + masks[:, :, None].to(inputs.x) * (inputs.x[:, None] - start)

    def _mask(self, inputs: Inputs, draw: int, rng: Rng) -> Tensor:
        """`[B, *space]` float64 in 0 .. 1."""
        # One node more than cells to enlarge between, and one more to shift by.
        sizes, nodes = inputs.x.shape[2:], self.cells + 2
        mask = (rng.child("grid", draw).uniform(*[nodes] * len(sizes)) < self.keep).double()
        shift = rng.child("shift", draw).uniform(len(sizes))
        for axis, size in enumerate(sizes):
            across = mask.movedim(1 + axis, 1)
            weights = _enlarge(size, self.cells, shift[:, axis])
            enlarged = weights @ across.reshape(len(across), nodes, -1)
            mask = enlarged.view(-1, size, *across.shape[2:]).movedim(1, 1 + axis)
        return mask

    def _explanation(self, inputs: Inputs, moments: Moments) -> Explanation:
        """From draws that are the same in all channels, which share them."""
        n_channels = inputs.x.shape[1]
        value, error = (
            torch.where(inputs.units < 0, 0, part / self.keep / n_channels)
            for part in moments.mean_and_error()
        )
        return Explanation(value.to(inputs.x.dtype), error.to(inputs.x.dtype))


def _enlarge(size: int, cells: int, shift: Tensor) -> Tensor:
    """`shift [B]` in cells `-> [B, size, cells + 2]`: a pixel's weights of the nodes around it."""
    # Rounded up, so that the enlarged grid holds x wherever it is shifted to.
    per_cell = math.ceil(size / cells)
    place = torch.arange(size, dtype=torch.float64) / per_cell + shift[:, None]
    nodes = torch.arange(cells + 2, dtype=torch.float64)
    # The hat function: linear between the two nodes beside a pixel.
    return (1 - (place[..., None] - nodes).abs()).clamp(min=0)


@dataclass(frozen=True)
class UnitRISE(CoalitionSampler):
    """RISE with units in place of a grid: each is kept with chance `keep`, apart from the others.

    For inputs without space: columns, tokens, gates. `budget` bounds the model rows per sample, of
    which a coalition costs one per reference. Petsiuk+ 2018.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Petsiuk+ 2018, arXiv:1806.07421"
    version: ClassVar[int] = 2
    # A drawn value goes to all units that are kept.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry")
    # A mean output, also of a unit that changes nothing: 0 would place it anywhere in the ranking.
    null_units: ClassVar[NullUnits] = "solved"

    budget: int = 4000
    keep: float = 0.5

    def least(self, n_units: int) -> int:
        """Two, for a standard error."""
        return 2

    def n_coalitions(self, n_units: int, most: int) -> int:
        """All that are allowed."""
        return most

    def design(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        """`kept [K, u]` bool."""
        return rng.uniform(n_coalitions, n_units)[0] < self.keep

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """The mean of value times membership over `keep`, and its standard error."""
        n_draws, values = len(kept), values / self.keep
        # Over `keep`, this is the mean output given that the unit is there: the paper's definition.
        mean = row_matmul(values, kept) / n_draws
        square = row_matmul(values.square(), kept) / n_draws
        variance = (square - mean.square()).clamp(min=0) / max(n_draws - 1, 1)
        return UnitAttributions(mean, variance.sqrt())
