"""Captum's explainers that remove something and compare outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.explainers.wrapped import captum_library as captum
from xai_bench.explainers.wrapped.common import Sample, SampleBySample
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported

DEFAULT = 25
"""Captum's `n_samples`, of coalitions and of orders alike."""


@dataclass(frozen=True)
class CaptumOcclusion(SampleBySample):
    """The drop of the output in a sliding window over the tensor, by captum.

    The window is `window` elements wide along every axis on which units differ, and covers the
    other axes whole. Zeiler & Fergus 2014.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Zeiler & Fergus 2014, arXiv:1311.2901"
    library: ClassVar[str] = "captum"
    # Windows; single precision.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry", "linearity")

    baseline: Baseline
    window: int = 3

    def attribution(self, sample: Sample) -> Tensor:
        """`[1, *S]`, the mean over references."""
        explainer = captum.method("Occlusion")(sample.scalar)
        shape = self._shape(sample.inputs.units[0])
        parts = [
            explainer.attribute(sample.x, sliding_window_shapes=shape, baselines=start)
            for start in sample.references(self.baseline)[:, None]
        ]
        return torch.stack(parts).mean(0)

    def _shape(self, layout: Tensor) -> tuple[int, ...]:
        """`layout [*S]` to the size of the window on each axis."""
        alike = [bool((layout == layout.narrow(a, 0, 1)).all()) for a in range(layout.dim())]
        sizes = zip(alike, layout.shape, strict=True)
        return tuple(n if same else min(self.window, n) for same, n in sizes)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """Unknown: the number of windows depends on the shape of the tensor."""
        return None


@dataclass(frozen=True)
class CaptumFeatureAblation(SampleBySample):
    """The drop of the output when one unit is removed, by captum. Li+ 2016."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Li+ 2016, arXiv:1612.08220"
    library: ClassVar[str] = "captum"

    baseline: Baseline

    def attribution(self, sample: Sample) -> Tensor:
        """`[*S]`, the mean over references."""
        return captum.masked("FeatureAblation", sample, sample.references(self.baseline))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """The sample itself, and without each unit, against every reference."""
        return Rows((n_units + 1) * n_references)


@dataclass(frozen=True)
class CaptumFeaturePermutation(SampleBySample):
    """The drop of the output when one unit is permuted within a batch, by captum.

    A batch is the sample and one background row; `n_samples` such batches are averaged.
    Breiman 2001.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Breiman 2001, doi:10.1023/A:1010933404324"
    library: ClassVar[str] = "captum"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)  # rows in which columns differ

    n_samples: int = 8

    def attribution(self, sample: Sample) -> Tensor:
        """`[*S]`, the mean over background rows drawn at random."""
        return captum.permuted(sample, sample.drawn(self.n_samples))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """Both rows of every batch, as they are and with each unit permuted."""
        return Rows(2 * (n_units + 1) * self.n_samples)


@dataclass(frozen=True)
class CaptumShapleyValueSampling(SampleBySample):
    """The mean gain of a unit when units join in random order, by captum. Castro+ 2009.

    `budget` is in rows per sample; without one, captum's 25 orders are drawn per reference.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Castro+ 2009, doi:10.1016/j.cor.2008.04.004"
    library: ClassVar[str] = "captum"
    # Orders are drawn; single precision.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry", "linearity")

    baseline: Baseline
    budget: int | None = None

    def attribution(self, sample: Sample) -> Tensor:
        """`[*S]`, the mean over references; raises `Unsupported` where not one order fits."""
        starts = sample.references(self.baseline)
        n_orders = self._orders(sample.n_units, len(starts))
        if n_orders < 1:
            raise Unsupported(
                f"one order of {sample.n_units} units takes {sample.n_units + 1} rows for each of "
                f"{len(starts)} references; the budget is {self.budget}"
            )
        return captum.masked("ShapleyValueSampling", sample, starts, {"n_samples": n_orders})

    def _orders(self, n_units: int, n_references: int) -> int:
        """Orders per reference."""
        if self.budget is None:
            return DEFAULT
        return (self.budget // n_references - 1) // n_units

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """The empty coalition, and one row for every unit that joins in every order."""
        return Rows((self._orders(n_units, n_references) * n_units + 1) * n_references)


@dataclass(frozen=True)
class CaptumShapleyValues(SampleBySample):
    """Shapley values from all orders of the units, by captum; for at most `max_units` units.

    Shapley 1953.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Shapley 1953; Castro+ 2009"
    library: ClassVar[str] = "captum"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry", "linearity")  # single precision

    baseline: Baseline
    max_units: int = 5

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The mean over references; raises `Unsupported` beyond `max_units`."""
        n_units = int(inputs.units.max()) + 1
        if n_units > self.max_units:
            raise Unsupported(
                f"captum goes through all {n_units}! orders of {n_units} units; "
                f"at most {self.max_units} units are allowed"
            )
        return super().explain(model, inputs, targets, rng=rng)

    def attribution(self, sample: Sample) -> Tensor:
        """`[*S]`, the mean over references."""
        return captum.masked("ShapleyValues", sample, sample.references(self.baseline))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """The empty coalition, and one row for every unit that joins in every order."""
        return Rows((math.factorial(n_units) * n_units + 1) * n_references)


@dataclass(frozen=True)
class _CoalitionRegression(SampleBySample):
    """Base of captum's regressions on random coalitions.

    Attributes:
        method: the name of the class in captum.
    """

    method: ClassVar[str]

    baseline: Baseline
    budget: int | None = None

    def attribution(self, sample: Sample) -> Tensor:
        """`[*S]`, the mean over references.

        Raises `Unsupported` where there are not two units and two coalitions.
        """
        starts = sample.references(self.baseline)
        n_coalitions = self._coalitions(len(starts))
        if n_coalitions < 2 or sample.n_units < 2:
            raise Unsupported(
                "captum's regression needs two units and two coalitions; found "
                f"{sample.n_units} units and a budget for {n_coalitions} coalitions"
            )
        return captum.masked(self.method, sample, starts, {"n_samples": n_coalitions})

    def _coalitions(self, n_references: int) -> int:
        """Coalitions per reference."""
        return DEFAULT if self.budget is None else self.budget // n_references

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row for every coalition and reference."""
        return Rows(self._coalitions(n_references) * n_references)


@dataclass(frozen=True)
class CaptumLime(_CoalitionRegression):
    """Coefficients of a lasso of the output on which units are present, by captum.

    `budget` is in rows per sample; without one, captum's 25 coalitions are drawn per reference.
    Ribeiro+ 2016.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938"
    library: ClassVar[str] = "captum"
    # Drawn columns correlate by chance; small ones are left out.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry", "linearity")

    method: ClassVar[str] = "Lime"


@dataclass(frozen=True)
class CaptumKernelShap(_CoalitionRegression):
    """Shapley values by a regression on random coalitions, by captum. Lundberg & Lee 2017.

    `budget` is in rows per sample; without one, captum's 25 coalitions are drawn per reference.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Lundberg & Lee 2017, arXiv:1705.07874"
    library: ClassVar[str] = "captum"
    # Drawn columns correlate by chance; single precision.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry", "linearity")

    method: ClassVar[str] = "KernelShap"
