"""Growing Spheres: counterfactuals of a black box, from draws further and further away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import actionability, counterfactuals, units
from xai_bench.core.calls import model_outputs
from xai_bench.explainers.counterfactual.search import CounterfactualSearch, explanation_of
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported

BLOCK = 16
"""Draws made at a time: fixed, so that draws do not depend on the model's `max_rows`."""


@dataclass(frozen=True)
class GrowingSpheres(CounterfactualSearch):
    """The nearest of points drawn around x that has another class, with few changes.

    Points are drawn in a ball that is halved as long as it holds such points, and then in shells of
    that thickness, each around the one before, until one holds some; the rest of the budget is
    spent between that shell's inner radius and the nearest point so far. Units of the nearest point
    are then put back, the smallest changes first, wherever the class remains another. Draws are
    moved to the nearest values that the rules of the data allow. Always takes all of its `budget`:
    one row at x, one per unit to put it back, all others for draws. Laugel+ 2018.

    Attributes:
        n_draws: points in one ball or shell.
        radius: of the first ball, in standard deviations.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "counterfactual"
    paper: ClassVar[str] = "Laugel+ 2018, arXiv:1712.08443"
    # Points are drawn; the border is that of each model.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry", "linearity")

    budget: int = 2000
    n_draws: int = 100
    radius: float = 1.0

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` for too small a budget, ValueError before `fit`."""
        n_units = int(units.count(inputs.units).max())
        if self.budget < n_units + 2:
            raise Unsupported(
                f"a budget of {self.budget} rows is too small for {n_units} units; "
                f"give at least {n_units + 2}, or use coarser units"
            )
        search = _Shells(self, model, inputs, targets)
        for number in range(-(-int(search.n_points.max()) // self.n_draws)):
            search.round(number, rng.child("spheres", number))
        search.put_back()
        return explanation_of(inputs, search.best[:, None])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """The whole budget."""
        return Rows(self.budget)


class _Shells:
    """The state of a search, which draws between the radii `inner` and `outer` (`[B]`).

    `present` is the class to be left; `best [B, *S]` the nearest counterfactual so far and
    `least [B]` its distance; `has_crossed` says which samples are in another class from the start;
    `is_halving`, which still draw in a ball.
    """

    def __init__(
        self, method: GrowingSpheres, model: Model, inputs: Inputs, targets: Tensor
    ) -> None:
        method.require_fit(model)
        self.method, self.model, self.inputs = method, model, inputs
        outputs = model_outputs.outputs(model, inputs)
        predicted = counterfactuals.classes(outputs, method.threshold)
        self.present = predicted if method.threshold is not None else targets
        self.has_crossed = predicted != self.present
        self.n_points = method.budget - 1 - units.count(inputs.units)
        self.movable = actionability.movable(inputs).flatten(1).double()
        self.scale = _scale(inputs)
        zeros = torch.zeros(len(inputs), dtype=torch.float64)
        self.inner, self.outer, self.thickness = zeros, *[zeros + method.radius] * 2
        self.is_halving = ~self.has_crossed
        self.least = torch.full_like(zeros, torch.inf)
        self.best = torch.full_like(inputs.x, torch.nan)

    def round(self, number: int, rng: Rng) -> None:
        """Draw in the present shell, then choose the next one."""
        is_hit = torch.zeros_like(self.has_crossed)
        for start in range(0, self.method.n_draws, BLOCK):
            width = min(BLOCK, self.method.n_draws - start)
            place = number * self.method.n_draws + start + torch.arange(width)
            wanted = place < self.n_points[:, None]
            per_call = max(self.model.max_rows // width, 1)
            for rows in torch.arange(len(self.inputs)).split(per_call):
                block = rng.child(start).take(rows)
                is_hit[rows] |= self._draw(rows, wanted[rows], block)
        self._next(is_hit)

    def put_back(self) -> None:
        """Units in the order of their change, smallest first; a row for each."""
        inputs = self.inputs
        size = ((self.best - inputs.x).double() / self.scale).abs().nan_to_num(nan=0.0)
        real = units.present(inputs.units)
        size = torch.where(real, units.pool(size, inputs.units), torch.inf)
        # The smallest changes first: they matter least, so that most of them can be undone.
        order = size.argsort(dim=1, stable=True)
        for step in range(order.shape[1]):
            rows = real[:, step].nonzero()[:, 0]
            part, unit = inputs.take(rows), order[rows, step]
            in_unit = part.units == unit.view(-1, *[1] * (inputs.x.dim() - 1))
            best = torch.where(self.best[rows].isnan(), part.x, self.best[rows])
            point = torch.where(in_unit, part.x, best)
            # Samples without a counterfactual take their rows, too: costs are the same for all.
            still_crosses = self._crosses(rows, point[:, None])[:, 0]
            still_crosses &= ~self.best[rows].flatten(1).isnan().any(1)
            self.best[rows[still_crosses]] = point[still_crosses]

    def _draw(self, rows: Tensor, wanted: Tensor, rng: Rng) -> Tensor:
        """`wanted [b, k]` bool, the draws that the budget allows, to `[b]`, whether one crosses."""
        part = self.inputs.take(rows)
        points = self._points(rows, wanted.shape[1], rng)
        sample, place = wanted.nonzero(as_tuple=True)
        crosses = torch.zeros_like(wanted)
        if len(sample):
            drawn = points[sample, place][:, None]
            crosses[sample, place] = self._crosses(rows[sample], drawn)[:, 0]
        change = ((points - part.x[:, None]).double() / self.scale).flatten(2)
        distance = torch.where(crosses, change.square().cumsum(2)[..., -1].sqrt(), torch.inf)
        least, number = distance.min(1)
        better = least < self.least[rows]
        self.least[rows] = torch.where(better, least, self.least[rows])
        self.best[rows[better]] = points[better, number[better]]
        return crosses.any(1)

    def _points(self, rows: Tensor, width: int, rng: Rng) -> Tensor:
        """`[b, k, *S]`: uniform in the shell, then moved to the nearest possible values."""
        part, movable = self.inputs.take(rows), self.movable[rows][:, None]
        # A normal draw over its length is a uniform direction.
        noise = rng.child("direction").normal(width, movable.shape[2]) * movable
        length = noise.square().cumsum(2)[..., -1:].sqrt()
        # Only elements that can move span the ball: its dimension is their number.
        size = movable.cumsum(2)[..., -1].clamp(min=1)
        share = rng.child("radius").uniform(width)
        inner, outer = self.inner[rows, None], self.outer[rows, None]
        # Uniform in volume, which grows with the radius to the power of the dimension.
        radius = outer * (share + (1 - share) * (inner / outer) ** size) ** (1 / size)
        change = noise / torch.where(length > 0, length, 1.0) * radius[..., None]
        change = change.view(*change.shape[:2], *part.x.shape[1:]) * self.scale
        return actionability.nearest(part, part.x.double()[:, None] + change)

    def _next(self, is_hit: Tensor) -> None:
        """The next radii, where `is_hit [B]` says whether the last ones held a counterfactual.

        A ball that did is halved. Else the next shell is drawn around the last one, but never
        further out than the nearest counterfactual so far.
        """
        half, has_best = self.outer / 2, self.least.isfinite()
        first_miss = self.is_halving & ~is_hit
        of_ball = torch.where(is_hit, half, self.outer)
        thickness = torch.where(self.is_halving, of_ball, self.thickness)
        further = torch.where(has_best & (self.outer >= self.least), self.inner, self.outer)
        inner = torch.where(is_hit, self.inner, further)
        # A draw that was moved to allowed values may have come nearer than its shell.
        inner = torch.where(inner < self.least, inner, self.least / 2)
        grown = torch.minimum(torch.where(is_hit, self.outer, self.outer + thickness), self.least)
        self.outer = torch.where(self.is_halving & is_hit, half, grown)
        self.inner, self.thickness = inner, thickness
        self.is_halving = self.is_halving & ~first_miss

    def _crosses(self, rows: Tensor, points: Tensor) -> Tensor:
        """`points [b, k, *S] -> [b, k]` bool: whether the class has become another."""
        outputs = model_outputs.outputs_at(self.model, self.inputs.take(rows), points)
        predicted = counterfactuals.classes(outputs, self.method.threshold)
        return (predicted != self.present[rows, None]) & ~self.has_crossed[rows, None]


def _scale(inputs: Inputs) -> Tensor:
    """`[*S]`: standard deviations; 1 for parts of a category, which are 0 or 1."""
    scale, rules = inputs.domain.scale.double(), inputs.domain.actionability
    return scale if rules is None else torch.where(rules.codes, 1.0, scale)
