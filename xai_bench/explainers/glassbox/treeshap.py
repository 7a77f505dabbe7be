"""Shapley values of trees, read off their nodes: no row goes through the model.

Two games share the name TreeSHAP. In the interventional one, absent units are those of references,
whatever stays. In the path-dependent one, a question about an absent unit is answered both ways, by
the shares of the training rows that went there. They part where columns depend on each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.explainers.glassbox.structure import layouts, trees_of
from xai_bench.explainers.glassbox.tree_paths import Leaves, leaves_of
from xai_bench.types import (
    Baseline,
    Explanation,
    Imputer,
    Inputs,
    Kind,
    Model,
    Rng,
    Rows,
    Unsupported,
)

_CELLS = 1 << 20
"""Numbers that are held at once, roughly."""


@dataclass(frozen=True)
class TreeSHAPInterventional:
    """Exact Shapley values of the game in which absent units are those of the references.

    The same as all `2^U` coalitions with this baseline. Along a tree only those ways are followed
    that the sample or the reference would take. Lundberg+ 2020.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "glassbox"
    needs: ClassVar[tuple[str, ...]] = ("trees",)
    paper: ClassVar[str] = "Lundberg+ 2020, doi:10.1038/s42256-019-0138-9"

    baseline: Baseline

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        trees = trees_of(model)
        if isinstance(self.baseline, Imputer):
            raise Unsupported(
                "interventional TreeSHAP needs references; "
                "this baseline depends on what else is removed"
            )
        references = self.baseline.references(inputs, rng=rng)
        out = torch.zeros(len(inputs), units.width(inputs.units), dtype=torch.float64)
        for rows, layout in layouts(inputs):
            leaves, n_units = leaves_of(trees, layout), int(layout.max()) + 1
            for some in rows.split(max(_CELLS // (16 * references.shape[1]), 1)):
                x, absent = (
                    t[some].flatten(-inputs.x.dim() + 1).to(trees.precision)
                    for t in (inputs.x, references)
                )
                out[some, :n_units] = interventional(leaves, x, absent, targets[some], n_units)
        return Explanation(units.spread(out, inputs.units).to(inputs.x.dtype))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)


@dataclass(frozen=True)
class TreeSHAPPathDependent:
    """Exact Shapley values of the game in which a question about an absent unit is answered both
    ways, weighed by the training rows that went there.

    The sum over orders of joining is an integral over the chance of being there, which few nodes
    of a Gauss quadrature give exactly. Lundberg+ 2020; Owen 1972.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "glassbox"
    needs: ClassVar[tuple[str, ...]] = ("trees",)
    paper: ClassVar[str] = "Lundberg+ 2020, doi:10.1038/s42256-019-0138-9"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        trees = trees_of(model)
        out = torch.zeros(len(inputs), units.width(inputs.units), dtype=torch.float64)
        for rows, layout in layouts(inputs):
            leaves, n_units = leaves_of(trees, layout), int(layout.max()) + 1
            x = inputs.x[rows].flatten(1).to(trees.precision)
            out[rows, :n_units] = path_dependent(leaves, x, targets[rows], n_units)
        return Explanation(units.spread(out, inputs.units).to(inputs.x.dtype))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)


def path_dependent(leaves: Leaves, x: Tensor, targets: Tensor, n_units: int) -> Tensor:
    """`x [b, F], targets [b] -> [b, U]`.

    A leaf is reached with the product, over the units that ask on its way, of 1 or 0 for those that
    are there, and of the shares for those that are not.
    """
    n_leaves, depth = leaves.slot.shape
    chances = torch.ones(n_leaves, depth, dtype=torch.float64)
    chances = chances.scatter_reduce(1, leaves.slot, leaves.share, "prod")
    asking = int((leaves.unit < n_units).sum(1).max())
    nodes, weights = np.polynomial.legendre.leggauss(max(math.ceil(asking / 2), 1))
    out = torch.zeros(len(x), n_units + 1, dtype=torch.float64)
    for some in torch.arange(n_leaves).split(max(_CELLS // (depth * len(x)), 1)):
        there = leaves.follows(x, some).double()
        absent = torch.where(leaves.always[some], there, chances[some])
        others = torch.zeros_like(there)
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            others += weight * _product_of_others(absent + node * (there - absent))
        value = leaves.trees.value[leaves.node[some]].T[targets]
        credit = value[:, :, None] * (there - absent) * others
        out.scatter_add_(1, leaves.unit[some].flatten().expand(len(x), -1), credit.flatten(1))
    return out[:, :n_units]


def _product_of_others(factors: Tensor) -> Tensor:
    """`[..., D] -> [..., D]`: the product of all factors but the own one; none is divided by."""
    one = torch.ones_like(factors[..., :1])
    before = torch.cat([one, factors[..., :-1]], -1).cumprod(-1)
    after = torch.cat([one, factors[..., 1:].flip(-1)], -1).cumprod(-1).flip(-1)
    return before * after


def interventional(
    leaves: Leaves, x: Tensor, references: Tensor, targets: Tensor, n_units: int
) -> Tensor:
    """`x [b, F], references [b, R, F], targets [b] -> [b, U]`, mean over references.

    A leaf counts for coalitions that hold all units of which only the sample goes its way, and none
    of which only the reference does; all others must go its way in both.
    """
    n_samples, n_references = references.shape[:2]
    absent = references.flatten(0, 1)
    for_present, for_absent = _weights(leaves.slot.shape[1])
    out = torch.zeros(n_samples * (n_units + 1), dtype=torch.float64)
    for root in leaves.trees.roots:
        pair, leaf = _ways(leaves, x, absent, root)
        sample = pair // n_references
        ours, theirs = _both(leaves, x, absent, pair, leaf)
        alive = (ours | theirs).all(1)
        sample, leaf, ours, theirs = (t[alive] for t in (sample, leaf, ours, theirs))
        only_ours, only_theirs = ours & ~theirs, theirs & ~ours
        sizes = only_ours.sum(1), only_theirs.sum(1)
        value = leaves.trees.value[leaves.node[leaf], targets[sample]][:, None]
        credit = only_ours * for_present[sizes][:, None] - only_theirs * for_absent[sizes][:, None]
        place = sample[:, None] * (n_units + 1) + leaves.unit[leaf]
        out.index_add_(0, place.flatten(), (value * credit).flatten())
    return out.view(n_samples, -1)[:, :n_units] / n_references


def _ways(leaves: Leaves, x: Tensor, absent: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """`x [b, F], absent [b * R, F]`: pairs of both, and the leaves that they reach together."""
    trees, n_references = leaves.trees, len(absent) // len(x)
    pair = torch.arange(len(absent))
    node, ended = root.expand(len(pair)), []
    while len(pair):
        inner = trees.left[node] != node
        ended.append((pair[~inner], leaves.row[node[~inner]]))
        pair, node = pair[inner], node[inner]
        asked, threshold = trees.element[node], trees.threshold[node]
        ours = x[pair // n_references, asked] <= threshold
        theirs = absent[pair, asked] <= threshold
        to_left, to_right = ours | theirs, ~(ours & theirs)
        node = torch.cat([trees.left[node[to_left]], trees.right[node[to_right]]])
        pair = torch.cat([pair[to_left], pair[to_right]])
    found, reached = (torch.cat(parts) for parts in zip(*ended, strict=True))
    return found, reached


def _both(
    leaves: Leaves, x: Tensor, absent: Tensor, pair: Tensor, leaf: Tensor
) -> tuple[Tensor, Tensor]:
    """`[m, D]` bool each: whether the sample, and the reference, goes the way of the pair's leaf.

    A reference goes the way of the sample where an element is never removed.
    """
    n_references = len(absent) // len(x)
    asked, threshold, left = (t[leaf] for t in (leaves.element, leaves.threshold, leaves.left))
    ours = leaves.pooled((x[(pair // n_references)[:, None], asked] <= threshold) == left, leaf)
    theirs = leaves.pooled((absent[pair[:, None], asked] <= threshold) == left, leaf)
    return ours, torch.where(leaves.always[leaf], ours, theirs)


def _weights(depth: int) -> tuple[Tensor, Tensor]:
    """`[D + 1, D + 1]` each, at the numbers of units that must be there and must not.

    The share of the orders in which a unit that must be there comes last of those, before all that
    must not; and that in which one that must not comes first of those, after all that must.
    """
    there, gone = (
        torch.zeros(depth + 1, depth + 1, dtype=torch.float64),
        torch.zeros(depth + 1, depth + 1, dtype=torch.float64),
    )
    for p in range(depth + 1):
        for q in range(depth + 1 - p):
            orders = math.factorial(p + q)
            if p:
                there[p, q] = math.factorial(p - 1) * math.factorial(q) / orders
            if q:
                gone[p, q] = math.factorial(p) * math.factorial(q - 1) / orders
    return there, gone
