"""Shapley values of trees, read off their nodes: no row goes through the model.

Two games share the name TreeSHAP. In the interventional one, absent units are those of references,
whatever is kept. In the path-dependent one, a node that compares an absent unit is followed both
ways, by the shares of the training rows that went there. They differ where columns depend on each
other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.tree_structure import columns_of, goes_left
from xai_bench.explainers.glassbox.structure import layouts, trees_of
from xai_bench.explainers.glassbox.tree_paths import LeafPaths, leaf_paths
from xai_bench.explainers.stated_rows import WithoutModel
from xai_bench.types import (
    Baseline,
    Explanation,
    Imputer,
    Inputs,
    Kind,
    Model,
    Rng,
    Unsupported,
)

_CELLS = 1 << 20
"""Numbers that are held at once, roughly."""


@dataclass(frozen=True)
class TreeSHAPInterventional(WithoutModel):
    """Exact Shapley values of the game in which absent units are those of the references.

    The same as all `2^U` coalitions with this baseline. In a tree only those paths are followed
    that the sample or the reference would take. Lundberg+ 2020.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "glassbox"
    needs: ClassVar[tuple[str, ...]] = ("trees",)
    paper: ClassVar[str] = "Lundberg+ 2020, doi:10.1038/s42256-019-0138-9"

    baseline: Baseline

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The mean over references.

        Raises `Unsupported` for a model without trees, or a baseline without references.
        """
        trees = trees_of(model)
        if isinstance(self.baseline, Imputer):
            raise Unsupported(
                "interventional TreeSHAP needs references; "
                "this baseline depends on what else is removed"
            )
        references = self.baseline.references(inputs, rng=rng)
        out = torch.zeros(len(inputs), units.width(inputs.units), dtype=torch.float64)
        for rows, layout in layouts(inputs):
            paths, n_units = leaf_paths(trees, layout), int(layout.max()) + 1
            # A sample and a reference reach about sixteen leaves together in a common tree.
            for some in rows.split(max(_CELLS // (16 * references.shape[1]), 1)):
                x = columns_of(trees, inputs.x[some].flatten(1))
                absent = columns_of(trees, references[some].flatten(0, 1).flatten(1))
                absent = absent.unflatten(0, (len(some), -1))
                out[some, :n_units] = interventional(paths, x, absent, targets[some], n_units)
        return Explanation(units.spread(out, inputs.units).to(inputs.x.dtype))


@dataclass(frozen=True)
class TreeSHAPPathDependent(WithoutModel):
    """Exact Shapley values of the game in which nodes that compare absent units are followed both
    ways, weighed by the training rows that went there.

    The sum over orders of joining is an integral over the chance of being present, which few nodes
    of a Gauss quadrature give exactly. Lundberg+ 2020; Owen 1972.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "glassbox"
    needs: ClassVar[tuple[str, ...]] = ("trees",)
    paper: ClassVar[str] = "Lundberg+ 2020, doi:10.1038/s42256-019-0138-9"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` for a model without trees."""
        trees = trees_of(model)
        out = torch.zeros(len(inputs), units.width(inputs.units), dtype=torch.float64)
        for rows, layout in layouts(inputs):
            paths, n_units = leaf_paths(trees, layout), int(layout.max()) + 1
            x = columns_of(trees, inputs.x[rows].flatten(1))
            out[rows, :n_units] = path_dependent(paths, x, targets[rows], n_units)
        return Explanation(units.spread(out, inputs.units).to(inputs.x.dtype))


def path_dependent(paths: LeafPaths, x: Tensor, targets: Tensor, n_units: int) -> Tensor:
    """`x [b, Q], targets [b] -> [b, U]`, where `x` holds the columns that the trees compare.

    A leaf is reached with the product, over the units compared on its path, of 1 or 0 for those
    that are present, and of the shares for those that are not.
    """
    n_leaves, depth = paths.first.shape
    shares = torch.ones(n_leaves, depth, dtype=torch.float64)
    shares = shares.scatter_reduce(1, paths.first, paths.share, "prod")
    # A product over m other units is a polynomial of degree m - 1 in the chance of being present,
    # which m / 2 Gauss nodes integrate exactly.
    n_compared = int((paths.unit < n_units).sum(1).max())
    nodes, weights = np.polynomial.legendre.leggauss(max(math.ceil(n_compared / 2), 1))
    # One unit more than there are takes what belongs to none: places beyond the root, repeats.
    out = torch.zeros(len(x), n_units + 1, dtype=torch.float64)
    for leaves in torch.arange(n_leaves).split(max(_CELLS // (depth * len(x)), 1)):
        present = paths.follows(x, leaves).double()
        # An element that is never removed is present in every coalition: it gains nothing.
        absent = torch.where(paths.always[leaves], present, shares[leaves])
        others = torch.zeros_like(present)
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            others += weight * _product_of_others(absent + node * (present - absent))
        value = paths.trees.value[paths.leaf[leaves]].T[targets]
        gain = value[:, :, None] * (present - absent) * others
        out.scatter_add_(1, paths.unit[leaves].flatten().expand(len(x), -1), gain.flatten(1))
    return out[:, :n_units]


def _product_of_others(factors: Tensor) -> Tensor:
    """`[..., D] -> [..., D]`: the product of all factors but the own one.

    From both sides, for a division would fail where a factor is 0.
    """
    unity = torch.ones_like(factors[..., :1])
    before = torch.cat([unity, factors[..., :-1]], -1).cumprod(-1)
    after = torch.cat([unity, factors[..., 1:].flip(-1)], -1).cumprod(-1).flip(-1)
    return before * after


def interventional(
    paths: LeafPaths, x: Tensor, references: Tensor, targets: Tensor, n_units: int
) -> Tensor:
    """`x [b, Q], references [b, R, Q], targets [b] -> [b, U]`, mean over references.

    A leaf counts for coalitions that hold all units with which only the sample goes along its path,
    and none with which only the reference does; all others must go along it in both.
    """
    n_samples, n_references = references.shape[:2]
    absent = references.flatten(0, 1)
    for_present, for_absent = _weights(paths.depth)
    out = torch.zeros(n_samples * (n_units + 1), dtype=torch.float64)
    for root in paths.trees.roots:
        pair, leaf = _leaves_reached(paths, x, absent, root)
        sample = pair // n_references
        ours, theirs = _agreement(paths, x, absent, pair, leaf)
        # Where neither goes along, no coalition reaches the leaf.
        reached = (ours | theirs).all(1)
        sample, leaf, ours, theirs = (t[reached] for t in (sample, leaf, ours, theirs))
        only_ours, only_theirs = ours & ~theirs, theirs & ~ours
        sizes = only_ours.sum(1), only_theirs.sum(1)
        value = paths.trees.value[paths.leaf[leaf], targets[sample]][:, None]
        # Units that go along in both rows change nothing, so that only the numbers of the two other
        # kinds count: shares do not depend on how many units there are.
        share = only_ours * for_present[sizes][:, None] - only_theirs * for_absent[sizes][:, None]
        place = sample[:, None] * (n_units + 1) + paths.unit[leaf]
        out.index_add_(0, place.flatten(), (value * share).flatten())
    return out.view(n_samples, -1)[:, :n_units] / n_references


def _leaves_reached(
    paths: LeafPaths, x: Tensor, absent: Tensor, root: Tensor
) -> tuple[Tensor, Tensor]:
    """`x [b, Q], absent [b * R, Q]` to pairs of a sample and a reference, and the leaves that
    mixtures of both can reach.
    """
    trees, n_references = paths.trees, len(absent) // len(x)
    pair = torch.arange(len(absent))
    node, ended = root.expand(len(pair)), []
    while len(pair):
        inner = trees.left[node] != node
        ended.append((pair[~inner], paths.row[node[~inner]]))
        pair, node = pair[inner], node[inner]
        element = trees.element[node]
        ours = goes_left(trees, x[pair // n_references, element], node)
        theirs = goes_left(trees, absent[pair, element], node)
        # Both children are followed where the two part, for the node's unit may be kept or removed.
        to_left, to_right = ours | theirs, ~(ours & theirs)
        node = torch.cat([trees.left[node[to_left]], trees.right[node[to_right]]])
        pair = torch.cat([pair[to_left], pair[to_right]])
    pairs, leaves = (torch.cat(parts) for parts in zip(*ended, strict=True))
    return pairs, leaves


def _agreement(
    paths: LeafPaths, x: Tensor, absent: Tensor, pair: Tensor, leaf: Tensor
) -> tuple[Tensor, Tensor]:
    """`[m, D]` bool each: whether the sample, and the reference, goes along the path of the leaf.

    A reference goes where the sample does in elements that are never removed.
    """
    trees, n_references = paths.trees, len(absent) // len(x)
    node, is_left = paths.node[leaf], paths.is_left[leaf]
    element = trees.element[node]
    of_sample = goes_left(trees, x[(pair // n_references)[:, None], element], node)
    of_reference = goes_left(trees, absent[pair[:, None], element], node)
    ours = paths.by_unit(of_sample == is_left, leaf)
    theirs = paths.by_unit(of_reference == is_left, leaf)
    return ours, torch.where(paths.always[leaf], ours, theirs)


def _weights(depth: int) -> tuple[Tensor, Tensor]:
    """`[D + 1, D + 1]` each, at the numbers of units that must be present and must be absent.

    The share of the orders in which a unit that must be present comes last of those, before all
    that must be absent; and that in which one that must be absent comes first of those, after all
    that must be present.
    """
    present, absent = torch.zeros(2, depth + 1, depth + 1, dtype=torch.float64)
    for p in range(depth + 1):
        for q in range(depth + 1 - p):
            n_orders = math.factorial(p + q)
            if p:
                present[p, q] = math.factorial(p - 1) * math.factorial(q) / n_orders
            if q:
                absent[p, q] = math.factorial(p) * math.factorial(q - 1) / n_orders
    return present, absent
