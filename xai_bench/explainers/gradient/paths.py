"""Gradients integrated along paths that are not straight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.core.baselines import references
from xai_bench.explainers.gradient.engine import gradient, weighted_gradients
from xai_bench.explainers.gradient.integrated import nodes_of, steps
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


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
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Xu+ 2020, arXiv:2004.03383"

    budget: int = 100
    max_sigma: float = 0.17

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        if self.max_sigma <= 0:
            raise ValueError(f"a blur needs a width above 0; found max_sigma={self.max_sigma}")
        nodes, shares = nodes_of("gauss_legendre", steps(self.budget, 1))
        widest = self.widest(inputs)

        def point(k: int) -> tuple[Tensor, Tensor]:
            there, slope = blurred(inputs, widest * nodes[k], widest)
            return there, -widest * shares[k] * slope

        return Explanation(weighted_gradients(model, inputs, targets, self.budget, point))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
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

    baseline: Baseline
    budget: int = 201
    fraction: float = 0.1
    anchors: int = 20

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        starts = references(self.baseline, inputs, rng=rng).unbind(1)
        n_steps = steps(self.budget, len(starts), 2) - 1
        parts = [self._from(start, n_steps, model, inputs, targets) for start in starts]
        return Explanation(sum(parts[1:], start=parts[0]) / len(parts))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        spent = self.budget // n_references * n_references
        return Rows(spent, spent)

    def _from(
        self, start: Tensor, n_steps: int, model: Model, inputs: Inputs, targets: Tensor
    ) -> Tensor:
        way = inputs.x - start
        here, place = start, torch.zeros_like(way)
        slope = gradient(model, inputs.with_x(here), targets)
        total = torch.zeros_like(way)
        for step in range(n_steps):
            place = self._moved(place, way, slope, (step + 1) / n_steps)
            there = start + place * way
            after = gradient(model, inputs.with_x(there), targets)
            total = total + (slope + after) / 2 * (there - here)
            here, slope = there, after
        return total

    def _moved(self, place: Tensor, way: Tensor, slope: Tensor, share: float) -> Tensor:
        """`place`, how much of its way each element `[B, *S]` has made, when all together have made
        `share` of theirs.
        """
        if share == 1:  # without the rounding of its parts
            return torch.ones_like(place)
        last = math.ceil(share * self.anchors - 1e-9) / self.anchors
        place, length = place.clamp(min=last - 1 / self.anchors).flatten(1), way.abs().flatten(1)
        needed = share * length.sum(1) - (place * length).sum(1)
        room = (last - place) * length
        height = torch.where(room > 0, slope.abs().flatten(1), torch.inf)
        order = height.argsort(dim=1, stable=True)
        size = max(math.ceil(self.fraction * place.shape[1]), 1)
        gone = _in_groups(room.gather(1, order), needed, size)
        gone = _ties_alike(gone, room.gather(1, order), height.gather(1, order))
        part = torch.empty_like(place).scatter_(1, order, gone)
        return (place + part * (last - place)).view_as(way)


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


def _ties_alike(gone: Tensor, room: Tensor, height: Tensor) -> Tensor:
    """`[B, N]` each, by rising height: elements of one height use the same part of their room, for
    otherwise their position would decide.
    """
    tie = functional.pad((height.diff(dim=1) != 0).long().cumsum(1), (1, 0))
    used = torch.zeros_like(gone).scatter_add_(1, tie, gone * room).gather(1, tie)
    whole = torch.zeros_like(gone).scatter_add_(1, tie, room).gather(1, tie)
    return torch.where(whole > 0, used / torch.where(whole > 0, whole, 1), 0)


def blurred(inputs: Inputs, sigma: float, widest: float) -> tuple[Tensor, Tensor]:
    """`[B, *S]` twice: x after a Gaussian blur along space or time, and its slope in `sigma`.

    The edge value continues beyond the border. All widths up to `widest`, all in elements, share a
    radius, so that the slope is that of the blur as computed. Padding stays as it is.
    """
    n_axes = inputs.x.dim() - 2
    if n_axes not in (1, 2):
        raise Unsupported(
            "blur integrated gradients need inputs [channels, time] or [channels, height, width]; "
            f"these have shape {list(inputs.x.shape[1:])}"
        )
    smooth, slope = inputs.x, torch.zeros_like(inputs.x)
    for axis in range(2, 2 + n_axes):
        radius = min(math.ceil(3 * widest), inputs.x.shape[axis] - 1)
        kernel, change = _kernel(sigma, radius, inputs.x)
        slope = _filtered(slope, axis, kernel) + _filtered(smooth, axis, change)
        smooth = _filtered(smooth, axis, kernel)
    padding = inputs.units < 0
    return torch.where(padding, inputs.x, smooth), torch.where(padding, 0, slope)


def _kernel(sigma: float, radius: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The weights of a Gaussian that add up to 1, and their slope in `sigma`."""
    square = torch.arange(-radius, radius + 1, dtype=torch.float64).square()
    kernel = torch.softmax(-square / (2 * sigma**2), 0)
    change = kernel * (square - (kernel * square).sum()) / sigma**3
    return kernel.to(like), change.to(like)


def _filtered(x: Tensor, axis: int, kernel: Tensor) -> Tensor:
    moved, radius = x.movedim(axis, -1), len(kernel) // 2
    rows = functional.pad(moved.reshape(-1, 1, moved.shape[-1]), (radius, radius), mode="replicate")
    return functional.conv1d(rows, kernel.view(1, 1, -1)).view(moved.shape).movedim(-1, axis)
