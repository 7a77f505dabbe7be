"""What "absent" means: the references that stand in for removed units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.types import Baseline, Inputs, Rng, Unsupported


@dataclass(frozen=True)
class Constant:
    """One value everywhere: 0 is the mean of standardised data and the absence of a gate."""

    value: float = 0.0

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        return torch.full_like(inputs.x, self.value)[:, None]


@dataclass(frozen=True)
class Mean:
    """The mean of the background rows, element by element."""

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        mean = inputs.domain.background.mean(0).to(inputs.x)
        return mean.expand(len(inputs), 1, *mean.shape)


@dataclass(frozen=True)
class Quantile:
    """A quantile of the background rows, element by element: 0.5 is the median, 0 the minimum.

    Between two rows it is interpolated linearly.
    """

    level: float = 0.5

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        if not 0 <= self.level <= 1:
            raise ValueError(f"a quantile lies between 0 and 1; found level={self.level}")
        ordered = inputs.domain.background.sort(dim=0).values
        place = self.level * (len(ordered) - 1)
        below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
        value = torch.lerp(below, above, place % 1).to(inputs.x)
        return value.expand(len(inputs), 1, *value.shape)


@dataclass(frozen=True)
class Marginal:
    """Whole background rows drawn at random, afresh for every sample: the marginal (interventional)
    value of a coalition. Janzing+ 2020, arXiv:1910.13413.
    """

    n_draws: int = 8

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        background = inputs.domain.background
        return background[rng.child("marginal").integers(len(background), self.n_draws)].to(
            inputs.x
        )


@dataclass(frozen=True)
class Background:
    """All background rows, the same for every sample: marginal values without chance."""

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        background = inputs.domain.background.to(inputs.x)
        return background.expand(len(inputs), *background.shape)


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur of the sample itself along its space or time axes. Fong & Vedaldi 2017.

    `sigma` is in elements. Needs inputs `[channels, time]` or `[channels, height, width]`.
    """

    sigma: float = 2.0

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        n_axes = inputs.x.dim() - 2
        if n_axes not in (1, 2):
            raise Unsupported(
                f"blur needs inputs [channels, time] or [channels, height, width]; "
                f"these have shape {list(inputs.x.shape[1:])}"
            )
        blurred = inputs.x
        for axis in range(2, 2 + n_axes):
            blurred = _blur_along(blurred, axis, self.sigma)
        return blurred[:, None]


def _blur_along(x: Tensor, axis: int, sigma: float) -> Tensor:
    """Gaussian smoothing along one axis; the edge value continues beyond the border."""
    radius = min(math.ceil(3 * sigma), x.shape[axis] - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    moved = x.movedim(axis, -1)
    rows = functional.pad(moved.reshape(-1, 1, moved.shape[-1]), (radius, radius), mode="replicate")
    smooth = functional.conv1d(rows, (kernel / kernel.sum()).view(1, 1, -1))
    return smooth.view(moved.shape).movedim(-1, axis)


def references(baseline: Baseline, inputs: Inputs, *, rng: Rng) -> Tensor:
    """`[B, R, *S]`: the baseline's references, equal to `x` in padding, which is never moved."""
    found = baseline.references(inputs, rng=rng)
    return torch.where((inputs.units < 0)[:, None], inputs.x[:, None], found)
