"""Which axis of an array is which: recognised where there is one reading, else asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xai_bench.data.bundle import Modality

LAYOUTS: Mapping[str, Modality] = {
    "NF": "tabular",
    "NCT": "series",
    "NTC": "series",
    "NHW": "image",
    "NCHW": "image",
    "NHWC": "image",
    "NCDHW": "image",
    "NDHWC": "image",
}
"""Samples, features, channels, time, depth, height, width: the axes of x, in order."""
COLOURS = range(1, 5)
"""Images have 1 to 4 channels: grey, grey and alpha, colours, colours and alpha."""
FEW_CHANNELS = 16
"""Series of more channels, or with less than two steps a channel, are asked about."""
_EXPECTED = (
    "[N, columns], [N, channels, steps], [N, height, width], [N, channels, height, width] or "
    "[N, channels, depth, height, width]"
)


def layout_of(x: npt.NDArray[Any], asked: str, *, channels_last: bool) -> str:
    """The layout of `x [N, ...]`: the one asked for, or the only reading of its shape.

    Raises ValueError where the shape does not fit, or has several readings.
    """
    by_rank = {len(name): name for name in LAYOUTS if name.endswith("C")} if channels_last else {}
    if asked == "auto" and x.ndim == 2:
        return "NF"
    layout = by_rank.get(x.ndim, "") if asked == "auto" and channels_last else asked
    if layout == "auto":
        layout = _recognised(x)
    if layout in LAYOUTS and len(layout) == x.ndim:
        return layout
    if asked not in ("auto", *LAYOUTS):
        raise ValueError(
            f"data.layout must be auto or one of {', '.join(LAYOUTS)}; found {asked!r}"
        )
    if x.ndim not in range(2, 6):
        raise ValueError(f"found x of shape {list(x.shape)}; expected numbers {_EXPECTED}")
    if asked != "auto":
        raise ValueError(
            f"data.layout={asked} has {len(asked)} axes, and x has the shape {list(x.shape)}"
        )
    fits = [name for name in LAYOUTS if len(name) == x.ndim]
    raise ValueError(
        f"x of shape {list(x.shape)} ({x.dtype}) can be read in several ways; say which axis is "
        f"which by {' or '.join(f'data.layout={name}' for name in fits)} (N samples, C channels, T "
        "steps, D depth, H height, W width)"
    )


def channels_first(x: npt.NDArray[Any], layout: str) -> npt.NDArray[Any]:
    """`[N, *S] -> [N, C, ...]`, and tables as they are."""
    if layout == "NHW":
        return x[:, None]
    return np.moveaxis(x, -1, 1) if layout.endswith("C") else x


def _recognised(x: npt.NDArray[Any]) -> str:
    """The only reading of x, or an empty text."""
    sides = x.shape[1:]
    if len(sides) == 2:
        return _series_or_grey(sides, x.dtype)
    first, last = sides[0] in COLOURS, sides[-1] in COLOURS
    if len(sides) not in (3, 4) or not (first or last):
        return ""
    if first and last:
        first = sides[-1] == sides[-2] != sides[0]
        last = sides[0] == sides[1] != sides[-1]
        if first == last:
            return ""
    return {(3, True): "NCHW", (3, False): "NHWC", (4, True): "NCDHW", (4, False): "NDHWC"}[
        len(sides), first
    ]


def _series_or_grey(sides: Sequence[int], dtype: np.dtype[Any]) -> str:
    """Bytes with two long sides are grey images; few long rows are channels of a series."""
    a, b = sides
    if dtype == np.uint8 and min(a, b) > 4 and max(a, b) <= 4 * min(a, b):
        return "NHW"
    return "NCT" if a <= FEW_CHANNELS and 2 * a <= b else ""
