"""Explainers that say what would have to change: by gradients, and by rows that are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import actionability, counterfactuals, model_outputs
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


def answered(inputs: Inputs, found: Tensor) -> Explanation:
    """`found [B, M, *S]`, NaN where none was; attributed is what the nearest one changes.

    Every element gets its share of the distance, and 0 where no counterfactual was found.
    """
    size = counterfactuals.changes(inputs, found, counterfactuals.prices(inputs))
    total = size.flatten(2).cumsum(2)[..., -1].nan_to_num(nan=torch.inf)
    nearest = size[torch.arange(len(size)), total.argmin(1)]
    return Explanation(nearest.nan_to_num(nan=0.0).to(inputs.x.dtype), counterfactuals=found)


@dataclass(frozen=True)
class Wachter:
    """The point that minimises `weight * (margin - aim)^2 + distance`, found by gradient steps.

    The margin is what the present class is ahead by, the distance is in median absolute deviations,
    and the aim lies a little beyond the border. Each step goes down the squared margin as far as
    the linearised model asks, then shrinks every change alike, as the distance demands (a proximal
    step). The weight grows while the class is the same, and falls while it is another, so that the
    search stays at the border; kept is the nearest point that has crossed it. Points move within
    the rules of the data: bounds, whole numbers, categories. Always takes all of its `budget`, each
    row forward and back. Wachter+ 2017.

    Attributes:
        growth: factor on the weight after each step.
        overshoot: the aim, as a share of the margin at x.
        max_step: length of a step, in median absolute deviations.
        middle: of a regressor's outputs, from `fit`.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "counterfactual"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Wachter+ 2017, arXiv:1711.00399"

    budget: int = 500
    growth: float = 1.05
    overshoot: float = 0.01
    max_step: float = 1.0
    middle: Tensor | None = field(default=None, compare=False, repr=False)

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> Wachter:
        """Takes `N` rows of a regressor and none of a classifier."""
        return replace(self, middle=counterfactuals.middle(model, background))

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        (last,) = self.anytime(model, inputs, targets, [self.budget], rng=rng)
        return last

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Explanation]:
        search = _Descent(self, model, inputs, targets)
        for budget in budgets:
            while search.n_steps < budget:
                search.step()
            yield answered(inputs, search.best[:, None])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(forward=self.budget, gradient=self.budget)


class _Descent:
    """A search on its way. Changes are measured in prices: one unit of distance each."""

    def __init__(self, method: Wachter, model: Model, inputs: Inputs, targets: Tensor) -> None:
        require_middle(model, method.middle)
        self.method, self.model, self.inputs, self.leaving = method, model, inputs, targets
        x, self.price = inputs.x.double(), counterfactuals.prices(inputs)
        low, high = actionability.box(inputs)
        rules = inputs.domain.actionability
        if rules is not None:
            low = torch.where(rules.codes, low.clamp(min=0), low)
            high = torch.where(rules.codes, high.clamp(max=1), high)
        self.movable = actionability.movable(inputs)
        self.ends = ((low - x) * self.price, (high - x) * self.price)
        self.change = torch.zeros_like(x)
        self.weight, self.aim = torch.ones(2, len(x), dtype=torch.float64)
        self.is_there = torch.zeros(len(x), dtype=torch.bool)
        self.best = torch.full_like(inputs.x, torch.nan)
        self.least = torch.full((len(x),), torch.inf, dtype=torch.float64)
        self.n_steps = 0

    def step(self) -> None:
        """One row per sample, forward and back."""
        point = self._point()
        outputs, slope = self._ask(point)
        if self.n_steps == 0 and self.method.middle is not None:
            self.leaving = counterfactuals.classes(outputs, self.method.middle)
        margin = counterfactuals.margin(outputs, self.leaving, self.method.middle)
        slope = torch.where(self.movable, slope / self.price, 0)
        if self.n_steps == 0:
            self._start(margin, slope)
        left = counterfactuals.classes(outputs, self.method.middle) != self.leaving
        self._keep(point, left)
        self._move(margin - self.aim, slope)
        self.weight = torch.where(left, 1 / self.method.growth, self.method.growth) * self.weight
        self.n_steps += 1

    def _point(self) -> Tensor:
        wanted = self.inputs.x.double() + self.change / self.price
        return actionability.nearest(self.inputs, wanted[:, None])[:, 0]

    def _start(self, margin: Tensor, slope: Tensor) -> None:
        """The weight from which on the cheapest element begins to move."""
        self.aim = -self.method.overshoot * margin
        self.is_there = margin <= 0
        steepest = slope.abs().flatten(1).amax(1)
        able = (steepest > 0) & (margin > 0)
        self.weight = torch.where(able, 1 / (2 * margin * steepest), 1.0)

    def _keep(self, point: Tensor, left: Tensor) -> None:
        away = counterfactuals.distance(self.inputs, point[:, None], self.price)[:, 0]
        better = left & ~self.is_there & (away < self.least)
        self.least = torch.where(better, away, self.least)
        self.best = torch.where(self._each(better), point, self.best)

    def _move(self, missing: Tensor, slope: Tensor) -> None:
        """`missing [B]`: of the margin, to the aim."""
        steep = slope.square().flatten(1).cumsum(1)[:, -1]
        safe = torch.where(steep > 0, steep, 1.0)
        short = (self.method.max_step * safe.sqrt() / missing.abs()).clamp(max=1)
        ahead = self.change - self._each(short * missing / safe) * slope
        shrink = self._each(short / (2 * self.weight * safe))
        moved = ahead.sign() * (ahead.abs() - shrink).clamp(min=0)
        moved = torch.where(self._each(steep > 0), moved, self.change)
        self.change = moved.clamp(*self.ends)

    def _ask(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, C]` outputs and `[B, *S]` slopes of the margin, at most `max_rows` at a time."""
        if not self.model.differentiable:
            raise Unsupported("gradients need a differentiable model, and this one is not")
        batches = torch.arange(len(point)).split(self.model.max_rows)
        parts = [self._back(self.inputs.take(rows).with_x(point[rows]), rows) for rows in batches]
        outputs, slopes = (torch.cat(part).double() for part in zip(*parts, strict=True))
        return outputs, slopes

    def _back(self, inputs: Inputs, rows: Tensor) -> tuple[Tensor, Tensor]:
        middle = self.method.middle
        with torch.enable_grad():
            x = inputs.x.detach().clone().requires_grad_()
            outputs = self.model.outputs(inputs.with_x(x))
            leaving = self.leaving[rows]
            if middle is not None and self.n_steps == 0:
                leaving = counterfactuals.classes(outputs.detach(), middle)
            margin = counterfactuals.margin(outputs, leaving, middle)
        if not outputs.requires_grad:
            raise Unsupported(
                "the model's output is cut off from its input: autograd finds no path"
            )
        (slope,) = torch.autograd.grad(margin, x, torch.ones_like(margin))
        return outputs.detach(), slope

    def _each(self, values: Tensor) -> Tensor:
        """`[B] -> [B, 1, ...]`."""
        return values.view(-1, *[1] * (self.inputs.x.dim() - 1))


@dataclass(frozen=True)
class NearestUnlikeNeighbour:
    """The nearest background rows that the model puts into another class, where x could move there.

    Distances are in median absolute deviations. Rows that differ from x in what cannot change are
    passed over. Needs rows of the model in `fit` only; of a regressor, one more per sample.
    Dasarathy 1995; Keane & Smyth 2020.

    Attributes:
        n_counterfactuals: how many, the nearest first.
        labels: `[N]` classes of the background, from `fit`; middle: of a regressor's outputs.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "counterfactual"
    paper: ClassVar[str] = "Keane & Smyth 2020, arXiv:2005.13997"

    n_counterfactuals: int = 1
    labels: Tensor | None = field(default=None, compare=False, repr=False)
    middle: Tensor | None = field(default=None, compare=False, repr=False)

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> NearestUnlikeNeighbour:
        """Takes `N` rows."""
        outputs = model_outputs.outputs(model, background)
        middle = outputs.quantile(0.5) if model.n_outputs == 1 else None
        return replace(self, labels=counterfactuals.classes(outputs, middle), middle=middle)

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        if self.labels is None:
            raise ValueError("nearest unlike neighbours are unknown before fit; call fit first")
        if inputs.context:
            raise Unsupported(
                f"a background row is predicted with its own {', '.join(inputs.context)}, so it "
                "says nothing of this sample's prediction there"
            )
        if self.middle is not None:
            outputs = model_outputs.outputs(model, inputs)
            targets = counterfactuals.classes(outputs, self.middle)
        per_call = max(model.max_rows // len(self.labels), 1)
        unlike = self.labels != targets[:, None]
        blocks = torch.arange(len(inputs)).split(per_call)
        found = [self._nearest(inputs.take(rows), unlike[rows]) for rows in blocks]
        return answered(inputs, torch.cat(found))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0 if self.middle is None else 1)

    def _nearest(self, inputs: Inputs, unlike: Tensor) -> Tensor:
        """`unlike [B, N]` bool `-> [B, M, *S]`."""
        rows = inputs.domain.background
        points = rows.expand(len(inputs), *rows.shape)
        away = counterfactuals.distance(inputs, points, counterfactuals.prices(inputs))
        able = unlike & actionability.possible(inputs, points)
        away = torch.where(able, away, torch.inf)
        least, order = away.sort(dim=1, stable=True)
        chosen = rows[order[:, : self.n_counterfactuals]]
        exists = least[:, : self.n_counterfactuals].isfinite()
        return torch.where(exists.view(*exists.shape, *[1] * (rows.dim() - 1)), chosen, torch.nan)


def require_middle(model: Model, middle: Tensor | None) -> None:
    """Raise ValueError where a regressor's middle is not known yet."""
    if model.n_outputs == 1 and middle is None:
        raise ValueError("what a regressor has to cross is unknown before fit; call fit first")
