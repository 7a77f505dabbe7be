"""The ways from the leaves of trees up to their roots, and which units ask on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xai_bench.types import TreeStructure


@dataclass(frozen=True, eq=False)
class Leaves:
    """All leaves of all trees. `D` questions on a way, `L` leaves.

    Attributes:
        node: `[L]`, the leaf itself; row: `[n]`, which leaf a node is.
        element, threshold, left: `[L, D]`, what is asked, and whether the way is to the left.
        share: `[L, D]`, the part of the training weight that went that way; 1 where none is asked.
        unit: `[L, D]`, who asks, at its first question; `n_units` elsewhere.
        slot: `[L, D]`, the place of the first question of who asks.
        always: `[L, D]` bool, where the first question is of an element that is never removed.
    """

    trees: TreeStructure
    node: Tensor
    row: Tensor
    element: Tensor
    threshold: Tensor
    left: Tensor
    asked: Tensor
    share: Tensor
    unit: Tensor
    slot: Tensor
    always: Tensor

    def follows(self, x: Tensor, leaves: Tensor) -> Tensor:
        """`x [..., F], leaves [l]`, and `[..., l, D]` bool: whether x goes this leaf's way.

        One answer per unit that asks, at its first question; True elsewhere.
        """
        goes = x[..., self.element[leaves]] <= self.threshold[leaves]
        return self.pooled(goes == self.left[leaves], leaves)

    def pooled(self, goes: Tensor, leaves: Tensor) -> Tensor:
        """`[..., l, D]` bool, whether all questions of the unit are answered this leaf's way."""
        goes = goes | ~self.asked[leaves]
        slot = self.slot[leaves].expand(goes.shape)
        all_of = torch.ones(goes.shape, dtype=torch.uint8)
        return all_of.scatter_reduce(-1, slot, goes.to(torch.uint8), "amin").bool()


def leaves_of(trees: TreeStructure, layout: Tensor) -> Leaves:
    """`layout [F]`: the unit of each element, -1 for those that are never removed."""
    node = (trees.left == torch.arange(len(trees.left))).nonzero()[:, 0]
    row = torch.zeros_like(trees.left)
    row[node] = torch.arange(len(node))
    way = _upwards(trees, node)
    parent, child = way[:, 1:], way[:, :-1]
    asked = parent != child
    unit = torch.where(asked, layout[trees.element[parent]], -2)
    slot = torch.cat([_first_place(part) for part in unit.split(4096)])
    first = asked & (slot == torch.arange(slot.shape[1]))
    return Leaves(
        trees=trees,
        node=node,
        row=row,
        element=trees.element[parent],
        threshold=trees.threshold[parent],
        left=trees.left[parent] == child,
        asked=asked,
        share=torch.where(asked, trees.cover[child] / trees.cover[parent], 1),
        unit=torch.where(first & (unit >= 0), unit, int(layout.max()) + 1),
        slot=slot,
        always=first & (unit == -1),
    )


def _first_place(unit: Tensor) -> Tensor:
    """`[l, D] -> [l, D]`: where the same unit stands first on the way."""
    return (unit[:, :, None] == unit[:, None]).int().argmax(2)


def _upwards(trees: TreeStructure, node: Tensor) -> Tensor:
    """`[L, D + 1]`: a leaf, its parent and so on; the root again and again at the end."""
    inner = (trees.left != torch.arange(len(trees.left))).nonzero()[:, 0]
    parent = torch.arange(len(trees.left))
    parent[trees.left[inner]] = inner
    parent[trees.right[inner]] = inner
    way = [node]
    for _ in range(max(trees.depth, 1)):
        way.append(parent[way[-1]])
    return torch.stack(way, dim=1)
