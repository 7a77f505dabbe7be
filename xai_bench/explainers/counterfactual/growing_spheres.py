"""Growing Spheres: counterfactuals of a black box, from draws further and further away."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import actionability, counterfactuals, model_outputs, units
from xai_bench.explainers.counterfactual.wachter import answered, require_middle
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported

BLOCK = 16
"""Draws made at a time: a number that depends on nothing, so that draws do not either."""


@dataclass(frozen=True)
class GrowingSpheres:
    """The nearest of points drawn around x that has another class, with few changes.

    Points are drawn in a ball that is halved as long as it holds such points, and then in shells of
    that thickness, each around the one before, until one holds some; what is left of the budget
    goes on between that shell's inside and the nearest point found. Units of the nearest point are
    then put back, the smallest changes first, wherever the class stays another. Draws are moved to
    the nearest values that the rules of the data allow. Always takes all of its `budget`: one row
    at x, one per unit to put it back, all others for draws. Laugel+ 2018.

    Attributes:
        n_draws: points in one ball or shell.
        radius: of the first ball, in standard deviations.
        middle: of a regressor's outputs, from `fit`.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "counterfactual"
    paper: ClassVar[str] = "Laugel+ 2018, arXiv:1712.08443"

    budget: int = 2000
    n_draws: int = 100
    radius: float = 1.0
    middle: Tensor | None = field(default=None, compare=False, repr=False)

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> GrowingSpheres:
        """Takes `N` rows of a regressor and none of a classifier."""
        return replace(self, middle=counterfactuals.middle(model, background))

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
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
        return answered(inputs, search.best[:, None])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(self.budget)


class _Shells:
    """A search on its way: between `inner` and `outer` (`[B]`), and the nearest so far."""

    def __init__(
        self, method: GrowingSpheres, model: Model, inputs: Inputs, targets: Tensor
    ) -> None:
        require_middle(model, method.middle)
        self.method, self.model, self.inputs = method, model, inputs
        outputs = model_outputs.outputs(model, inputs)
        now = counterfactuals.classes(outputs, method.middle)
        self.leaving = now if method.middle is not None else targets
        self.is_there = now != self.leaving
        self.n_points = method.budget - 1 - units.count(inputs.units)
        self.movable = actionability.movable(inputs).flatten(1).double()
        self.scale = _scale(inputs)
        nothing = torch.zeros(len(inputs), dtype=torch.float64)
        self.inner, self.outer, self.thickness = nothing, *[nothing + method.radius] * 2
        self.is_halving = ~self.is_there
        self.least = torch.full_like(nothing, torch.inf)
        self.best = torch.full_like(inputs.x, torch.nan)

    def round(self, number: int, rng: Rng) -> None:
        """Draw in the present shell, then choose the next one."""
        met = torch.zeros_like(self.is_there)
        for start in range(0, self.method.n_draws, BLOCK):
            width = min(BLOCK, self.method.n_draws - start)
            place = number * self.method.n_draws + start + torch.arange(width)
            wanted = place < self.n_points[:, None]
            per_call = max(self.model.max_rows // width, 1)
            for rows in torch.arange(len(self.inputs)).split(per_call):
                block = rng.child(start).take(rows)
                met[rows] |= self._draw(rows, wanted[rows], block)
        self._next(met)

    def put_back(self) -> None:
        """Units in the order of their change, smallest first; a row for each."""
        inputs = self.inputs
        size = ((self.best - inputs.x).double() / self.scale).abs().nan_to_num(nan=0.0)
        real = units.present(inputs.units)
        size = torch.where(real, units.pool(size, inputs.units), torch.inf)
        order = size.argsort(dim=1, stable=True)
        for step in range(order.shape[1]):
            rows = real[:, step].nonzero()[:, 0]
            part, unit = inputs.take(rows), order[rows, step]
            mine = part.units == unit.view(-1, *[1] * (inputs.x.dim() - 1))
            known = torch.where(self.best[rows].isnan(), part.x, self.best[rows])
            point = torch.where(mine, part.x, known)
            stays = self._left(rows, point[:, None])[:, 0]
            stays &= ~self.best[rows].flatten(1).isnan().any(1)
            rows, point = rows[stays], point[stays]
            self.best[rows] = point

    def _draw(self, rows: Tensor, wanted: Tensor, rng: Rng) -> Tensor:
        """`wanted [b, k]` bool: the draws that the budget allows; `[b]`: whether one has left."""
        part = self.inputs.take(rows)
        points = self._points(rows, wanted.shape[1], rng)
        sample, place = wanted.nonzero(as_tuple=True)
        left = torch.zeros_like(wanted)
        if len(sample):
            asked = points[sample, place][:, None]
            left[sample, place] = self._left(rows[sample], asked)[:, 0]
        away = ((points - part.x[:, None]).double() / self.scale).flatten(2)
        away = torch.where(left, away.square().cumsum(2)[..., -1].sqrt(), torch.inf)
        least, number = away.min(1)
        better = least < self.least[rows]
        self.least[rows] = torch.where(better, least, self.least[rows])
        self.best[rows[better]] = points[better, number[better]]
        return left.any(1)

    def _points(self, rows: Tensor, width: int, rng: Rng) -> Tensor:
        """`[b, k, *S]`: uniform in the shell, then moved to the nearest possible values."""
        part, movable = self.inputs.take(rows), self.movable[rows][:, None]
        noise = rng.child("direction").normal(width, movable.shape[2]) * movable
        length = noise.square().cumsum(2)[..., -1:].sqrt()
        size = movable.cumsum(2)[..., -1].clamp(min=1)
        share = rng.child("radius").uniform(width)
        inner, outer = self.inner[rows, None], self.outer[rows, None]
        radius = outer * (share + (1 - share) * (inner / outer) ** size) ** (1 / size)
        away = noise / torch.where(length > 0, length, 1.0) * radius[..., None]
        away = away.view(*away.shape[:2], *part.x.shape[1:]) * self.scale
        return actionability.nearest(part, part.x.double()[:, None] + away)

    def _next(self, met: Tensor) -> None:
        """The next shell: inside, after a ball that holds something; else around, or out to it."""
        half, known = self.outer / 2, self.least.isfinite()
        first_miss = self.is_halving & ~met
        thickness = torch.where(self.is_halving, torch.where(met, half, self.outer), self.thickness)
        further = torch.where(known & (self.outer >= self.least), self.inner, self.outer)
        inner = torch.where(met, self.inner, further)
        # A draw that was moved to allowed values may have come nearer than its shell.
        inner = torch.where(inner < self.least, inner, self.least / 2)
        grown = torch.minimum(torch.where(met, self.outer, self.outer + thickness), self.least)
        self.outer = torch.where(self.is_halving & met, half, grown)
        self.inner, self.thickness = inner, thickness
        self.is_halving = self.is_halving & ~first_miss

    def _left(self, rows: Tensor, points: Tensor) -> Tensor:
        """`points [b, k, *S] -> [b, k]` bool: whether the class has become another."""
        outputs = model_outputs.outputs_at(self.model, self.inputs.take(rows), points)
        found = counterfactuals.classes(outputs, self.method.middle) != self.leaving[rows, None]
        return found & ~self.is_there[rows, None]


def _scale(inputs: Inputs) -> Tensor:
    """`[*S]`: standard deviations; 1 for parts of a category, which are 0 or 1."""
    scale, rules = inputs.domain.scale.double(), inputs.domain.actionability
    return scale if rules is None else torch.where(rules.codes, 1.0, scale)
