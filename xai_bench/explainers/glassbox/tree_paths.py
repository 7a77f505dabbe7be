"""The paths from the leaves of trees up to their roots, and which units their nodes compare."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xai_bench.core.tree_structure import goes_left, units_of_columns
from xai_bench.types import TreeStructure

_BLOCK = 4096
"""Leaves that are compared with themselves at a time."""


@dataclass(frozen=True, eq=False)
class LeafPaths:
    """The path of every leaf of all trees: `L` leaves, at most `D` nodes above each.

    A unit that is compared several times on a path counts once, at its first place from below.

    Attributes:
        leaf: `[L]`, the node of each leaf; row: `[n]`, which leaf a node is.
        node: `[L, D]`, the nodes above; is_left: whether the path continues to the left of each.
        is_node: `[L, D]` bool; False beyond the root.
        share: `[L, D]`, the part of the training weight that went along the path; 1 beyond it.
        unit: `[L, D]`, the unit compared, at its first place; `n_units` elsewhere.
        first: `[L, D]`, the first place of the unit compared.
        always: `[L, D]` bool, the first place of elements that are never removed.
    """

    trees: TreeStructure
    leaf: Tensor
    row: Tensor
    node: Tensor
    is_left: Tensor
    is_node: Tensor
    share: Tensor
    unit: Tensor
    first: Tensor
    always: Tensor

    @property
    def depth(self) -> int:
        """`D`."""
        return self.first.shape[1]

    def follows(self, columns: Tensor, leaves: Tensor) -> Tensor:
        """`columns [..., Q], leaves [l]` to `[..., l, D]` bool: whether a row of what the trees
        compare goes along the leaf's path.

        One value per unit, at its first place; True elsewhere.
        """
        node = self.node[leaves]
        left = goes_left(self.trees, columns[..., self.trees.element[node]], node)
        return self.by_unit(left == self.is_left[leaves], leaves)

    def by_unit(self, agrees: Tensor, leaves: Tensor) -> Tensor:
        """`agrees [..., l, D]` bool at every node to whether all nodes of a unit agree."""
        agrees = agrees | ~self.is_node[leaves]
        first = self.first[leaves].expand(agrees.shape)
        all_of = torch.ones(agrees.shape, dtype=torch.uint8)
        # All nodes of a unit stand or fall together, or a unit would be half present.
        return all_of.scatter_reduce(-1, first, agrees.to(torch.uint8), "amin").bool()


def leaf_paths(trees: TreeStructure, layout: Tensor) -> LeafPaths:
    """`layout [F]`: the unit of each element of x, -1 for those that are never removed."""
    leaf = (trees.left == torch.arange(len(trees.left))).nonzero()[:, 0]
    row = torch.zeros_like(trees.left)
    row[leaf] = torch.arange(len(leaf))
    path = _upwards(trees, leaf)
    parent, child = path[:, 1:], path[:, :-1]
    is_node = parent != child
    # -2 beyond the root: no unit, and not -1, which means an element that is never removed.
    unit = torch.where(is_node, units_of_columns(trees, layout)[trees.element[parent]], -2)
    first = torch.cat([_first_place(part) for part in unit.split(_BLOCK)])  # [l, D, D] at a time
    # A unit compared twice is one factor: its shares multiply, and all its nodes have to agree.
    is_first = is_node & (first == torch.arange(first.shape[1]))
    return LeafPaths(
        trees=trees,
        leaf=leaf,
        row=row,
        node=parent,
        is_left=trees.left[parent] == child,
        is_node=is_node,
        # By training weight, as the trees were grown with: shap calls it cover.
        share=torch.where(is_node, _shares(trees.cover[child], trees.cover[parent]), 1),
        unit=torch.where(is_first & (unit >= 0), unit, int(layout.max()) + 1),
        first=first,
        always=is_first & (unit == -1),
    )


def _shares(child: Tensor, parent: Tensor) -> Tensor:
    """The part of the training weight that goes on to a child; half where none ever came by."""
    return torch.where(parent > 0, child / parent, 0.5)


def _first_place(unit: Tensor) -> Tensor:
    """`[l, D] -> [l, D]`: where the same unit stands first on the path."""
    return (unit[:, :, None] == unit[:, None]).int().argmax(2)


def _upwards(trees: TreeStructure, leaf: Tensor) -> Tensor:
    """`[L, D + 1]`: a leaf, its parent and so on; the root again and again at the end."""
    inner = (trees.left != torch.arange(len(trees.left))).nonzero()[:, 0]
    parent = torch.arange(len(trees.left))  # a root is its own parent, which ends a path
    parent[trees.left[inner]] = inner
    parent[trees.right[inner]] = inner
    path = [leaf]
    for _ in range(max(trees.depth, 1)):
        path.append(parent[path[-1]])
    return torch.stack(path, dim=1)
