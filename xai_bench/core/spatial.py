"""Inputs with axes of space or time, `[channels, time]` or `[channels, height, width]`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.types import Inputs, Unsupported


def require_spatial(inputs: Inputs, who: str, hint: str = "") -> range:
    """The axes of `x` that are space or time, the first of them 2.

    Raises `Unsupported`, which names `who` needs them, where there are none; `hint` says what to
    take instead.
    """
    n_axes = inputs.x.dim() - 2
    if inputs.domain.symbols is not None:
        raise Unsupported(
            f"{who} needs pixels or steps, which lie beside each other; tokens do not{hint}"
        )
    if n_axes not in (1, 2):
        raise Unsupported(
            f"{who} needs inputs [channels, time] or [channels, height, width]; "
            f"these have shape {list(inputs.x.shape[1:])}{hint}"
        )
    return range(2, 2 + n_axes)


def filter_along(x: Tensor, axis: int, kernel: Tensor) -> Tensor:
    """`x` with one axis convolved with `kernel [2 r + 1]`, `r` below the length of the axis.

    The value at the edge continues beyond the border.
    """
    moved, radius = x.movedim(axis, -1), len(kernel) // 2
    rows = functional.pad(moved.reshape(-1, 1, moved.shape[-1]), (radius, radius), mode="replicate")
    # One axis after the other: a Gaussian of two axes is the product of two of one.
    filtered = functional.conv1d(rows, kernel.view(1, 1, -1))
    result: Tensor = filtered.view(moved.shape).movedim(-1, axis)
    return result


def gaussian(radius: int, sigma: float, dtype: torch.dtype) -> Tensor:
    """`[2 r + 1]`: weights of a Gaussian filter that add up to 1; `sigma` in elements."""
    offsets = torch.arange(-radius, radius + 1, dtype=dtype)
    # Cut off at the radius and normalised again, so that a constant image stays what it is.
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return kernel / kernel.sum()
