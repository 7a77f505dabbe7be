"""Trees of scikit-learn as tensors, the nodes of all trees in one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_bench.types import TreeStructure


@dataclass(frozen=True, eq=False)
class Nodes:
    """One tree, `[n]` each; children of a leaf are below 0. `value [n, C]`."""

    element: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    cover: Tensor
    value: Tensor


def nodes_of(found: Any) -> Nodes:
    """From scikit-learn's `tree_`; values of classes are shares of the votes."""
    return Nodes(
        element=torch.tensor(found.feature).clamp(min=0),
        threshold=torch.tensor(found.threshold),
        left=torch.tensor(found.children_left),
        right=torch.tensor(found.children_right),
        cover=torch.tensor(found.weighted_n_node_samples),
        value=torch.tensor(found.value[:, 0, :]),
    )


def boosted_nodes_of(found: Any, loading: Tensor) -> Nodes:
    """From the nodes of a `HistGradientBoosting` tree; `loading [C]`: what 1 adds to outputs."""
    nodes = found.nodes

    def column(name: str) -> Tensor:
        return torch.tensor(nodes[name].astype("float64"))

    leaf = column("is_leaf") > 0
    return Nodes(
        element=column("feature_idx").long(),
        threshold=column("num_threshold"),
        left=torch.where(leaf, -1, column("left").long()),
        right=torch.where(leaf, -1, column("right").long()),
        cover=column("count"),
        value=column("value")[:, None] * loading,
    )


def stacked(
    trees: Sequence[Nodes], share: float = 1.0, precision: torch.dtype = torch.float32
) -> TreeStructure:
    """All trees in one row, `share` of each."""
    sizes = torch.tensor([len(tree.element) for tree in trees])
    roots = sizes.cumsum(0) - sizes
    first, itself = roots.repeat_interleave(sizes), torch.arange(int(sizes.sum()))
    left, right = (
        torch.where(child < 0, itself, child + first)
        for child in (torch.cat([t.left for t in trees]), torch.cat([t.right for t in trees]))
    )
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
    )


def _depth(left: Tensor, right: Tensor, roots: Tensor) -> int:
    """The most questions on any way down."""
    depth, level = -1, roots
    while len(level):
        level = level[left[level] != level]
        level, depth = torch.cat([left[level], right[level]]), depth + 1
    return depth
