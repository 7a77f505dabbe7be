"""What is removed as one: helpers for the `units` of a workbench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xai_bench.core.caller_tensors import dense_units
from xai_bench.core.spelling import listed

if TYPE_CHECKING:
    import pandas as pd

_NEAR = 1.0
"""How much nearness in place counts beside nearness in colour."""
_ROUNDS = 10


def patches(height: int, width: int, size: int) -> Tensor:
    """`[height, width]` long: squares of `size` pixels a side, smaller at the far borders.

    Raises ValueError for a size that the picture does not hold.

    >>> import xai_bench
    >>> xai_bench.patches(4, 4, 2)
    tensor([[0, 0, 1, 1],
            [0, 0, 1, 1],
            [2, 2, 3, 3],
            [2, 2, 3, 3]])
    """
    if not 1 <= size <= max(height, width):
        raise ValueError(
            f"patches of {size} pixels in a picture of {height} x {width}; expected 1 to "
            f"{max(height, width)}"
        )
    row, column = torch.arange(height) // size, torch.arange(width) // size
    return row[:, None] * (-(-width // size)) + column


def superpixels(image: Any, n: int = 50) -> Tensor:
    """`[H, W]` long of a picture `[H, W]`, `[C, H, W]` or `[H, W, 3]`: about `n` connected regions
    of one colour. Of pictures `[N, C, H, W]`, `[N, H, W]`.

    Pixels are clustered by colour and place from a grid of starts (SLIC, Achanta+ 2012, with all
    pixels as candidates); regions that are not connected are taken apart, and what is smaller than
    a quarter of the mean size joins its neighbour. Raises ValueError for other shapes.

    >>> import torch, xai_bench
    >>> halves = torch.zeros(8, 8)
    >>> halves[:, 4:] = 1
    >>> xai_bench.superpixels(halves, n=2).unique(dim=0)
    tensor([[0, 0, 0, 0, 1, 1, 1, 1]])
    """
    given = torch.as_tensor(image).detach().cpu().double()
    if given.dim() == 4:
        return torch.stack([superpixels(each, n) for each in given])
    if given.dim() == 2:
        given = given[None]
    if given.dim() != 3 or n < 1:
        raise ValueError(
            f"a picture of shape {list(given.shape)}, n={n}; expected [H, W], [C, H, W] or "
            "[H, W, 3], and at least one region"
        )
    if given.shape[0] not in (1, 3, 4) and given.shape[2] in (1, 3, 4):
        given = given.movedim(2, 0)
    labels = _clustered(given.numpy(), min(n, given[0].numel()))
    return torch.from_numpy(_connected(labels, given[0].numel() / n / 4))


def columns(frame: pd.DataFrame, groups: Mapping[str, Sequence[str]] | None = None) -> Tensor:
    """`[columns]` long: the columns of a frame, those of one group as one unit.

    Left out, columns `colour_red` and `colour_blue` that are 0 or 1, and never 1 together, are the
    parts of one category, as `pandas.get_dummies` makes them. Raises ValueError for columns that
    the frame does not have.

    >>> import pandas as pd, xai_bench
    >>> frame = pd.get_dummies(pd.DataFrame({"age": [20, 30], "colour": ["red", "blue"]}))
    >>> list(frame.columns), xai_bench.columns(frame)
    (['age', 'colour_blue', 'colour_red'], tensor([0, 1, 1]))
    """
    names = [str(name) for name in frame.columns]
    members_of = _dummies(frame, names) if groups is None else groups
    owner: dict[str, str] = {}
    for group, members in members_of.items():
        for name in members:
            if name not in names:
                raise ValueError(f"the frame has no column {name!r}; it has {listed(names)}")
            owner[name] = f"group {group}"
    places: dict[str, int] = {}
    units = [places.setdefault(owner.get(n, f"column {n}"), len(places)) for n in names]
    return torch.tensor(units)


def fitted_units(units: object, x: Tensor) -> Tensor:
    """Long `[N, *S]`, dense: units given as `[*S]`, as `[N, *S]`, or without the channels.

    Raises ValueError for other shapes.
    """
    arrays = isinstance(units, list) or hasattr(units, "__array__")
    if not arrays and not isinstance(units, Tensor):
        raise ValueError(f"units is a {type(units).__name__}; expected whole numbers, [*S]")
    given = units.detach().cpu() if isinstance(units, Tensor) else torch.from_numpy(np.array(units))
    shape = x.shape[1:]
    if given.shape not in (x.shape, shape) and given.dim() >= 1 and x.dim() > 2:
        if given.shape == shape[1:]:
            given = given.expand(shape)
        elif given.shape == (len(x), *shape[1:]):
            given = given[:, None].expand(x.shape)
    return dense_units(given, x)


def unit_names(elements: Sequence[str], units: Tensor) -> tuple[str, ...]:
    """One name for each unit of a sample, `units [*S]`, from those of its elements.

    Of several elements it is what their names begin with, or else the first and how many more.
    """
    flat = units.flatten().tolist()
    named: dict[int, list[str]] = {}
    for name, unit in zip(elements, flat, strict=True):
        if unit >= 0:
            named.setdefault(unit, []).append(name)
    return tuple(_shared_name(named[unit]) for unit in sorted(named))


def _shared_name(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    start = names[0]
    for name in names[1:]:
        same = [a == b for a, b in zip(start, name, strict=False)]
        start = start[: same.index(False) if False in same else len(same)]
    return start.rstrip("_=[ ,.") or f"{names[0]} and {len(names) - 1} more"


def _dummies(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, list[str]]:
    """Prefix -> the columns that look like the parts of one category."""
    prefixes: dict[str, list[str]] = {}
    for name in names:
        prefixes.setdefault(name.rpartition("_")[0], []).append(name)
    values = {p: frame[own].to_numpy() for p, own in prefixes.items() if p and len(own) > 1}
    return {p: prefixes[p] for p, rows in values.items() if _are_parts(rows)}


def _are_parts(rows: npt.NDArray[Any]) -> bool:
    if rows.dtype.kind not in "biuf":
        return False
    numbers = rows.astype(np.float64)
    return bool(np.isin(numbers, (0, 1)).all() and (numbers.sum(1) <= 1).all())


def _clustered(image: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.int64]:
    """`[C, H, W] -> [H, W]`: k-means over colour and place, from a grid of starts."""
    _, height, width = image.shape
    spread = max(float(image.std()), 1e-12)
    row, column = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    step = max((height * width / n) ** 0.5, 1.0)
    place = np.stack([row, column]) * (_NEAR / step)
    # Colours in deviations and places in steps of the grid: one weight serves all pictures.
    points = np.concatenate([image / spread, place]).reshape(len(image) + 2, -1).T
    across = max(round(width / step), 1)
    down = max(-(-n // across), 1)
    rows = ((np.arange(down) + 0.5) * height / down).astype(int)
    starts = ((np.arange(across) + 0.5) * width / across).astype(int)
    centers = points.reshape(height, width, -1)[np.ix_(rows, starts)].reshape(-1, points.shape[1])
    labels = np.zeros(len(points), dtype=np.int64)
    # As many as Achanta+ 2012 found enough for most pictures.
    for _ in range(_ROUNDS):
        labels = np.argmin(_distances(points, centers), axis=1)
        sums = np.zeros_like(centers)
        np.add.at(sums, labels, points)
        counts = np.bincount(labels, minlength=len(centers))[:, None]
        centers = np.where(counts > 0, sums / np.maximum(counts, 1), centers)
    return labels.reshape(height, width)


def _distances(
    points: npt.NDArray[np.float64], centers: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """`[P, K]` squared, less what all centers share."""
    return np.asarray((centers**2).sum(1) - 2 * points @ centers.T)


def _connected(labels: npt.NDArray[np.int64], smallest: float) -> npt.NDArray[np.int64]:
    """Connected regions, numbered from 0; small ones join the region before them, or below."""
    from scipy import ndimage

    regions = np.zeros_like(labels)
    total = 0
    for label in np.unique(labels):
        parts, count = ndimage.label(labels == label)
        regions = np.where(parts > 0, parts + total, regions)
        total += count
    sizes = np.bincount(regions.ravel(), minlength=total + 1)
    # The smallest first, and counted anew below: what others have joined may be large enough.
    for region in np.argsort(sizes[1:], kind="stable") + 1:
        inside = regions == region
        if 0 < inside.sum() < smallest:
            around = regions[ndimage.binary_dilation(inside) & ~inside]
            if len(around):
                regions[inside] = np.bincount(around).argmax()
    _, first, place = np.unique(regions, return_index=True, return_inverse=True)
    numbers = np.argsort(np.argsort(first))  # in the order in which rows meet them
    return numbers[place].reshape(labels.shape).astype(np.int64)
