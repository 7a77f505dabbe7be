"""Does the explanation change when the function it explains does not?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.metrics.common import norm
from xai_bench.probes.rewritten import Shifted, split_units
from xai_bench.types import Case


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
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Sundararajan+ 2017, arXiv:1703.01365"
    version: ClassVar[int] = 1
    reproducible: ClassVar[bool] = True

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
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Kindermans+ 2017, arXiv:1711.00867"
    version: ClassVar[int] = 1
    reproducible: ClassVar[bool] = True
    shift: float = 1.0

    def score(self, case: Case) -> Tensor:
        key = (InputInvariance, self.shift)
        if key not in case.cell:
            case.cell[key] = Shifted.of(case.model, case.inputs.domain, self.shift)
        shifted: Shifted = case.cell[key]
        return _change(case, case.explain(shifted.moved(case.inputs), model=shifted))


def _change(case: Case, other: Tensor) -> Tensor:
    """`[B, *S] -> [B]`: size of the difference over that of the map; NaN where it is zero."""
    size = norm(case.attribution.double(), 1)
    change = norm(other.double() - case.attribution, 1)
    return change / torch.where(size > 0, size, torch.nan)
