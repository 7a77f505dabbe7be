"""Whether the explanation changes smoothly when the input is translated."""

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

    Images are translated up, down, left and right by 1 to `max_shift` pixels, series by as many
    time steps; the edge is repeated. The change of the map is the sum of its absolute changes over
    that of the map, the step is the distance in standard deviations, so that the score does not
    depend on the units of data or map, as the paper's ratio does. NaN where no translation changes
    the input, and for a map of zeros. Costs `2 * max_shift` explanations per axis.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Montavon+ 2018, arXiv:1706.07979 (made unit-free)"
    max_shift: int = 2

    def score(self, case: Case) -> Tensor:
        """`[B]`, per standard deviation."""
        x, scale = case.inputs.x, case.inputs.domain.scale.double()
        size = total(case.attribution.double().abs().flatten(1))
        size = torch.where(size > 0, size, torch.nan)
        slopes = []
        for translated in translations(case.inputs, self.max_shift):
            other = case.explain(case.inputs.with_x(translated)).double()
            change = total((other - case.attribution).abs().flatten(1)) / size
            step = norm((translated.double() - x) / scale, 1)
            slopes.append(torch.where(step > 0, change / step, -torch.inf))
        largest = torch.stack(slopes, dim=1).amax(1)
        return torch.where(largest >= 0, largest, torch.nan)


def translations(inputs: Inputs, max_shift: int) -> list[Tensor]:
    """The inputs translated along each axis, `[B, *S]` each; padding stays.

    Raises `Unsupported` for inputs without an axis, and where samples do not share their units.
    """
    if inputs.x.dim() not in (3, 4) or inputs.units.stride(0) != 0:
        raise Unsupported(
            f"translations need inputs [channels, time] or [channels, height, width] with the same "
            f"units everywhere; these have shape {list(inputs.x.shape[1:])}"
        )
    # A translation is off the data by what it repeats at the edge, so only small ones are tried.
    shifts = [s for k in range(1, max_shift + 1) for s in (-k, k)]
    axes = range(2, inputs.x.dim())
    translated = [_translated(inputs.x, axis, shift) for axis in axes for shift in shifts]
    return [torch.where(inputs.units < 0, inputs.x, x) for x in translated]


def _translated(x: Tensor, axis: int, shift: int) -> Tensor:
    """`[B, *S]`: x moved `shift` places along the axis; the edge is repeated."""
    place = torch.arange(x.shape[axis]) - shift
    return x.index_select(axis, place.clamp(0, x.shape[axis] - 1))
