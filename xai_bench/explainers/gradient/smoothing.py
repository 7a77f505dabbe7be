"""Gradients averaged over random points."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.explainers.estimates import BudgetedExplainer, Draws, require_rows, running_means
from xai_bench.explainers.gradient.engine import gradients_at
from xai_bench.types import Explanation, Inputs, Kind, Model, Range, Rng, Rows

NOISE = {"noise": Range(0.01, 1.0, log=True)}
"""What tuning may try: from noise that changes nothing to that of the data itself."""


@dataclass(frozen=True)
class _NoisyGradients(BudgetedExplainer):
    """Base of means over gradients at copies of the input with normal noise.

    All of them draw the same copies.

    Attributes:
        budget: the number of copies, a model row each.
        noise: its standard deviation, in standard deviations of each element in the data.
    """

    least_copies: ClassVar[int] = 1

    # Smilkov+ 2017: about 50 copies, noise of 10 to 20 % of the range of x. The 5 copies at
    # deviation 1 that captum takes by default hide the sample in its own noise.
    budget: int = 50
    noise: float = 0.15

    @abstractmethod
    def draws(self, gradients: Draws, inputs: Inputs) -> Draws:
        """What is averaged in place of the gradients at the copies."""

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Explanation]:
        """One explanation per budget, ascending, in one run.

        Raises `Unsupported` where a budget is too small for the estimate, ValueError where budgets
        do not ascend.
        """
        require_rows(budgets, self.least_copies)
        noisy = _noisy_gradients(self.noise, model, inputs, targets, rng)
        return running_means(self.draws(noisy, inputs), inputs, budgets)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row per copy, forward and back."""
        return Rows(self.budget, self.budget)


@dataclass(frozen=True)
class SmoothGrad(_NoisyGradients):
    """The mean gradient over copies of the input with normal noise. Smilkov+ 2017.

    `noise` is the standard deviation, in standard deviations of each element in the data; `budget`
    is the number of copies.
    """

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Smilkov+ 2017, arXiv:1706.03825"
    version: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = NOISE

    def draws(self, gradients: Draws, inputs: Inputs) -> Draws:
        """The gradients themselves."""
        return gradients


@dataclass(frozen=True)
class SmoothGradSquared(_NoisyGradients):
    """The mean squared gradient over copies of the input with normal noise. Hooker+ 2019.

    `noise` and `budget` as for SmoothGrad, with the same draws.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Hooker+ 2019, arXiv:1806.10758"
    search: ClassVar[Mapping[str, Range]] = NOISE
    breaks_axioms: ClassVar[tuple[str, ...]] = ("linearity",)  # squares do not add up

    def draws(self, gradients: Draws, inputs: Inputs) -> Draws:
        """The squares of the gradients."""
        return lambda numbers: (slope.square() for slope in gradients(numbers))


@dataclass(frozen=True)
class VarGrad(_NoisyGradients):
    """The variance of the gradient over copies of the input with normal noise, unbiased.

    `noise` and `budget` as for SmoothGrad, with the same draws. Adebayo+ 2018.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Adebayo+ 2018, arXiv:1810.03307"
    search: ClassVar[Mapping[str, Range]] = NOISE

    least_copies: ClassVar[int] = 2  # a single one has no variance

    def draws(self, gradients: Draws, inputs: Inputs) -> Draws:
        """Squared deviations, whose mean is the sample variance."""
        deviations = _Deviations(torch.zeros_like(inputs.x, dtype=torch.float64))
        return lambda numbers: deviations.of(gradients(numbers))


@dataclass(frozen=True)
class ExpectedGradients(BudgetedExplainer):
    """Integrated gradients averaged over the background: every draw takes a random background row
    and a random place on the line from it to the input. Erion+ 2021.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Erion+ 2021, arXiv:1906.10670"
    version: ClassVar[int] = 2
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)  # rows in which columns differ

    budget: int = 64

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Explanation]:
        """One explanation per budget, ascending, in one run.

        Raises `Unsupported` where a budget is below 1, ValueError where budgets do not ascend.
        """
        require_rows(budgets, 1)
        background = inputs.domain.background.to(inputs.x)
        row = rng.child("background").integers(len(background), max(budgets))
        # One place a row, in place of a grid: unbiased at any budget, even of a single draw.
        place = rng.child("place").uniform(max(budgets)).to(inputs.x)
        axes = (1,) * (inputs.x.dim() - 1)

        def difference(k: int) -> Tensor:
            return torch.where(inputs.units < 0, 0, inputs.x - background[row[:, k]])

        def point(k: int) -> Tensor:
            return inputs.x - (1 - place[:, k]).view(-1, *axes) * difference(k)

        def draws(numbers: range) -> Iterator[Tensor]:
            slopes = gradients_at(model, inputs, targets, numbers, point)
            return (difference(k) * slope for k, slope in zip(numbers, slopes, strict=True))

        return running_means(draws, inputs, budgets)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row per draw, forward and back."""
        return Rows(self.budget, self.budget)


def _noisy_gradients(
    noise: float, model: Model, inputs: Inputs, targets: Tensor, rng: Rng
) -> Draws:
    """Gradients at copies of the input; padding is never moved."""
    spread = torch.where(inputs.units < 0, 0, noise * inputs.domain.scale).to(inputs.x)

    def point(k: int) -> Tensor:
        # A stream for each copy, so that those of a small budget are the first of a large one.
        return inputs.x + spread * rng.child("noise", k).normal(*inputs.x.shape[1:]).to(inputs.x)

    return lambda numbers: gradients_at(model, inputs, targets, numbers, point)


@dataclass(eq=False)
class _Deviations:
    """Squared deviations of each draw from the mean of those before it, `k - 1` parts of `k`.

    Their mean is the sample variance of the draws, and for normal draws they are independent, so
    the standard error of that mean is that of the variance (Helmert 1876).
    """

    centre: Tensor
    count: int = field(default=0)

    def of(self, draws: Iterator[Tensor]) -> Iterator[Tensor]:
        """One less than there are draws: the first has nothing to deviate from."""
        for draw in draws:
            self.count += 1
            # The update of Welford 1962: no squares of large means that would cancel.
            before = draw - self.centre
            self.centre = self.centre + before / self.count
            if self.count > 1:
                yield before.square() * ((self.count - 1) / self.count)
