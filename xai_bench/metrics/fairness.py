"""How much of an explanation lies on sensitive columns.

Gaps between groups are computed in the report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai_bench.core import units
from xai_bench.metrics.common import pooled, total
from xai_bench.types import Case, Unsupported


@dataclass(frozen=True)
class SensitiveShare:
    """Share of absolute attribution on the units of sensitive columns: 0 to 1.

    It measures what the map shows, not what other columns stand in for: a low share does not mean
    that the model is fair. NaN for a map of zeros.
    """

    category: ClassVar[str] = "fairness"
    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("groups",)
    paper: ClassVar[str] = "Dai+ 2022, arXiv:2205.07277"

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        sensitive = case.inputs.domain.sensitive
        if sensitive is None:
            raise Unsupported("no column that is explained is sensitive (data.sensitive)")
        size = pooled(case).abs()
        # A unit is sensitive where any of its elements is.
        marked = units.pool(sensitive.expand(case.inputs.x.shape).long(), case.inputs.units) > 0
        return total(size * marked) / total(size)
