"""The tensors that a caller brings, checked at the door: each mistake is one sentence."""

from __future__ import annotations

import torch
from torch import Tensor


def require_tensor(name: str, value: object) -> Tensor:
    """The value itself. Raises ValueError for an array, a list or anything else."""
    if not isinstance(value, Tensor):
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise ValueError(f"{name} is a {kind}; expected a torch tensor: torch.as_tensor({name})")
    return value


def require_samples(name: str, value: object) -> Tensor:
    """`[N, *S]` real numbers with at least one row. Raises ValueError for anything else."""
    rows = require_tensor(name, value)
    if not rows.is_floating_point():
        raise ValueError(
            f"{name} holds {rows.dtype}; expected real numbers: {name}.float() where these are "
            "numbers. Ids of tokens are none: explain the network behind its embedding layer"
        )
    if rows.dim() < 2 or 0 in rows.shape:
        raise ValueError(
            f"{name} has shape {list(rows.shape)}; expected [N, ...] with at least one sample of "
            "at least one element"
        )
    return rows


def first_nan(name: str, rows: Tensor) -> str:
    """Where the first NaN or infinity stands, `x holds NaN in row 0, column 3`; empty for none."""
    bad = (~rows.isfinite()).nonzero()
    if not len(bad):
        return ""
    row, *place = bad[0].tolist()
    what = "NaN" if rows[tuple(bad[0])].isnan() else "infinity"
    column = f"column {place[0]}" if len(place) == 1 else f"element {place}"
    return f"{name} holds {what} in row {row}, {column}"


def dense_units(units: object, x: Tensor) -> Tensor:
    """`[*S]` or `[N, *S]` -> long `[N, *S]`, numbered from 0 without gaps; -1 stays padding.

    Raises ValueError for another shape, another type, or numbers below -1.
    """
    given = require_tensor("units", units)
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        raise ValueError(f"units hold {given.dtype}; expected whole numbers, one for each element")
    if given.shape not in (x.shape, x.shape[1:]):
        raise ValueError(
            f"units have shape {list(given.shape)}; expected that of one sample, "
            f"{list(x.shape[1:])}, or of all, {list(x.shape)}"
        )
    if int(given.min()) < -1:
        raise ValueError(f"units hold {int(given.min())}; expected -1 for padding, or 0 and above")
    given = given.long()
    if given.shape == x.shape:
        return torch.stack([_renumbered(sample) for sample in given])
    return _renumbered(given).expand(x.shape)


def _renumbered(units: Tensor) -> Tensor:
    kept = units[units >= 0]
    if not len(kept):
        raise ValueError("units hold padding only; expected at least one unit in each sample")
    # Gaps in the numbers would be units without an element, removed and ranked for nothing.
    numbers = torch.searchsorted(kept.unique(), units.clamp(min=0).contiguous())
    return torch.where(units < 0, -1, numbers)


def require_labels(labels: object, n_samples: int, n_classes: int) -> Tensor:
    """`[N]` classes below `n_classes`, or real values where that is 0. Raises ValueError."""
    given = require_tensor("labels", labels)
    if given.shape != (n_samples,):
        raise ValueError(
            f"labels have shape {list(given.shape)}; expected [{n_samples}], one for each sample"
        )
    if not n_classes:
        if problem := first_nan("labels", given[:, None]):
            raise ValueError(problem)
        return given.detach().clone()
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        raise ValueError(f"labels hold {given.dtype}; expected classes as whole numbers")
    if int(given.min()) < 0 or int(given.max()) >= n_classes:
        worst = next(int(label) for label in given if not 0 <= int(label) < n_classes)
        raise ValueError(f"labels hold class {worst}; the model has outputs 0 to {n_classes - 1}")
    return given.detach().clone().long()
