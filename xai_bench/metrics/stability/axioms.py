"""Does the explanation change when the function it explains does not?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core.tokens import require_numbers
from xai_bench.metrics.common import norm, total
from xai_bench.metrics.probes.other_models.axioms import Difference, Symmetric, WithoutUnit
from xai_bench.metrics.probes.other_models.equivalent import Shifted, split_units
from xai_bench.metrics.probes.other_models.retrained import once
from xai_bench.types import Case, Unsupported


@dataclass(frozen=True)
class ImplementationInvariance:
    """Change of the map, relative to it, when the network is written with two copies of each hidden
    unit, whose outgoing weights 1.5 and -0.5 add up to what they were.

    0, but for rounding, for whatever reads the function alone; rules that treat positive and
    negative paths differently change. NaN for a map of zeros. Needs a torch module with an
    `nn.Sequential` of linear and convolutional layers. Costs one explanation.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Sundararajan+ 2017, arXiv:1703.01365"

    def score(self, case: Case) -> Tensor:
        return _change(case, case.explain(case.inputs, model=split_units(case)))


@dataclass(frozen=True)
class InputInvariance:
    """Change of the map, relative to it, when inputs are measured from another zero and the model
    shifts them back.

    Background and written-down truth move with the inputs, so that a baseline taken from data does;
    a constant baseline does not, and means something else. 0, but for rounding, for a gradient. NaN
    for a map of zeros. Costs one explanation, and one fit where there is one.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Kindermans+ 2017, arXiv:1711.00867"
    shift: float = 1.0

    def score(self, case: Case) -> Tensor:
        key = (InputInvariance, self.shift)
        if key not in case.cell:
            case.cell[key] = Shifted.of(case.model, case.inputs.domain, self.shift)
        shifted: Shifted = case.cell[key]
        return _change(case, case.explain(shifted.moved(case.inputs), model=shifted))


@dataclass(frozen=True)
class Dummy:
    """Share of absolute attribution on a unit that the model no longer listens to.

    The unit in the middle is fixed to the background's mean before the model hears of it. 0 for
    whatever asks the model alone; a map that ignores the model scores the unit's usual share. NaN
    for a map of zeros. Costs one explanation, and one fit where there is one.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Shapley 1953; Sundararajan+ 2017, arXiv:1703.01365"

    def score(self, case: Case) -> Tensor:
        require_numbers(case.inputs.domain, "a unit fixed to its mean")
        mean = case.inputs.domain.background.double().mean(0)
        model = once(case, Dummy, lambda: WithoutUnit(case.model, mean, 0.5))
        found = case.explain(case.inputs, model=model).double().abs()
        whole = total(found.flatten(1))
        part = total((found * model.ignored(case.inputs)).flatten(1))
        return part / torch.where(whole > 0, whole, torch.nan)


@dataclass(frozen=True)
class Linearity:
    """Distance of the map of a difference of two outputs from the difference of their maps,
    relative to the size of both.

    The outputs are the explained one and that of the class before it. 0, but for rounding, for
    gradients and Shapley values with the same random numbers; 1/2 for a map that ignores the model.
    NaN for a map of zeros. Costs two explanations, and one fit where there is one.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Shapley 1953; Sundararajan+ 2017, arXiv:1703.01365"

    def score(self, case: Case) -> Tensor:
        if case.model.n_outputs < 2 or case.targets.is_floating_point():
            raise Unsupported("another class needs a classifier; this model gives one value")
        model = once(case, Linearity, lambda: Difference(case.model))
        one = case.attribution.double()
        other = case.explain(case.inputs, targets=model.before(case.targets)).double()
        both = case.explain(case.inputs, model=model).double()
        size, rest = norm(one, 1), norm(other, 1)
        return norm(both - (one - other), 1) / torch.where(size > 0, size + rest, torch.nan)


@dataclass(frozen=True)
class Symmetry:
    """Difference between two units that play the same role, relative to the size of both.

    The model is the mean of its answers before and after the first unit and another of its size
    change places; both have the same values, and the background knows no difference between them.
    0 for whatever treats units alike, 1 where one of them gets all. NaN where both get nothing.
    Costs one explanation, and one fit where there is one.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Shapley 1953; Sundararajan+ 2017, arXiv:1703.01365"

    def score(self, case: Case) -> Tensor:
        model = once(case, Symmetry, lambda: Symmetric.of(case.model, case.inputs))
        found = case.explain(model.evened(case.inputs), model=model).double().flatten(1)
        one, other = (total(found[:, part]) for part in (model.left, model.right))
        size = one.abs() + other.abs()
        return (one - other).abs() / torch.where(size > 0, size, torch.nan)


def _change(case: Case, other: Tensor) -> Tensor:
    """`[B, *S] -> [B]`: size of the difference over that of the map; NaN where it is zero."""
    size = norm(case.attribution.double(), 1)
    change = norm(other.double() - case.attribution, 1)
    return change / torch.where(size > 0, size, torch.nan)
