"""How a sample goes down the trees of a `TreeStructure`: what is asked, and which way it goes."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_bench.types import TreeStructure, Unsupported


def columns_of(trees: TreeStructure, x: Tensor) -> Tensor:
    """`[N, F] -> [N, Q]`: what the trees ask about, in the precision they compare in."""
    return (x if trees.columns is None else trees.columns.read(x)).to(trees.precision)


def goes_left(trees: TreeStructure, values: Tensor, node: Tensor) -> Tensor:
    """`values [..., m], node [m]` or `[..., m]` -> bool: whether each value is sent to the left.

    `values` are of the columns that the nodes ask about.
    """
    # At most goes left, as in scikit-learn; readers of other libraries shift their thresholds.
    left = values <= trees.threshold[node]
    if trees.category_set is not None and trees.left_categories is not None:
        row, n_codes = trees.category_set[node], trees.left_categories.shape[1]
        code = values.nan_to_num(nan=-1).clamp(-1, n_codes - 1).long()
        code = torch.where(code < 0, n_codes - 1, code)  # the last column: unseen or missing
        left = torch.where(row >= 0, trees.left_categories[row.clamp(min=0), code], left)
    # Last, for a missing value goes its own way whatever the comparison said of NaN.
    if trees.missing_left is not None:
        left = torch.where(values.isnan(), trees.missing_left[node], left)
    return left


def units_of_columns(trees: TreeStructure, layout: Tensor) -> Tensor:
    """`layout [F] -> [Q]`: the unit of each column, -1 for those that are never removed.

    Raises `Unsupported` where one question of the trees is about several units at once.
    """
    if trees.columns is None:
        return layout
    source = trees.columns.source
    highest = torch.where(source, layout, -1).amax(1)
    lowest = torch.where(source, layout, int(layout.max())).amin(1)
    asked = trees.element[trees.left != torch.arange(len(trees.left))].unique()
    if (highest[asked] != lowest[asked]).any():
        raise Unsupported(
            "the trees ask about several units at once: a column that is made of more than one "
            "cannot be removed by unit; group the columns it is made of into one unit"
        )
    return highest


def evaluate(trees: TreeStructure, x: Tensor) -> Tensor:
    """`[N, F] -> [N, C]` float64: the sum of the leaves that the samples come to, and the base."""
    values = columns_of(trees, x)
    node = trees.roots.expand(len(x), -1)
    for _ in range(trees.depth):
        left = goes_left(trees, values.gather(1, trees.element[node]), node)
        node = torch.where(left, trees.left[node], trees.right[node])
    total = trees.value[node].sum(1)
    return total if trees.base is None else total + trees.base
