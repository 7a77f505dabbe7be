"""Integrated gradients, and the quadratures that the field uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from xai_bench.core.baselines import references
from xai_bench.explainers.gradient.engine import weighted_gradients
from xai_bench.explainers.stated_rows import in_equal_shares
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported

Quadrature = Literal["gauss_legendre", "left", "right", "middle", "trapezoid"]


@dataclass(frozen=True)
class IntegratedGradients:
    """The mean gradient on the straight line from reference to input, times their difference.

    `budget` model rows are shared evenly by the references, a point of the line each. A
    Gauss-Legendre sum over `n` points is exact for gradients that are polynomials of degree below
    `2n` along the line; the other quadratures are the sums that the field uses, trapezoid with its
    two end points among the `n`. Sundararajan+ 2017.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Sundararajan+ 2017, arXiv:1703.01365"
    version: ClassVar[int] = 2

    baseline: Baseline
    budget: int = 32
    quadrature: Quadrature = "gauss_legendre"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The mean over references.

        Raises `Unsupported` where the budget leaves a reference without points, or the model has
        no gradient.
        """
        starts = references(self.baseline, inputs, rng=rng)
        n_references = starts.shape[1]
        # A trapezoid has two ends, so one point makes none.
        n_steps = steps(self.budget, n_references, 2 if self.quadrature == "trapezoid" else 1)
        nodes, shares = nodes_of(self.quadrature, n_steps)

        def point(k: int) -> tuple[Tensor, Tensor]:
            start, step = starts[:, k // n_steps], k % n_steps
            difference = inputs.x - start
            return start + nodes[step] * difference, shares[step] / n_references * difference

        return Explanation(
            weighted_gradients(model, inputs, targets, n_references * n_steps, point)
        )

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """As many points for every reference as the budget allows, forward and back."""
        spent = in_equal_shares(self.budget, n_references)
        return Rows(spent, spent)


def steps(budget: int, n_references: int, least: int = 1) -> int:
    """Points per reference; `Unsupported` where the budget leaves fewer than `least` to each."""
    if budget < least * n_references:
        raise Unsupported(
            f"a budget of {budget} rows is too small for {n_references} references; "
            f"give at least {least * n_references}"
        )
    return budget // n_references


def nodes_of(quadrature: Quadrature, n: int) -> tuple[list[float], list[float]]:
    """`n` places in [0, 1] and their weights, which add up to 1."""
    if quadrature == "gauss_legendre":
        # All nodes lie strictly inside: neither x nor a reference of zeros, where ReLUs without
        # bias have their kink, is asked. Left and right sums have an error of order 1 / n, middle
        # and trapezoid sums one of 1 / n^2.
        nodes, weights = np.polynomial.legendre.leggauss(n)  # on [-1, 1]
        return ((1 + nodes) / 2).tolist(), (weights / 2).tolist()
    if quadrature == "trapezoid":
        width = 1 / (n - 1)
        ends_halved = [width / 2, *[width] * (n - 2), width / 2]
        return [k * width for k in range(n)], ends_halved
    offset = {"left": 0.0, "middle": 0.5, "right": 1.0}[quadrature]
    return [(k + offset) / n for k in range(n)], [1 / n] * n
