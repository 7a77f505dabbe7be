"""Local surrogates: a simple model learnt anew around every sample, explained in its place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.core.tokens import require_numbers
from xai_bench.explainers.estimates import BudgetedExplainer, require_ascending, require_rows
from xai_bench.explainers.removal.regression import least_squares
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows

_CELLS = 1 << 22
"""Numbers that are held at once, roughly."""


@dataclass(frozen=True)
class _LocalSurrogate(BudgetedExplainer):
    """Base of surrogates learnt around a sample from the outputs at draws; a subclass says what is
    learnt, and from which draws: the first of them for any budget.
    """

    budget: int = 512

    @abstractmethod
    def draw(self, inputs: Inputs, budget: int, rng: Rng) -> Tensor:
        """`[b, K, ...]`, `K = budget`, of which a smaller budget draws the first."""

    @abstractmethod
    def points(self, inputs: Inputs, draws: Tensor) -> Tensor:
        """`draws [b, K, ...] -> [b, K, *S]`: where the model is evaluated."""

    @abstractmethod
    def attribution(self, inputs: Inputs, draws: Tensor, values: Tensor) -> Tensor:
        """`draws [b, K, ...], values [b, K] -> [b, *S]`."""

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Explanation]:
        """One explanation per budget, ascending: values are kept, and draws made again when needed.

        Raises `Unsupported` where a budget is below 2, ValueError where budgets do not ascend.
        """
        require_ascending(budgets)
        require_rows(budgets, 2)
        require_numbers(inputs.domain, "a surrogate of nearby points")
        measured = torch.zeros(len(inputs), 0, dtype=torch.float64)
        for budget in budgets:
            values, attributions = [], []
            for rows in _blocks(inputs, budget):
                part = inputs.take(rows)
                draws = self.draw(part, budget, rng.take(rows))
                fresh = self.points(part, draws[:, measured.shape[1] :])
                drawn = coalitions.values_at(model, part, targets[rows], fresh)
                values.append(torch.cat([measured[rows], drawn], dim=1))
                attributions.append(self.attribution(part, draws, values[-1]))
            measured = torch.cat(values)
            yield Explanation(torch.cat(attributions).to(inputs.x.dtype))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row per draw."""
        return Rows(self.budget)


@dataclass(frozen=True)
class LocalLinearSurrogate(_LocalSurrogate):
    """A ridge regression of the output on draws around the sample: its coefficient times the
    distance from the background's mean, as of the global linear surrogate.

    Draws are normal, `width` standard deviations of the data wide, in pairs on opposite sides; all
    elements move, those of a category too. So where the output is no straight line, the slope is
    its mean slope nearby. `ridge` is relative to the variance of the draws. Ribeiro+ 2016, whose
    draws switch units off; Laugel+ 2018 on what local means.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938; Laugel+ 2018, arXiv:1806.07498"
    version: ClassVar[int] = 2
    # Drawn columns correlate by chance.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry")

    width: float = 0.5
    ridge: float = 1e-3

    def draw(self, inputs: Inputs, budget: int, rng: Rng) -> Tensor:
        """`[b, K, F]` standard normal, each followed by its opposite; 0 in padding."""
        drawn = rng.child("neighbours").normal((budget + 1) // 2, *inputs.x.shape[1:])
        # Opposites take the curvature at the sample out of the slope.
        pairs = torch.stack([drawn, -drawn], dim=2).flatten(1, 2)[:, :budget]
        return torch.where((inputs.units < 0)[:, None], 0, pairs).flatten(2)

    def points(self, inputs: Inputs, draws: Tensor) -> Tensor:
        """`draws [b, K, F] -> [b, K, *S]`: the sample moved by the draws."""
        moved = inputs.x.flatten(1).double()[:, None] + draws * self._step(inputs)
        return moved.to(inputs.x.dtype).view(*draws.shape[:2], *inputs.x.shape[1:])

    def attribution(self, inputs: Inputs, draws: Tensor, values: Tensor) -> Tensor:
        """`[b, *S]`: the slope times the distance from the background's mean."""
        if values.shape[1] % 2:  # the last draw has no opposite, so that they do not add up to 0
            draws = draws - draws[:, -1:] / values.shape[1]
        centred = values - values.mean(1, keepdim=True)
        weight = torch.ones_like(values)
        # Draws have variance 1, so their number makes the penalty relative to it.
        ridge = self.ridge * values.shape[1]
        slopes = least_squares(draws, centred, weight, ridge) / self._step(inputs)
        distance = inputs.x.double() - inputs.domain.background.double().mean(0)
        return torch.where(inputs.units < 0, 0, slopes.view(inputs.x.shape) * distance)

    def _step(self, inputs: Inputs) -> Tensor:
        """`[F]`: the standard deviation of the draws in each element."""
        return self.width * inputs.domain.scale.double().flatten()


@dataclass(frozen=True)
class LocalTreeSurrogate(_LocalSurrogate):
    """A regression tree of the output on draws around the sample. On the sample's path to its leaf,
    every change of the node's mean is attributed to the element that is compared.

    A draw mixes the sample with a background row: each unit is the sample's own with chance 1/2,
    for a tree separates levels, and a sample in the middle of its draws has none. Attributions
    add up to the tree's prediction less the mean of the draws. The tree is grown greedily for least
    squares, and only along the sample's path: the rest does not change its attribution. Breiman+
    1984; Saabas 2014.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    paper: ClassVar[str] = "Breiman+ 1984; Saabas 2014; Ribeiro+ 2016, arXiv:1602.04938"
    # Drawn columns correlate by chance; thresholds do not add up.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry", "linearity")

    max_depth: int = 4
    min_samples_leaf: int = 5

    def draw(self, inputs: Inputs, budget: int, rng: Rng) -> Tensor:
        """`[b, K, *S]`: the sample's own units with chance 1/2, the others of a background row."""
        background = inputs.domain.background
        row = rng.child("rows").integers(len(background), budget)
        # Half the units stay on average, as in LIME: each is often there and often not.
        kept = rng.child("kept").uniform(budget, units.width(inputs.units)) < 0.5
        is_own = units.kept_elements(kept, inputs.units)
        return torch.where(is_own, inputs.x[:, None], background[row].to(inputs.x))

    def points(self, inputs: Inputs, draws: Tensor) -> Tensor:
        """The draws themselves."""
        return draws

    def attribution(self, inputs: Inputs, draws: Tensor, values: Tensor) -> Tensor:
        """`[b, *S]`; see `path_attribution`."""
        x, rows = inputs.x.flatten(1).double(), draws.flatten(2).double()
        by_element = path_attribution(rows, values, x, self.max_depth, self.min_samples_leaf)
        return by_element.view(inputs.x.shape)


def path_attribution(
    draws: Tensor, values: Tensor, x: Tensor, max_depth: int, min_leaf: int
) -> Tensor:
    """`draws [b, K, F], values [b, K], x [b, F] -> [b, F]`: the changes of the mean of `values` on
    the path of `x`, at the elements that are compared.
    """
    attribution = torch.zeros_like(x)
    inside = torch.ones_like(values, dtype=torch.bool)
    ordered, order = draws.sort(1)
    mean = _mean(values, inside)
    for _ in range(max_depth):
        element, threshold, gain = _best_split(ordered, order, values, inside, min_leaf)
        element, threshold = element[:, None], threshold[:, None]
        compared = draws.gather(2, element[..., None].expand(-1, draws.shape[1], 1))[..., 0]
        same_side = (compared <= threshold) == (x.gather(1, element) <= threshold)
        inside = torch.where((gain > 0)[:, None], inside & same_side, inside)
        next_mean = _mean(values, inside)
        attribution.scatter_add_(1, element, (next_mean - mean)[:, None])
        mean = next_mean
    return attribution


def _best_split(
    ordered: Tensor, order: Tensor, values: Tensor, inside: Tensor, min_leaf: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Element, threshold and gain `[b]` of the split that leaves least squares; gain 0: none.

    `ordered, order [b, K, F]`: every element of the draws by size, and which draw it is of. What a
    split gains is the sum of `total^2 / number` over its sides, with the node's mean taken off.
    """
    n_elements = ordered.shape[2]
    centred = torch.where(inside, values - _mean(values, inside)[:, None], 0)
    is_inside = inside.gather(1, order.flatten(1)).view(order.shape)
    left = centred.gather(1, order.flatten(1)).view(order.shape).cumsum(1)
    below = is_inside.double().cumsum(1)
    above, right = below[:, -1:] - below, left[:, -1:] - left
    # With the mean at 0, the squares within both sides fall by just this.
    gain = left.square() / below.clamp(min=1) + right.square() / above.clamp(min=1)
    following = _next(torch.where(is_inside, ordered, torch.inf))
    allowed = is_inside & (ordered < following) & (below >= min_leaf) & (above >= min_leaf)
    # Below this share of the node's squares, a gain is rounding.
    floor = 1e-12 * centred.square().sum(1)
    gain = torch.where(allowed & (gain > floor[:, None, None]), gain, 0)
    best, place = gain.flatten(1).max(1)
    at = place[:, None]
    ends = ordered.flatten(1).gather(1, at) + following.flatten(1).gather(1, at)
    return place % n_elements, torch.where(best > 0, ends[:, 0] / 2, 0), best


def _next(values: Tensor) -> Tensor:
    """`[b, K, F] -> [b, K, F]`: the smallest value that comes later."""
    end = torch.full_like(values[:, :1], torch.inf)
    return torch.cat([values[:, 1:], end], 1).flip(1).cummin(1).values.flip(1)


def _mean(values: Tensor, inside: Tensor) -> Tensor:
    """`[b, K], [b, K]` bool `-> [b]`: the mean of the values inside."""
    return torch.where(inside, values, 0).sum(1) / inside.sum(1)


def _blocks(inputs: Inputs, budget: int) -> tuple[Tensor, ...]:
    """Few enough samples at a time."""
    height = max(_CELLS // (max(budget, 1) * inputs.x[0].numel()), 1)
    blocks: tuple[Tensor, ...] = torch.arange(len(inputs)).split(height)
    return blocks
