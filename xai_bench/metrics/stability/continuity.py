"""Does the explanation move smoothly when the input is moved?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.metrics.common import norm, total
from xai_bench.types import Case, Inputs, Unsupported


@dataclass(frozen=True)
class Continuity:
    """Largest change of the map per step of the input, among translations along each axis.

    Images move up, down, left and right by 1 to `max_shift` pixels, series by as many time steps;
    what comes in repeats the edge. The change of the map is its sum of magnitudes relative to that
    of the map, the step is the distance in standard deviations, so that neither unit counts, as
    they would in the paper's ratio. NaN where no translation changes the input, and for a map of
    zeros. Costs `2 * max_shift` explanations per axis.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Montavon+ 2018, arXiv:1706.07979 (made unit-free)"
    max_shift: int = 2

    def score(self, case: Case) -> Tensor:
        x, scale = case.inputs.x, case.inputs.domain.scale.double()
        size = total(case.attribution.double().abs().flatten(1))
        size = torch.where(size > 0, size, torch.nan)
        found = []
        for moved in translations(case.inputs, self.max_shift):
            other = case.explain(case.inputs.with_x(moved)).double()
            change = total((other - case.attribution).abs().flatten(1)) / size
            step = norm((moved.double() - x) / scale, 1)
            found.append(torch.where(step > 0, change / step, -torch.inf))
        largest = torch.stack(found, dim=1).amax(1)
        return torch.where(largest >= 0, largest, torch.nan)


def translations(inputs: Inputs, max_shift: int) -> list[Tensor]:
    """`[B, *S]` each; padding stays. Raises `Unsupported` for what has no axis to move along."""
    if inputs.x.dim() not in (3, 4) or inputs.units.stride(0) != 0:
        raise Unsupported(
            f"translations need inputs [channels, time] or [channels, height, width] with the same "
            f"units everywhere; these have shape {list(inputs.x.shape[1:])}"
        )
    shifts = [s for k in range(1, max_shift + 1) for s in (-k, k)]
    moved = [_moved(inputs.x, axis, s) for axis in range(2, inputs.x.dim()) for s in shifts]
    return [torch.where(inputs.units < 0, inputs.x, x) for x in moved]


def _moved(x: Tensor, axis: int, shift: int) -> Tensor:
    """`shift` places later along the axis; the edge is repeated."""
    place = torch.arange(x.shape[axis]) - shift
    return x.index_select(axis, place.clamp(0, x.shape[axis] - 1))
