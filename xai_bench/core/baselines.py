"""What "absent" means: the references that stand in for removed units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core.spatial import filter_along, gaussian, require_spatial
from xai_bench.core.tokens import require_numbers
from xai_bench.types import Baseline, Inputs, Rng


@dataclass(frozen=True)
class Constant:
    """One value everywhere: 0 is the mean of standardised data and the absence of a gate."""

    value: float = 0.0

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        """`[B, 1, *S]`, the value everywhere."""
        require_numbers(inputs.domain, "baseline constant")
        return torch.full_like(inputs.x, self.value)[:, None]


@dataclass(frozen=True)
class Mean:
    """The mean of the background rows, element by element."""

    # Columns in the same role may have other means.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        """`[B, 1, *S]`, the mean for every sample."""
        require_numbers(inputs.domain, "baseline mean")
        mean = inputs.domain.background.mean(0).to(inputs.x)
        return mean.expand(len(inputs), 1, *mean.shape)


@dataclass(frozen=True)
class Quantile:
    """A quantile of the background rows, element by element: 0.5 is the median, 0 the minimum.

    Between two rows it is interpolated linearly, as numpy does by default.
    """

    # Columns in the same role may have other quantiles.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)

    level: float = 0.5

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        """`[B, 1, *S]`; raises ValueError for a level outside 0 .. 1."""
        if not 0 <= self.level <= 1:
            raise ValueError(f"a quantile lies between 0 and 1; found level={self.level}")
        require_numbers(inputs.domain, "a quantile as baseline")
        ordered = inputs.domain.background.sort(dim=0).values
        place = self.level * (len(ordered) - 1)
        below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
        # Not `Tensor.quantile`, which refuses more than 2^24 numbers.
        value = torch.lerp(below, above, place % 1).to(inputs.x)
        return value.expand(len(inputs), 1, *value.shape)


@dataclass(frozen=True)
class Marginal:
    """Whole background rows drawn at random, afresh for every sample: the marginal (interventional)
    value of a coalition. Janzing+ 2020, arXiv:1910.13413.

    A row is drawn whole, so that what is absent together keeps the correlations of the data.
    """

    # Rows in which columns differ.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)

    n_draws: int = 8

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        """`[B, R, *S]` with `R = n_draws`, drawn with replacement."""
        require_numbers(inputs.domain, "baseline marginal")
        background = inputs.domain.background
        # With replacement, so that draws are independent and their mean has the usual error.
        row = rng.child("marginal").integers(len(background), self.n_draws)
        return background[row].to(inputs.x)


@dataclass(frozen=True)
class Background:
    """All background rows, the same for every sample: marginal values without chance."""

    # Rows in which columns differ.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        """`[B, N, *S]`, a view: nothing is copied."""
        require_numbers(inputs.domain, "baseline background")
        background = inputs.domain.background.to(inputs.x)
        return background.expand(len(inputs), *background.shape)


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur of the sample itself along its space or time axes. Fong & Vedaldi 2017.

    `sigma` is in elements. Needs inputs `[channels, time]` or `[channels, height, width]`.
    """

    sigma: float = 2.0

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        """`[B, 1, *S]`; raises `Unsupported` where x has no axes of space or time."""
        blurred = inputs.x
        for axis in require_spatial(inputs, "blur"):
            # Less than 0.3 % of a Gaussian lies beyond three standard deviations.
            radius = min(math.ceil(3 * self.sigma), blurred.shape[axis] - 1)
            kernel = gaussian(radius, self.sigma, blurred.dtype).to(blurred.device)
            blurred = filter_along(blurred, axis, kernel)
        return blurred[:, None]


def references(baseline: Baseline, inputs: Inputs, *, rng: Rng) -> Tensor:
    """`[B, R, *S]`: the baseline's references, equal to `x` in padding, which is never moved."""
    drawn = baseline.references(inputs, rng=rng)
    # A path that starts elsewhere in padding would attribute what no unit can take.
    return torch.where((inputs.units < 0)[:, None], inputs.x[:, None], drawn)
