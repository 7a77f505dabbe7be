"""Trees of scikit-learn as tensors, the nodes of all trees one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.types import TreeStructure


@dataclass(frozen=True, eq=False)
class Nodes:
    """The nodes of one tree, `[n]` each.

    Attributes:
        left, right: the number of the child; below 0 for a leaf.
        cover: the weight of the training rows that reach the node.
        value: `[n, C]`.
        missing_left, category_set, left_categories: as in `TreeStructure`; None where no node
            has them.
    """

    element: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    cover: Tensor
    value: Tensor
    missing_left: Tensor | None = None
    category_set: Tensor | None = None
    left_categories: Tensor | None = None


def nodes_of(tree: Any) -> Nodes:
    """The nodes of scikit-learn's `tree_`; values of classes are shares of the votes."""
    return Nodes(
        # A leaf has -2 there; any element will do, because both its ways lead to itself.
        element=torch.tensor(tree.feature).clamp(min=0),
        threshold=torch.tensor(tree.threshold),
        left=torch.tensor(tree.children_left),
        right=torch.tensor(tree.children_right),
        # Weighted, as the tree was grown: a bootstrap counts a row as often as it was drawn.
        cover=torch.tensor(tree.weighted_n_node_samples),
        value=torch.tensor(tree.value[:, 0, :]),
        missing_left=torch.tensor(tree.missing_go_to_left) > 0,
    )


def boosted_nodes_of(predictor: Any, loading: Tensor) -> Nodes:
    """The nodes of a `HistGradientBoosting` tree.

    `loading [C]` is what a leaf of value 1 adds to each output.
    """
    nodes = predictor.nodes

    def column(name: str) -> Tensor:
        # The fields are unsigned numbers, of which torch takes few; float64 holds them exactly.
        return torch.tensor(nodes[name].astype("float64"))

    leaf = column("is_leaf") > 0
    return Nodes(
        element=column("feature_idx").long(),
        threshold=column("num_threshold"),
        # Leaves have 0 there, which would be the root.
        left=torch.where(leaf, -1, column("left").long()),
        right=torch.where(leaf, -1, column("right").long()),
        # Unweighted, since histogram boosting keeps no sum of weights in its nodes.
        cover=column("count"),
        value=column("value")[:, None] * loading,
        missing_left=column("missing_go_to_left") > 0,
        category_set=torch.where(column("is_categorical") > 0, column("bitset_idx").long(), -1),
        left_categories=_bits(predictor.raw_left_cat_bitsets),
    )


def _bits(words: Any) -> Tensor | None:
    """`[K, W]` unsigned words to `[K, 32 W + 1]` bool, lowest bit first; no other code is set."""
    if len(words) == 0:
        return None
    bits = torch.tensor(words.astype("int64"))[:, :, None] >> torch.arange(32)
    return functional.pad((bits & 1).bool().flatten(1), (0, 1))


def stacked(
    trees: Sequence[Nodes], share: float = 1.0, precision: torch.dtype = torch.float32
) -> TreeStructure:
    """The sum of all trees, each times `share`.

    `precision` is the type in which scikit-learn compares a value with a threshold.
    """
    sizes = torch.tensor([len(tree.element) for tree in trees])
    roots = sizes.cumsum(0) - sizes
    root, own = roots.repeat_interleave(sizes), torch.arange(int(sizes.sum()))
    # A leaf is its own child, so that a row can take further steps without leaving it.
    left, right = (
        torch.where(child < 0, own, child + root)
        for child in (torch.cat([t.left for t in trees]), torch.cat([t.right for t in trees]))
    )
    category_set, left_categories = _categories(trees)
    return TreeStructure(
        element=torch.cat([tree.element for tree in trees]),
        threshold=torch.cat([tree.threshold for tree in trees]),
        left=left,
        right=right,
        roots=roots,
        cover=torch.cat([tree.cover for tree in trees]),
        value=share * torch.cat([tree.value for tree in trees]),
        depth=_depth(left, right, roots),
        precision=precision,
        missing_left=_missing_left(trees),
        category_set=category_set,
        left_categories=left_categories,
    )


def _missing_left(trees: Sequence[Nodes]) -> Tensor | None:
    """None where missing values always go right, as a comparison with NaN does."""
    parts = [
        torch.zeros(len(tree.element), dtype=torch.bool)
        if tree.missing_left is None
        else tree.missing_left
        for tree in trees
    ]
    missing_left = torch.cat(parts)
    return missing_left if missing_left.any() else None


def _categories(trees: Sequence[Nodes]) -> tuple[Tensor | None, Tensor | None]:
    """The sets of all trees in one table; None where no node asks for a category."""
    tables = [tree.left_categories for tree in trees if tree.left_categories is not None]
    if not tables:
        return None, None
    width, rows, n_rows = max(table.shape[1] for table in tables), [], 0
    for tree in trees:
        own = torch.full((len(tree.element),), -1)
        if tree.category_set is not None and tree.left_categories is not None:
            own = torch.where(tree.category_set >= 0, tree.category_set + n_rows, -1)
            n_rows += len(tree.left_categories)
        rows.append(own)
    return torch.cat(rows), torch.cat([_widened(table, width) for table in tables])


def _widened(table: Tensor, width: int) -> Tensor:
    """More codes, which are as any other code is: what the last place says."""
    spare = table[:, -1:].expand(-1, width - table.shape[1])
    return torch.cat([table, spare], dim=1)


def _depth(left: Tensor, right: Tensor, roots: Tensor) -> int:
    """The most splits between a root and a leaf."""
    depth, level = -1, roots
    while len(level):
        level = level[left[level] != level]
        level, depth = torch.cat([left[level], right[level]]), depth + 1
    return depth
