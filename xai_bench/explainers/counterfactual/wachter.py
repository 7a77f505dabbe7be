"""Explainers that say what would have to change: by gradients, and by rows of the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from xai_bench.core import actionability, counterfactuals
from xai_bench.core.calls import model_outputs
from xai_bench.core.calls.row_gradients import row_gradients
from xai_bench.explainers.counterfactual.search import CounterfactualSearch, explanation_of
from xai_bench.explainers.estimates import BudgetedExplainer
from xai_bench.explainers.gradient.engine import require_gradient, require_path
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


@dataclass(frozen=True)
class Wachter(CounterfactualSearch, BudgetedExplainer):
    """The point that minimises `weight * (margin - aim)^2 + distance`, found by gradient steps.

    The margin is what the present class is ahead by, the distance is in median absolute deviations,
    and the aim lies a little beyond the border. Each step goes down the squared margin as far as
    the linearised model requires, then shrinks every change alike, as the distance demands (a
    proximal step). The weight grows while the class is the same, and falls while it is another, so
    that the search stays at the border; kept is the nearest point that has crossed it. Points move
    within the rules of the data: bounds, whole numbers, categories. Always takes all of its
    `budget`, each row forward and back. Wachter+ 2017.

    Attributes:
        growth: factor on the weight after each step.
        overshoot: the aim, as a share of the margin at x.
        max_step: length of a step, in median absolute deviations.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "counterfactual"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Wachter+ 2017, arXiv:1711.00399"
    # Of two equal elements it is enough to change one.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)

    budget: int = 500
    growth: float = 1.05
    overshoot: float = 0.01
    max_step: float = 1.0

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Explanation]:
        """One explanation per budget, ascending, in one run: the nearest counterfactual so far.

        Raises `Unsupported` where the model has no gradient, ValueError before `fit`.
        """
        descent = _Descent(self, model, inputs, targets)
        for budget in budgets:
            while descent.n_steps < budget:
                descent.step()
            yield explanation_of(inputs, descent.best[:, None])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row per step, forward and back."""
        return Rows(self.budget, self.budget)


class _Descent:
    """The state of a search. Changes are multiplied by prices, so that 1 is one unit of distance.

    `present` is the class to be left; `best [B, *S]` the nearest counterfactual so far and
    `least [B]` its distance; `has_crossed` says which samples are in another class from the start.
    """

    def __init__(self, method: Wachter, model: Model, inputs: Inputs, targets: Tensor) -> None:
        method.require_fit(model)
        self.method, self.model, self.inputs, self.present = method, model, inputs, targets
        x, self.price = inputs.x.double(), counterfactuals.prices(inputs)
        low, high = actionability.box(inputs)
        rules = inputs.domain.actionability
        if rules is not None:
            # Between its codes a category is no value, but a gradient step may pass there.
            low = torch.where(rules.codes, low.clamp(min=0), low)
            high = torch.where(rules.codes, high.clamp(max=1), high)
        self.movable = actionability.movable(inputs)
        self.bounds = ((low - x) * self.price, (high - x) * self.price)
        self.change = torch.zeros_like(x)
        self.weight, self.aim = x.new_ones(2, len(x))
        self.has_crossed = torch.zeros_like(self.aim, dtype=torch.bool)
        self.best = torch.full_like(inputs.x, torch.nan)
        self.least = torch.full_like(self.aim, torch.inf)
        self.n_steps = 0

    def step(self) -> None:
        """One row per sample, forward and back."""
        point, threshold = self._point(), self.method.threshold
        outputs, slope = self._outputs_and_slopes(point)
        if self.n_steps == 0 and threshold is not None:
            self.present = counterfactuals.classes(outputs, threshold)
        margin = counterfactuals.margin(outputs, self.present, threshold)
        slope = torch.where(self.movable, slope / self.price, 0)
        if self.n_steps == 0:
            self._start(margin, slope)
        crosses = counterfactuals.classes(outputs, threshold) != self.present
        self._keep(point, crosses)
        self._move(margin - self.aim, slope)
        growth = torch.where(crosses, 1 / self.method.growth, self.method.growth)
        # Down as well as up: the paper only raises its weight, until the class changes.
        self.weight = growth * self.weight
        self.n_steps += 1

    def _point(self) -> Tensor:
        """`[B, *S]`: the nearest possible values at the present change."""
        wanted = self.inputs.x.double() + self.change / self.price
        return actionability.nearest(self.inputs, wanted[:, None])[:, 0]

    def _start(self, margin: Tensor, slope: Tensor) -> None:
        """The aim, and the weight from which on the cheapest element begins to move."""
        self.aim = -self.method.overshoot * margin
        self.has_crossed = margin <= 0
        # At a change of 0, the L1 norm holds an element back until `2 * weight * gap * slope`
        # exceeds 1.
        steepest = slope.abs().flatten(1).amax(1)
        can_move = (steepest > 0) & (margin > 0)
        self.weight = torch.where(can_move, 1 / (2 * margin * steepest), 1.0)

    def _keep(self, point: Tensor, crosses: Tensor) -> None:
        """Remember points that cross the border nearer than any before."""
        distance = counterfactuals.distance(self.inputs, point[:, None], self.price)[:, 0]
        better = crosses & ~self.has_crossed & (distance < self.least)
        self.least = torch.where(better, distance, self.least)
        self.best = torch.where(self._by_element(better), point, self.best)

    def _move(self, gap: Tensor, slope: Tensor) -> None:
        """`gap [B]`: from the margin to the aim, which a step along the slope would close.

        Of the objective `weight * gap^2 + |change|_1`, the squared gap is descended by `short` of
        the way to its minimum, and the proximal step of the L1 norm shrinks what results.
        """
        squared = slope.square().flatten(1).cumsum(1)[:, -1]
        divisor = torch.where(squared > 0, squared, 1.0)
        # A full Newton step where the model is linear; where it is not, the slope holds nearby
        # only.
        short = (self.method.max_step * divisor.sqrt() / gap.abs()).clamp(max=1)
        descended = self.change - self._by_element(short * gap / divisor) * slope
        shrinkage = self._by_element(short / (2 * self.weight * divisor))
        moved = descended.sign() * (descended.abs() - shrinkage).clamp(min=0)
        moved = torch.where(self._by_element(squared > 0), moved, self.change)
        self.change = moved.clamp(*self.bounds)

    def _outputs_and_slopes(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, C]` outputs and `[B, *S]` slopes of the margin, at most `max_rows` at a time."""
        require_gradient(self.model)
        batches = model_outputs.row_batches(self.model, len(point), gradient=True)
        parts = [self._back(self.inputs.take(rows).with_x(point[rows]), rows) for rows in batches]
        outputs, slopes = (torch.cat(part).double() for part in zip(*parts, strict=True))
        return outputs, slopes

    def _back(self, inputs: Inputs, rows: Tensor) -> tuple[Tensor, Tensor]:
        """One call of the model, forward and back."""
        threshold = self.method.threshold
        with torch.enable_grad():
            x = inputs.x.detach().clone().requires_grad_()
            outputs = self.model.outputs(inputs.with_x(x))
            present = self.present[rows]
            if threshold is not None and self.n_steps == 0:
                present = counterfactuals.classes(outputs.detach(), threshold)
            margin = counterfactuals.margin(outputs, present, threshold)
        require_path(outputs)
        (slope,) = row_gradients(margin, (x,))
        return outputs.detach(), slope

    def _by_element(self, values: Tensor) -> Tensor:
        """`[B] -> [B, 1, ...]`."""
        return values.view(-1, *[1] * (self.inputs.x.dim() - 1))


@dataclass(frozen=True)
class NearestUnlikeNeighbour(CounterfactualSearch):
    """The nearest background rows that the model puts into another class, where x could move there.

    Distances are in median absolute deviations. Rows that differ from x in what cannot change are
    passed over. Needs rows of the model in `fit` only; of a regressor, one more per sample.
    Dasarathy 1995; Keane & Smyth 2020.

    Attributes:
        n_counterfactuals: how many, the nearest first.
        labels: `[N]`, classes of the background, from `fit`.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "counterfactual"
    needs: ClassVar[tuple[str, ...]] = ("no_context",)
    paper: ClassVar[str] = "Keane & Smyth 2020, arXiv:2005.13997"
    # Whole rows of the data; the border is that of each model.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry", "linearity")

    n_counterfactuals: int = 1
    labels: Tensor | None = field(default=None, compare=False, repr=False)

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> Self:
        """The explainer with the classes of the background; takes `N` rows."""
        outputs = model_outputs.outputs(model, background)
        threshold = outputs.quantile(0.5) if model.n_outputs == 1 else None
        labels = counterfactuals.classes(outputs, threshold)
        return replace(self, labels=labels, threshold=threshold)

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises ValueError before `fit`, `Unsupported` where inputs have a context."""
        if self.labels is None:
            raise ValueError("nearest unlike neighbours are unknown before fit; call fit first")
        if inputs.context:
            raise Unsupported(
                f"a background row is predicted with its own {', '.join(inputs.context)}, so it "
                "says nothing of this sample's prediction there"
            )
        if self.threshold is not None:
            outputs = model_outputs.outputs(model, inputs)
            targets = counterfactuals.classes(outputs, self.threshold)
        per_call = max(model.max_rows // len(self.labels), 1)
        unlike = self.labels != targets[:, None]
        blocks = torch.arange(len(inputs)).split(per_call)
        points = [self._nearest(inputs.take(rows), unlike[rows]) for rows in blocks]
        return explanation_of(inputs, torch.cat(points))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row for the class of a regressor's sample; a classifier's is the target."""
        return Rows(0 if self.threshold is None else 1)

    def _nearest(self, inputs: Inputs, unlike: Tensor) -> Tensor:
        """`unlike [B, N]` bool `-> [B, M, *S]`."""
        rows = inputs.domain.background
        points = rows.expand(len(inputs), *rows.shape)
        distance = counterfactuals.distance(inputs, points, counterfactuals.prices(inputs))
        allowed = unlike & actionability.possible(inputs, points)
        least, order = torch.where(allowed, distance, torch.inf).sort(dim=1, stable=True)
        # Real rows, so they are plausible by construction, and seldom sparse.
        chosen = rows[order[:, : self.n_counterfactuals]]
        exists = least[:, : self.n_counterfactuals].isfinite()
        return torch.where(exists.view(*exists.shape, *[1] * (rows.dim() - 1)), chosen, torch.nan)
