"""A baseline for images and series: absent elements are filled in from their neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.core import units
from xai_bench.core.imputers import no_references
from xai_bench.core.spatial import require_spatial
from xai_bench.types import Inputs, Rng

_MAX_NUMBERS = 1 << 23
"""How many numbers of banded matrices are built at once."""


@dataclass(frozen=True)
class NoisyLinear:
    """Each absent pixel or time step is the weighted mean of its neighbours, plus noise.

    Side neighbours weigh twice what corner neighbours do; neighbours may be absent too, so the
    values solve one linear system per mask, exactly. Channels have systems of their own. Where a
    channel keeps nothing, it gets the background's mean. `noise` is in standard deviations of the
    element. Needs inputs `[channels, time]` or `[channels, height, width]`. Rong+ 2022,
    arXiv:2202.00449.
    """

    noise: float = 0.1
    n_draws: int = 1

    @property
    def n_references(self) -> int:
        """Draws of the noise per coalition."""
        return self.n_draws

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        """Raises `Unsupported`: see `no_references`."""
        raise no_references("noisy_linear")

    def impute(self, inputs: Inputs, kept: Tensor, *, rng: Rng) -> Tensor:
        """`kept [B, K, U] -> [B, K, R, *S]`; raises `Unsupported` without space or time."""
        require_spatial(inputs, "linear imputation")
        x, domain = inputs.x.double(), inputs.domain
        is_kept = units.kept_elements(kept, inputs.units)
        channels = x[:, None].expand(is_kept.shape).flatten(0, 2)
        blocks = _blocks(channels, is_kept.flatten(0, 2))
        filled = torch.cat([harmonic(*block) for block in blocks]).view(is_kept.shape)
        # Nothing to interpolate between: the system would be singular.
        is_empty = ~is_kept.flatten(3).any(3).view(*is_kept.shape[:3], *[1] * (x.dim() - 2))
        filled = torch.where(is_empty, domain.background.double().mean(0), filled)
        draws = rng.child("noisy_linear").normal(self.n_draws, *x.shape[1:])
        noise = self.noise * domain.scale * draws
        points = (filled[:, :, None] + noise[:, None]).to(inputs.x)
        return torch.where(is_kept[:, :, None], inputs.x[:, None, None], points)


def harmonic(x: Tensor, kept: Tensor) -> Tensor:
    """`x [M, *G], kept [M, *G]` bool `-> [M, *G]`: absent points are means of their neighbours.

    `G` is one axis or two. Kept points stay; where nothing is kept, the result means nothing. The
    system is solved by banded elimination, number by number, so that bits do not depend on `M`.
    Takes `P * w^2` steps for `P` points and `w` the distance of neighbours in memory.
    """
    weight = neighbours(x.shape[1:])
    band, right = _system(x.flatten(1), kept.flatten(1), weight)
    n_points, width = weight.shape[0], weight.shape[1] - 1
    flat, upper = band.flatten(1), torch.ones(width, width).triu().double()
    for point in range(n_points):
        slope = band[:, point, 1:] / band[:, point, :1]
        right[:, point + 1 : point + 1 + width] -= slope * right[:, point, None]
        # What is left to solve is a square, and lies in one piece in the band's memory.
        square = upper * slope[:, :, None] * band[:, point, None, 1:]
        start = (point + 1) * (width + 1)
        flat[:, start : start + width**2] -= square.flatten(1)
    solution = torch.zeros_like(right)
    for point in reversed(range(n_points)):
        later = band[:, point, 1:] * solution[:, point + 1 : point + 1 + width]
        solution[:, point] = (right[:, point] - later.sum(1)) / band[:, point, 0]
    return torch.where(kept, x, solution[:, :n_points].reshape(x.shape))


def neighbours(grid: tuple[int, ...]) -> Tensor:
    """`[P, 1 + w]`: how much each point and the one `o` places after it weigh for each other."""
    places = torch.arange(math.prod(grid)).view(grid)
    # Rong+ 2022 weigh sides by 1/6 and corners by 1/12; only their ratio matters.
    steps = {(1,): 1.0} if len(grid) == 1 else {(0, 1): 2.0, (1, -1): 1.0, (1, 0): 2.0, (1, 1): 1.0}
    width = 1 if len(grid) == 1 else grid[1] + 1
    weight = torch.zeros(places.numel(), 1 + width, dtype=torch.float64)
    for step, value in steps.items():
        starts = [slice(max(-s, 0), n - max(s, 0)) for s, n in zip(step, grid, strict=True)]
        ends = [slice(max(s, 0), n + min(s, 0)) for s, n in zip(step, grid, strict=True)]
        start, end = places[tuple(starts)].flatten(), places[tuple(ends)].flatten()
        weight[start, end - start] += value
    return weight


def _system(x: Tensor, kept: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The lower band `[M, P + w, 1 + w]` of the matrix and the right side `[M, P + w]`."""
    n_points, width = weight.shape[0], weight.shape[1] - 1
    # Points beyond the end are kept, so that the elimination needs no bounds.
    # Kept neighbours are known, so they go to the right side; absent ones stay in the matrix.
    value = functional.pad(torch.where(kept, x, 0), (0, width))
    free = functional.pad((~kept).double(), (0, width))
    degree = functional.pad(weight.sum(1), (0, width))
    band = x.new_zeros(len(x), n_points + width, 1 + width)
    right = torch.zeros_like(free)
    for offset in range(1, 1 + width):
        link, point, later = weight[:, offset], slice(n_points), slice(offset, offset + n_points)
        degree[later] += link
        band[:, point, offset] = -link * free[:, point] * free[:, later]
        right[:, point] += link * value[:, later]
        right[:, later] += link * value[:, point]
    band[:, :, 0] = torch.where(free > 0, degree, 1)
    return band, right


def _blocks(x: Tensor, kept: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Few enough masks at a time."""
    width = x.shape[-1] + 2 if x.dim() > 2 else 2
    height = max(_MAX_NUMBERS // (x[0].numel() * width), 1)
    yield from zip(x.split(height), kept.split(height), strict=True)
