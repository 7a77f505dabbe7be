"""Explainers along a tree of neighbouring units: the whole, its halves, their halves.

Units are halved in the order of their numbers, as words follow each other in a text; of an odd
number, the first half has one more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.explainers.removal.engine import FixedCoalitions, NullUnits, UnitAttributions
from xai_bench.explainers.removal.row_products import row_matmul
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Unsupported

Span = tuple[int, int]


def halves(span: Span) -> tuple[Span, Span]:
    """The two children of a span `(start, end)` of at least two units."""
    start, end = span
    middle = start + (end - start + 1) // 2
    return (start, middle), (middle, end)


def spans(n_units: int) -> list[Span]:
    """All spans of the tree, each after its parent."""
    tree = [(0, n_units)]
    for span in tree:
        if span[1] - span[0] > 1:
            tree += halves(span)
    return tree


@dataclass(frozen=True)
class HierarchicalOcclusion(FixedCoalitions):
    """The drop of the output without each span of the tree, passed down to single units.

    The whole text is worth its drop. A half gets the drop without it, and the two halves share
    equally what their parent is worth beyond both: so all units add up to the drop without any, and
    in an additive model each has its own worth. Twice as many rows as units, where interactions of
    neighbours are seen that single removal misses. After Singh+ 2019 and Chen+ 2020.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Singh+ 2019, arXiv:1806.05337; Chen+ 2020, arXiv:2004.02015"
    # What two halves do together is shared by both, and a span counts as a whole.
    null_units: ClassVar[NullUnits] = "solved"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry")

    def n_coalitions(self, n_units: int) -> int:
        """The full one, and one without each span."""
        return 2 * n_units

    def coalitions(self, n_units: int) -> Tensor:
        """`[2 u, u]` bool: the full coalition first, then without each of `spans`."""
        kept = torch.ones(2 * n_units, n_units, dtype=torch.bool)
        for row, (start, end) in enumerate(spans(n_units), start=1):
            kept[row, start:end] = False
        return kept

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """From the whole down to single units."""
        tree = spans(kept.shape[1])
        drop = {span: values[:, 0] - values[:, row] for row, span in enumerate(tree, start=1)}
        worth = {tree[0]: drop[tree[0]]}
        for span in tree:
            if span[1] - span[0] > 1:
                left, right = halves(span)
                joint = (worth[span] - drop[left] - drop[right]) / 2
                worth[left], worth[right] = drop[left] + joint, drop[right] + joint
        columns = [worth[unit, unit + 1] for unit in range(kept.shape[1])]
        return UnitAttributions(torch.stack(columns, dim=1))


@dataclass(frozen=True)
class OwenValues(FixedCoalitions):
    """Exact Owen values along the tree of spans: Shapley values in which a span joins as a whole.

    On the way from the whole to a unit, each half that is left behind is either there or not; a
    unit gets its mean effect over all of these. They add up to what all units do together. About
    `2 U^2 / 3` coalitions, where Shapley values take `2^U`. Owen 1977; shap calls them Partition.

    Attributes:
        max_units: beyond so many units `Unsupported` is raised.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Owen 1977, doi:10.1007/978-3-642-45494-3_7; arXiv:1705.07874 (shap)"
    # A span joins as a whole.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)

    max_units: int = 32

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The Owen values of the units; raises `Unsupported` beyond `max_units`."""
        n_units = units.width(inputs.units)
        if n_units > self.max_units:
            raise Unsupported(
                f"Owen values of {n_units} units need {self.n_coalitions(n_units)} coalitions; at "
                f"most {self.max_units} units are allowed: set max_units={n_units}, or take "
                "hierarchical_occlusion or kernel_shap"
            )
        return super().explain(model, inputs, targets, rng=rng)

    def n_coalitions(self, n_units: int) -> int:
        """All that some unit is asked with or without, each once; none is built."""
        return _n_distinct(n_units)

    def coalitions(self, n_units: int) -> Tensor:
        """`[K, u]` bool, in ascending order."""
        pairs = [pair for unit in range(n_units) for pair in _effects(unit, n_units)]
        distinct: Tensor = torch.stack([kept for pair in pairs for kept in pair]).unique(dim=0)
        return distinct

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """The mean effect of every unit over the halves left behind."""
        place = {tuple(row): k for k, row in enumerate(kept.tolist())}
        share = torch.zeros(kept.shape, dtype=torch.float64)
        # Every choice of the halves left behind is as likely: a half comes before its sibling or
        # after.
        for unit in range(kept.shape[1]):
            effects = list(_effects(unit, kept.shape[1]))
            for without, with_it in effects:
                share[place[tuple(with_it.tolist())], unit] += 1 / len(effects)
                share[place[tuple(without.tolist())], unit] -= 1 / len(effects)
        return UnitAttributions(row_matmul(values, share))


@cache
def _n_distinct(n_units: int) -> int:
    """How many coalitions a span of so many units has: all, none, or one half that is not whole."""
    if n_units == 1:
        return 2
    left, right = (end - start for start, end in halves((0, n_units)))
    # The four of whole halves; those of a half that is divided, beside the other, there or not.
    return 4 + 2 * (_n_distinct(left) - 2) + 2 * (_n_distinct(right) - 2)


def _effects(unit: int, n_units: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Coalitions `[u]` without and with a unit, for every choice of the halves left behind."""
    span, behind = (0, n_units), []
    while span[1] - span[0] > 1:
        left, right = halves(span)
        span, other = (left, right) if unit < left[1] else (right, left)
        behind.append(other)
    for there in product((False, True), repeat=len(behind)):
        without = torch.zeros(n_units, dtype=torch.bool)
        for (start, end), on in zip(behind, there, strict=True):
            without[start:end] = on
        with_it = without.clone()
        with_it[unit] = True
        yield without, with_it
