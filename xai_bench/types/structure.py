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
class TreeStructure:
    """A sum of decision trees and a constant; the nodes of all trees stand in one row, `[n]` each.

    A sample goes left where `x.to(precision) <= threshold`. A leaf is its own child on both sides.

    Attributes:
        element: which of the flattened elements of `x` is asked about; threshold: against what.
        left, right: where to go on; roots: `[T]`, where each tree starts.
        cover: the training weight that came by.
        value: `[n, C]` float64, what a leaf adds to the scalar of each class.
        depth: the most questions on any way down.
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


Structure = LinearStructure | AdditiveStructure | TreeStructure


@runtime_checkable
class ReadableStructure(Protocol):
    """A model, the inside of whose explained scalar can be read."""

    def structure(self) -> Structure | None:
        """None where there is nothing to read.

        Raises `Unsupported` where what can be read is not what is explained.
        """
        ...
