"""Between element space `[B, *S]` and unit space `[B, U]`.

`U` is the largest unit count in the batch; samples with fewer have padding columns at the end.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xai_bench.types import Rng


def count(units: Tensor) -> Tensor:
    """`[B, *S] -> [B]`: how many units each sample has."""
    return units.flatten(1).amax(1) + 1


def width(units: Tensor) -> int:
    """`U`: the largest unit count in the batch."""
    return int(units.max()) + 1


def present(units: Tensor) -> Tensor:
    """`[B, *S] -> [B, U]` bool: which columns of unit space are real for each sample."""
    return torch.arange(width(units), device=units.device) < count(units)[:, None]


def sizes(units: Tensor) -> Tensor:
    """`[B, *S] -> [B, U]`: elements in each unit, 0 in padding columns."""
    return pool(torch.ones(units.shape, dtype=torch.float64, device=units.device), units)


def pool(values: Tensor, units: Tensor) -> Tensor:
    """`[B, *S] -> [B, U]`: sum over the elements of each unit; padding elements are left out."""
    flat = units.flatten(1)
    # One column more, which takes up the padding.
    out = values.new_zeros(len(values), width(units) + 1)
    out.scatter_add_(1, torch.where(flat < 0, out.shape[1] - 1, flat), values.flatten(1))
    return out[:, :-1]


def spread(values: Tensor, units: Tensor) -> Tensor:
    """`[B, U] -> [B, *S]`: share each unit's value evenly among its elements; 0 in padding.

    The inverse of `pool`: `pool(spread(v, units), units) == v`.
    """
    # Padding columns have no element; 1 keeps 0 / 0 out.
    share = values / sizes(units).clamp(min=1).to(values)
    return torch.where(units < 0, 0, lookup(share[:, None], units)[:, 0])


def lookup(values: Tensor, units: Tensor) -> Tensor:
    """`[B, K, U] -> [B, K, *S]`: every element gets its unit's value; padding gets unit 0's."""
    n_samples, n_rows = values.shape[:2]
    if units.stride(0) == 0 and n_samples > 0:  # the same for all: one index serves them
        layout = units[0].flatten().clamp(min=0)
        own = torch.arange(len(layout), device=layout.device)
        if len(layout) != values.shape[2] or not torch.equal(layout, own):
            values = values.index_select(2, layout)
        return values.reshape(n_samples, n_rows, *units.shape[1:])
    flat = units.flatten(1).clamp(min=0)
    out = values.gather(2, flat[:, None].expand(n_samples, n_rows, -1))
    return out.view(n_samples, n_rows, *units.shape[1:])


def kept_elements(kept: Tensor, units: Tensor) -> Tensor:
    """`[B, K, U] -> [B, K, *S]` bool: the elements of kept units, and padding always."""
    layout = units[:1] if units.stride(0) == 0 else units
    padding = (layout < 0)[:, None]
    elements = lookup(kept, units)
    return elements | padding if padding.any() else elements


def min_max(scores: Tensor, units: Tensor) -> Tensor:
    """`[B, U] -> [B, U]`: 0 for the smallest score of a sample, 1 for the largest, else between.

    0 in padding columns; NaN throughout where all scores are equal.
    """
    real = present(units)
    # Padding takes no part, or its zeros would be the smallest scores of some samples.
    low = torch.where(real, scores, torch.inf).amin(1, keepdim=True)
    high = torch.where(real, scores, -torch.inf).amax(1, keepdim=True)
    return torch.where(real | (high == low), (scores - low) / (high - low), 0)


def ranking(scores: Tensor, units: Tensor, *, rng: Rng) -> Tensor:
    """`[B, U] -> [B, U]` long: 0 for the unit with the largest score, and so on.

    Ties are shuffled by the stream, for a fixed order would reward units by their position. Padding
    columns come last. Raises ValueError where a score is NaN or infinite.
    """
    if not scores.isfinite().all():
        raise ValueError("ranking needs finite scores; found NaN or infinity")
    n_samples, n_units = scores.shape
    # A stable sort of shuffled units leaves those that tie in the shuffled order.
    shuffle = rng.uniform(n_units).argsort(dim=1, stable=True)
    keyed = torch.where(present(units), scores.double(), -torch.inf).gather(1, shuffle)
    order = shuffle.gather(1, keyed.argsort(dim=1, descending=True, stable=True))
    rank = torch.empty_like(order)
    place = torch.arange(n_units, device=order.device)
    return rank.scatter_(1, order, place.expand(n_samples, -1))
