"""What explainers read of a model's inside."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xai_bench.types import (
    AdditiveStructure,
    Inputs,
    LinearStructure,
    Model,
    ReadableStructure,
    Structure,
    TreeStructure,
    Unsupported,
)


def structure_of(model: Model) -> Structure | None:
    """What can be read of the model; None where that is nothing.

    Raises `Unsupported` where what can be read is not what is explained.
    """
    return model.structure() if isinstance(model, ReadableStructure) else None


def trees_of(model: Model) -> TreeStructure:
    """The trees of the model, or `Unsupported`."""
    structure = structure_of(model)
    if isinstance(structure, TreeStructure):
        return structure
    raise Unsupported(
        "this needs a model made of trees; "
        "use model=tree, model=random_forest or model=gradient_boosting, or in Python give the "
        "fitted model itself, not a function around it"
    )


def linear_of(model: Model) -> LinearStructure:
    """The weights of the model, or `Unsupported`."""
    structure = structure_of(model)
    if isinstance(structure, LinearStructure):
        return structure
    raise Unsupported("this needs a model that is linear in x; use model=linear")


def is_glass_box(model: Model) -> bool:
    """Whether the explained scalar is its own explanation: linear, additive or a single tree.

    Not where another scalar of the model is one: logits, while a probability is explained.
    """
    try:
        structure = structure_of(model)
    except Unsupported:
        return False
    single = isinstance(structure, TreeStructure) and len(structure.roots) == 1
    return single or isinstance(structure, LinearStructure | AdditiveStructure)


def glass_box_of(model: Model) -> Structure:
    """The structure of a model that is its own explanation, or `Unsupported`."""
    structure = structure_of(model)
    if structure is not None and is_glass_box(model):
        return structure
    raise Unsupported(
        "a glass box is linear, additive or a single tree; "
        "use model=linear, model=additive or model=tree"
    )


def layouts(inputs: Inputs) -> Iterator[tuple[Tensor, Tensor]]:
    """Groups of samples that share their units: `rows [M]` and the unit `[F]` of each element."""
    if inputs.units.stride(0) == 0:
        yield torch.arange(len(inputs)), inputs.units[0].flatten()
        return
    distinct, number = inputs.units.flatten(1).unique(dim=0, return_inverse=True)
    for k, layout in enumerate(distinct):
        yield (number == k).nonzero()[:, 0], layout
