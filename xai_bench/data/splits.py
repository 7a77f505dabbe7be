"""From rows to the three parts of a bundle, and scaling fitted on training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_bench.core.seeds import Seeds
from xai_bench.data.bundle import Split, shared_units

FRACTIONS = (0.6, 0.2, 0.2)
"""Shares of the rows that train, validate and test."""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The row numbers of each part, long, shuffled: any prefix is a fair sample."""

    train: Tensor
    valid: Tensor
    test: Tensor


def partition(y: Tensor, fractions: Sequence[float], seed: int, n_test: int = 0) -> Parts:
    """`y [N]`; long values are classes, and every part then gets its share of each.

    The last `n_test` rows are an official test part; the others are then shared between training
    and validation in the ratio of the first two fractions.
    """
    train, valid = boundaries(fractions, official_test=n_test > 0)
    n_rows = len(y) - n_test
    rng = Seeds(seed).stream("split", samples=torch.arange(len(y)))
    place = _place(y[:n_rows], rng.uniform()[:n_rows])
    part = torch.cat([(place >= train).long() + (place >= valid).long(), torch.full((n_test,), 2)])
    order = rng.child("order").uniform().argsort()
    return Parts(*(order[part[order] == number] for number in range(3)))


def standardise(x: Tensor, train: Tensor) -> Tensor:
    """`[N, *S] -> [N, *S]` float32: mean 0 and deviation 1 over the rows `train`.

    Elements that do not vary there are only centred.
    """
    mean, scale = moments(x, train)
    return ((x.double() - mean) / scale).float()


def moments(x: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """`[N, *S] -> [*S], [*S]`: mean and deviation over the rows `train`; 1 where none varies."""
    rows = x[train].double()
    mean, deviation = rows.mean(0), rows.std(0, correction=0)
    # Relative to the mean: a constant of 1e6 has a deviation of rounding errors.
    varies = deviation > 1e-9 * (1e-9 + mean.abs())
    return mean, torch.where(varies, deviation, 1.0)


def divide(
    x: Tensor,
    y: Tensor,
    units: Tensor,
    parts: Parts,
    groups: Mapping[str, Tensor] | None = None,
    rationale: Tensor | None = None,
) -> tuple[Split, Split, Split]:
    """The three splits of `x [N, *S]`, `y [N]`, with `units [*S]` shared by all rows."""

    def split(rows: Tensor) -> Split:
        named = {name: codes[rows] for name, codes in (groups or {}).items()}
        marked = None if rationale is None else rationale[rows]
        alike = shared_units(units, len(rows))
        return Split(x[rows], y[rows], alike, groups=named, rationale=marked)

    return split(parts.train), split(parts.valid), split(parts.test)


def _place(y: Tensor, keys: Tensor) -> Tensor:
    """`[N], [N] -> [N]` in (0, 1): the rank of each row in its own class, by random `keys`."""
    classes = torch.zeros_like(y, dtype=torch.long) if y.is_floating_point() else y
    order = keys.argsort()
    order = order[classes[order].argsort(stable=True)]
    sizes = classes.bincount()
    starts = sizes.cumsum(0) - sizes
    rank = torch.empty(len(y), dtype=torch.float64)
    rank[order] = (torch.arange(len(y)) - starts[classes[order]]).double()
    return (rank + 0.5) / sizes[classes]


def boundaries(fractions: Sequence[float], *, official_test: bool) -> tuple[float, float]:
    """The shares at which training and validation end; 1 for validation with an official test part.

    Raises ValueError unless there are three positive fractions that add up to 1.
    """
    shares = [float(share) for share in fractions]
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(
            f"data.fractions must be three positive shares (train, valid, test) that add up to 1; "
            f"found {shares}"
        )
    both = shares[0] + shares[1]
    return (shares[0] / both, 1.0) if official_test else (shares[0], both)
