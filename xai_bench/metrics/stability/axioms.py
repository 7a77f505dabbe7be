"""How far explanations break an axiom, on models made from the explained one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core.tokens import require_numbers
from xai_bench.metrics.common import norm, once_per_cell, total
from xai_bench.metrics.probes.other_models.axioms import Difference, Symmetric, WithoutUnit
from xai_bench.metrics.probes.other_models.equivalent import Shifted, split_units
from xai_bench.types import Case, Unsupported


@dataclass(frozen=True)
class ImplementationInvariance:
    """Relative change of the map when the network computes the same function with other weights.

    Each hidden unit becomes two copies, whose outgoing weights are 1.5 and -0.5 times what they
    were. 0, but for rounding, for methods that depend on the function alone; rules that treat
    positive and negative paths differently change. NaN for a map of zeros. Needs a torch module
    with an `nn.Sequential` of linear and convolutional layers. Costs one explanation.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Sundararajan+ 2017, arXiv:1703.01365"

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        return _change(case, case.explain(case.inputs, model=split_units(case)))


@dataclass(frozen=True)
class InputInvariance:
    """Relative change of the map when inputs have a constant added that the model subtracts again.

    Background and written-down truth are shifted with the inputs, and so is a baseline that is
    taken from data; a constant baseline is not, and means something else. `shift` is in standard
    deviations. 0, but for rounding, for a gradient. NaN for a map of zeros. Costs one explanation,
    and one fit where there is one.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Kindermans+ 2017, arXiv:1711.00867"
    shift: float = 1.0

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        key = (InputInvariance, self.shift)
        domain = case.inputs.domain
        model = once_per_cell(case, key, lambda: Shifted.of(case.model, domain, self.shift))
        return _change(case, case.explain(model.shifted(case.inputs), model=model))


@dataclass(frozen=True)
class Dummy:
    """Share of absolute attribution on a unit that the model ignores.

    The unit in the middle is replaced by the background's mean before it reaches the model. 0 for
    methods that depend on the model alone; a map that ignores the model scores the usual share of
    the unit. NaN for a map of zeros. Costs one explanation, and one fit where there is one.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Shapley 1953; Sundararajan+ 2017, arXiv:1703.01365"

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        require_numbers(case.inputs.domain, "a unit fixed to its mean")
        # Any constant would do; the mean keeps the model near its data.
        mean = case.inputs.domain.background.double().mean(0)
        model = once_per_cell(case, Dummy, lambda: WithoutUnit(case.model, mean, 0.5))
        size = case.explain(case.inputs, model=model).double().abs()
        size_of_map = total(size.flatten(1))
        part = total((size * model.ignored(case.inputs)).flatten(1))
        return part / torch.where(size_of_map > 0, size_of_map, torch.nan)


@dataclass(frozen=True)
class Linearity:
    """Distance between the map of a difference of two outputs and the difference of their maps.

    Relative to the sizes of both maps, added up. The outputs are the explained one and that of the
    class before it. 0, but for rounding, for gradients and Shapley values with the same random
    numbers; 1/2 for a map that ignores the model. NaN for a map of zeros. Costs two explanations,
    and one fit where there is one.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Shapley 1953; Sundararajan+ 2017, arXiv:1703.01365"

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        if case.model.n_outputs < 2 or case.targets.is_floating_point():
            raise Unsupported("another class needs a classifier; this model has one output")
        model = once_per_cell(case, Linearity, lambda: Difference(case.model))
        own = case.attribution.double()
        other = case.explain(case.inputs, targets=model.before(case.targets)).double()
        of_difference = case.explain(case.inputs, model=model).double()
        # All three maps of an explainer that ignores the model are the same: it scores 1/2.
        size, other_size = norm(own, 1), norm(other, 1)
        distance = norm(of_difference - (own - other), 1)
        return distance / torch.where(size > 0, size + other_size, torch.nan)


@dataclass(frozen=True)
class Symmetry:
    """Difference between the attributions of two units that play the same role, over their sizes.

    The model is made symmetric: the mean of its outputs before and after the first unit and another
    of its size change places. Both units have the same values, and the background is symmetric,
    too. 0 for methods that treat units alike, 1 where one of them gets everything. NaN where both
    get nothing. Costs one explanation, and one fit where there is one.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Shapley 1953; Sundararajan+ 2017, arXiv:1703.01365"

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        model = once_per_cell(case, Symmetry, lambda: Symmetric.of(case.model, case.inputs))
        attribution = case.explain(model.evened(case.inputs), model=model).double().flatten(1)
        left, right = (total(attribution[:, part]) for part in (model.left, model.right))
        size = left.abs() + right.abs()
        # Over their own sizes: over that of the map, two small units would always look alike.
        return (left - right).abs() / torch.where(size > 0, size, torch.nan)


def _change(case: Case, other: Tensor) -> Tensor:
    """`[B, *S] -> [B]`: size of the difference over that of the map; NaN where it is zero."""
    size = norm(case.attribution.double(), 1)
    change = norm(other.double() - case.attribution, 1)
    return change / torch.where(size > 0, size, torch.nan)
