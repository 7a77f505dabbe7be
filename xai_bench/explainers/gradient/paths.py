"""Gradients integrated along paths that are not straight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.core.baselines import references
from xai_bench.core.spatial import filter_along, require_spatial
from xai_bench.explainers.gradient.engine import gradient, weighted_gradients
from xai_bench.explainers.gradient.integrated import nodes_of, steps
from xai_bench.explainers.stated_rows import in_equal_shares
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng, Rows


@dataclass(frozen=True)
class BlurIntegratedGradients:
    """Gradients integrated while a Gaussian blur of the input is taken away. Xu+ 2020.

    Attributions add up to the change of the output between the blurred and the sharp input; no
    reference is needed. For inputs `[channels, time]` or `[channels, height, width]`.

    Attributes:
        budget: Gauss-Legendre points along the width of the blur.
        max_sigma: width of the blur at the start, as a part of the input's longest side.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "space")
    paper: ClassVar[str] = "Xu+ 2020, arXiv:2004.03383"

    budget: int = 100
    max_sigma: float = 0.17

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` for inputs without space or time, ValueError for no blur."""
        if self.max_sigma <= 0:
            raise ValueError(f"a blur needs a width above 0; found max_sigma={self.max_sigma}")
        # No node lies at a width of 0, where the slope of the kernel would be 0 / 0.
        nodes, shares = nodes_of("gauss_legendre", steps(self.budget, 1))
        widest = self.widest(inputs)

        def point(k: int) -> tuple[Tensor, Tensor]:
            x, slope = blurred(inputs, widest * nodes[k], widest)
            # The path goes from the widest blur to none: its width falls.
            return x, -widest * shares[k] * slope

        return Explanation(weighted_gradients(model, inputs, targets, self.budget, point))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row per width of the blur, forward and back."""
        return Rows(self.budget, self.budget)

    def widest(self, inputs: Inputs) -> float:
        """The width of the blur at the start, in elements."""
        return self.max_sigma * max(inputs.x.shape[2:], default=0)


@dataclass(frozen=True)
class GuidedIntegratedGradients:
    """Gradients integrated along a path that first moves the elements with the smallest ones.

    The path makes equal steps in L1 distance from reference to input. At each, the elements move in
    groups, smallest gradient first, as far as the next of `anchors` points of the straight line
    lets them. The integral is a trapezoid sum along the path. `budget` model rows are shared evenly
    by the references, a point of the path each. Kapishnikov+ 2021.

    Attributes:
        fraction: the part of all elements that moves as one group.
        anchors: how many points of the straight line the path meets, the input the last of them.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Kapishnikov+ 2021, arXiv:2106.09788"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("linearity",)  # each model has its own path

    baseline: Baseline
    budget: int = 201
    fraction: float = 0.1
    anchors: int = 20

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The mean over references.

        Raises `Unsupported` where the budget leaves a reference without two points.
        """
        starts = references(self.baseline, inputs, rng=rng).unbind(1)
        # A trapezoid sum has one point more than steps, and its first is the reference.
        n_steps = steps(self.budget, len(starts), 2) - 1
        parts = [self._from(start, n_steps, model, inputs, targets) for start in starts]
        return Explanation(sum(parts[1:], start=parts[0]) / len(parts))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """As many points for every reference as the budget allows, forward and back."""
        spent = in_equal_shares(self.budget, n_references)
        return Rows(spent, spent)

    def _from(
        self, start: Tensor, n_steps: int, model: Model, inputs: Inputs, targets: Tensor
    ) -> Tensor:
        """`start [B, *S] -> [B, *S]`: the integral along the path from one reference."""
        difference = inputs.x - start
        x, progress = start, torch.zeros_like(difference)
        slope = gradient(model, inputs.with_x(x), targets)
        total = torch.zeros_like(difference)
        for step in range(n_steps):
            progress = self._moved(progress, difference, slope, (step + 1) / n_steps)
            next_x = start + progress * difference
            next_slope = gradient(model, inputs.with_x(next_x), targets)
            # By trapezoids, since each slope is at hand for the two steps beside it.
            total = total + (slope + next_slope) / 2 * (next_x - x)
            x, slope = next_x, next_slope
        return total

    def _moved(self, progress: Tensor, difference: Tensor, slope: Tensor, share: float) -> Tensor:
        """`[B, *S]`: the progress of each element when all together have moved `share` of the L1
        distance; `progress`, from 0 to 1, is what it was one step before.
        """
        if share == 1:  # without the rounding of its parts
            return torch.ones_like(progress)
        # The next anchor bounds every element from above, the one before from below.
        # Less 1e-9, because the product of two floats may lie a bit above the anchor that is meant.
        upper = math.ceil(share * self.anchors - 1e-9) / self.anchors
        progress = progress.clamp(min=upper - 1 / self.anchors).flatten(1)
        length = difference.abs().flatten(1)
        needed = share * length.sum(1) - (progress * length).sum(1)
        room = (upper - progress) * length
        # Elements that have arrived at the anchor come last: they have nowhere to go.
        size = torch.where(room > 0, slope.abs().flatten(1), torch.inf)
        order = size.argsort(dim=1, stable=True)
        group = max(math.ceil(self.fraction * progress.shape[1]), 1)
        used = _in_groups(room.gather(1, order), needed, group)
        used = _ties_alike(used, room.gather(1, order), size.gather(1, order))
        part = torch.empty_like(progress).scatter_(1, order, used)
        return (progress + part * (upper - progress)).view_as(difference)


def _in_groups(room: Tensor, needed: Tensor, size: int) -> Tensor:
    """`room [B, N], needed [B] -> [B, N]`: the part of its room each element uses when groups of
    `size` are filled one after the other.
    """
    n = room.shape[1]
    groups = functional.pad(room, (0, -n % size)).unflatten(1, (-1, size)).sum(2)
    before = groups.cumsum(1) - groups
    part = (needed[:, None] - before) / torch.where(groups > 0, groups, 1)
    used: Tensor = part.clamp(0, 1).repeat_interleave(size, 1)[:, :n]
    return used


def _ties_alike(used: Tensor, room: Tensor, size: Tensor) -> Tensor:
    """`[B, N]` each, by rising size of the gradient: elements whose gradients are equally large use
    the same part of their room, for otherwise their position would decide.
    """
    tie = functional.pad((size.diff(dim=1) != 0).long().cumsum(1), (1, 0))
    moved = torch.zeros_like(used).scatter_add_(1, tie, used * room).gather(1, tie)
    available = torch.zeros_like(used).scatter_add_(1, tie, room).gather(1, tie)
    return torch.where(available > 0, moved / torch.where(available > 0, available, 1), 0)


def blurred(inputs: Inputs, sigma: float, widest: float) -> tuple[Tensor, Tensor]:
    """`[B, *S]` twice: x after a Gaussian blur along space or time, and its slope in `sigma`.

    The edge value continues beyond the border. All widths up to `widest`, all in elements, share a
    radius, so that the slope is that of the blur as computed. Padding stays as it is. Raises
    `Unsupported` where x has no axes of space or time.
    """
    smooth, slope = inputs.x, torch.zeros_like(inputs.x)
    for axis in require_spatial(inputs, "blur_integrated_gradients"):
        radius = min(math.ceil(3 * widest), inputs.x.shape[axis] - 1)
        kernel, change = _kernel(sigma, radius, inputs.x)
        # The product rule: what the axes before gave moves, too.
        slope = filter_along(slope, axis, kernel) + filter_along(smooth, axis, change)
        smooth = filter_along(smooth, axis, kernel)
    padding = inputs.units < 0
    return torch.where(padding, inputs.x, smooth), torch.where(padding, 0, slope)


def _kernel(sigma: float, radius: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """`[2 r + 1]` twice: the weights of a Gaussian that add up to 1, and their slope in `sigma`."""
    square = torch.arange(-radius, radius + 1).to(like.device, torch.float64).square()
    kernel = torch.softmax(-square / (2 * sigma**2), 0)
    # The mean is subtracted because the weights go on adding up to 1.
    change = kernel * (square - (kernel * square).sum()) / sigma**3
    return kernel.to(like), change.to(like)
