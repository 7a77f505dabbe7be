"""The inside of a model that can be read: weights, terms of single elements, or trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

Column = Literal["outputs", "probabilities"]
"""What the explained scalar is a column of: the outputs, or their softmax."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearStructure:
    """`weight[c] . x` and a constant; `weight [C, F]` float64, `x` flattened."""

    weight: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class AdditiveStructure:
    """A sum of functions of one element each, and a constant.

    Attributes:
        terms: `x [N, *S], targets [N] -> [N, *S]` float64, each element's own term.
    """

    terms: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class TreeColumns:
    """The columns that trees ask about, where these are not the elements of `x` themselves.

    Attributes:
        read: `x [N, F] -> [N, Q]` float64: numbers, codes of categories, NaN where missing.
        source: `[Q, F]` bool, the elements of x that each column is read from.
    """

    read: Callable[[Tensor], Tensor]
    source: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TreeStructure:
    """A sum of decision trees and a constant; the nodes of all trees stand in one row, `[n]` each.

    A sample goes left where `x.to(precision) <= threshold`, where its category is one of a set, or
    where a missing value (NaN) is sent. A leaf is its own child on both sides.

    Attributes:
        element: which of the flattened elements of `x` is asked about, or which of the `columns`;
            threshold: against what.
        left, right: where to go on; roots: `[T]`, where each tree starts.
        cover: the training weight that came by.
        value: `[n, C]` float64, what a leaf adds to the scalar of each class.
        depth: the most questions on any way down.
        missing_left: bool, whether a missing value goes left; None: always right.
        category_set: long, which row of `left_categories` decides; -1 where the threshold does.
        left_categories: `[K, M]` bool, the codes `0 ... M - 2` that go left; the last place stands
            for any other code.
        base: `[C]` float64, the constant, where it is known.
        columns: how what is asked about is read from `x`; None: it is `x`.
    """

    element: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    roots: Tensor
    cover: Tensor
    value: Tensor
    depth: int
    precision: torch.dtype = torch.float32
    missing_left: Tensor | None = None
    category_set: Tensor | None = None
    left_categories: Tensor | None = None
    base: Tensor | None = None
    columns: TreeColumns | None = None


Structure = LinearStructure | AdditiveStructure | TreeStructure


@runtime_checkable
class ReadableStructure(Protocol):
    """A model, the inside of whose explained scalar can be read."""

    def structure(self) -> Structure | None:
        """None where there is nothing to read.

        Raises `Unsupported` where what can be read is not what is explained.
        """
        ...
