"""Bounds over the orders in which units can be removed, by beam search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.metrics.probes.removal.orders import Bounds
from xai_bench.types import Baseline, Case, Unsupported


@dataclass(frozen=True)
class BeamBounds:
    """Bounds over removal orders by beam search.

    After each removal the `width` best partial orders are continued by every unit that is left, one
    per coalition. A partial order is as good as its sum of target outputs so far. Exact for
    additive models. Costs at most `width * U * (U + 1) * R` forward rows per sample for both
    bounds. Raises `Unsupported` beyond `max_units`.
    """

    shared: ClassVar[bool] = True
    baseline: Baseline
    width: int = 5
    max_units: int = 64

    def measure(self, case: Case) -> Bounds:
        """The sums of the best and of the worst order found."""
        n_units = units.width(case.inputs.units)
        if n_units > self.max_units:
            raise Unsupported(
                f"a beam search over the orders of {n_units} units takes too long; "
                f"the limit is max_units={self.max_units}"
            )
        lowest, highest = (self._search(case, sign) for sign in (1, -1))
        return Bounds(lowest, -highest)

    def _search(self, case: Case, sign: int) -> Tensor:
        """`[B]`: the smallest sum of `sign` times the outputs that are left.

        From one unit removed to one unit left.
        """
        real = units.present(case.inputs.units)
        kept, sums = real[:, None], torch.zeros(len(real), 1, dtype=torch.float64)
        last = units.count(case.inputs.units) - 1
        smallest = torch.zeros(len(real), dtype=torch.float64)
        rng = case.rng.child("removal_curves")
        for step in range(1, real.shape[1]):
            kept, valid = _continued(kept, real.shape[1] - step + 1)
            values = coalitions.values(
                case.model, case.inputs, case.targets, kept, self.baseline, rng=rng
            )
            parents = sums.repeat_interleave(kept.shape[1] // sums.shape[1], dim=1)
            sums = torch.where(valid, parents + sign * values, torch.inf)
            # In an additive model the best order is greedy at every step, so that any width is
            # exact.
            kept, sums = _best(kept, sums, self.width)
            # Samples with fewer units than others have ended before.
            smallest = torch.where(last == step, sums[:, 0], smallest)
        return smallest


def _continued(kept: Tensor, n_left: int) -> tuple[Tensor, Tensor]:
    """`[B, W, U] -> [B, W * L, U], [B, W * L]`: each coalition without one of its units.

    `L` is `n_left`, the units of the longest sample; the second value is False where a sample has
    fewer.
    """
    valid, unit = kept.sort(dim=2, descending=True, stable=True)
    unit = unit[..., :n_left]
    children = kept[:, :, None].expand(-1, -1, n_left, -1).clone()
    children.scatter_(3, unit[..., None], value=False)
    return children.flatten(1, 2), valid[..., :n_left].flatten(1)


def _best(kept: Tensor, sums: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The coalitions of the `width` smallest sums, and these sums, ascending.

    Of several orders that lead to one coalition only the best is kept.
    """
    # A coalition's key is the sum of the sines of its units' numbers: those of 1, 2, ... are
    # linearly independent over the rationals, so that no two coalitions share a key.
    sine = torch.arange(1, kept.shape[2] + 1).double().sin()
    key = (kept * sine).cumsum(2)[..., -1]
    order = sums.argsort(dim=1, stable=True)
    order = order.gather(1, key.gather(1, order).argsort(dim=1, stable=True))
    key, sums = key.gather(1, order), sums.gather(1, order)
    repeated = torch.zeros_like(key, dtype=torch.bool)
    repeated[:, 1:] = key[:, 1:] == key[:, :-1]
    sums, place = torch.where(repeated, torch.inf, sums).sort(dim=1, stable=True)
    chosen = order.gather(1, place[:, :width])
    return kept.gather(1, chosen[..., None].expand(-1, -1, kept.shape[2])), sums[:, :width]
