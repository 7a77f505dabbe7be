"""Your own arrays in an NPZ file: tables, series or images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xai_bench.data.bundle import Bundle, Modality
from xai_bench.data.checks import existing_path
from xai_bench.data.images.images import cubes, patches
from xai_bench.data.labels import AskedTask, in_single, read_labels, require_exact
from xai_bench.data.layouts import LAYOUTS, channels_first, layout_of
from xai_bench.data.npz import load_npz, names_in
from xai_bench.data.splits import FRACTIONS, Parts, divide, moments, partition, standardise
from xai_bench.data.tables.settings import Scale, is_raw
from xai_bench.types import Element


@dataclass(frozen=True)
class CustomArrays:
    """Your own arrays: an NPZ file with `x` and `y`, and if you like `units`, `x_test`, `y_test`.

    `x [N, columns]` is a table and is standardised; `[N, channels, steps]` are series, standardised
    per channel; `[N, height, width]`, `[N, channels, height, width]` and volumes `[N, channels,
    depth, height, width]` are images: unsigned whole numbers are scaled to 0..1, others are left as
    they are. Channels may be last, too. A shape that has several readings is refused; `layout` then
    says which axis is which (`NF`, `NCT`, `NTC`, `NHW`, `NCHW`, `NHWC`, `NCDHW`, `NDHWC`).
    Scaling is learned on the training part; the target of a regression is standardised too.
    `scale=none` leaves all numbers as they are in the file.

    `units [*S]` says what is removed as one; without it these are columns, segments of `patch`
    steps in one channel, square patches or cubes. `masks` says where the evidence lies, non-zero
    inside: of the shape of x, or of x without its channels; with an official test part,
    `masks_test` too.
    """

    path: str
    task: AskedTask = "auto"
    patch: int = 4
    channels_last: bool = False
    fractions: Sequence[float] = FRACTIONS
    split_seed: int = 0
    layout: str = "auto"
    scale: Scale = "standard"
    name: str = ""

    def load(self) -> Bundle:
        """Read, split and scale. Raises ValueError with one sentence for a user's mistake."""
        arrays = read_arrays(existing_path(self.path))
        x, y, n_test = _joined(arrays)
        raw = is_raw(self.scale)
        layout = layout_of(x, self.layout, channels_last=self.channels_last)
        modality, x = LAYOUTS[layout], channels_first(x, layout)
        if modality != "image":
            require_exact(x.ravel(), "x")
        labels = replace(read_labels(y, "y", self.task), raw=raw)
        parts = partition(labels.y, self.fractions, self.split_seed, n_test)
        units, names = self._units(arrays, x.shape[1:])
        return Bundle(
            labels.task,
            modality,
            *divide(
                _scaled(x, parts, modality, raw=raw),
                labels.scaled(parts),
                units,
                parts,
                rationale=self._rationale(arrays, x.shape, layout),
            ),
            unit_names=names,
            class_names=labels.class_names,
            elements=_elements(x, parts, raw=raw),
            y_element=labels.element(parts),
        )

    def _units(
        self, arrays: Mapping[str, npt.NDArray[Any]], shape: tuple[int, ...]
    ) -> tuple[Tensor, tuple[str, ...]]:
        if "units" not in arrays:
            return default_units(shape, self.patch)
        ids = arrays["units"]
        given = ids.astype(np.float64) if _is_real(ids) else np.full(ids.shape, np.nan)
        if ids.shape != shape:
            raise ValueError(
                f"units in {self.path} have shape {list(ids.shape)}; expected the shape of one "
                f"sample, {list(shape)}, channels first"
            )
        if ids.dtype.kind == "b" or not (np.isfinite(given) & (given == np.floor(given))).all():
            raise ValueError(f"units in {self.path} hold {ids.dtype}; expected whole numbers")
        distinct = np.unique(given[given != -1])
        if not len(distinct) or (distinct != np.arange(len(distinct))).any():
            shown = f"{distinct[0]:.0f} to {distinct[-1]:.0f}" if len(distinct) else "-1 only"
            raise ValueError(
                f"units in {self.path} are {shown}, {len(distinct)} different ones; expected ids "
                "from 0 on without gaps, -1 for what is never removed"
            )
        units, n_units = torch.from_numpy(given.astype(np.int64)), len(distinct)
        return units, tuple(f"unit {k}" for k in range(n_units))

    def _rationale(
        self, arrays: Mapping[str, npt.NDArray[Any]], shape: tuple[int, ...], layout: str
    ) -> Tensor | None:
        """`[N, *S]` bool or None; a mask without channels is that of every channel."""
        if "masks" not in arrays:
            return None
        parts = [arrays[name] for name in ("masks", "masks_test") if name in arrays]
        if not all(map(_is_real, parts)) or len({part.shape[1:] for part in parts}) > 1:
            kinds = " and ".join(f"{list(part.shape)} ({part.dtype})" for part in parts)
            raise ValueError(
                f"masks in {self.path} have shape {kinds}; expected numbers or truth values, of "
                "one shape in masks and masks_test"
            )
        if not all(np.isfinite(part).all() for part in parts):
            raise ValueError(f"masks in {self.path} hold NaN or infinity; expected 0 or 1")
        masks = torch.from_numpy(np.concatenate([np.atleast_1d(part) for part in parts]) != 0)
        if masks.dim() == len(shape) and layout.endswith("C"):
            masks = masks.movedim(-1, 1)
        if masks.dim() == len(shape) - 1 and len(shape) > 2:
            masks = masks[:, None].expand(-1, shape[1], *masks.shape[1:])
        if tuple(masks.shape) != shape:
            raise ValueError(
                f"masks in {self.path} have shape {list(masks.shape)}; expected {list(shape)}, or "
                "that without the channels, for all samples, those in x_test too"
            )
        return masks


def default_units(shape: tuple[int, ...], patch: int) -> tuple[Tensor, tuple[str, ...]]:
    """`[*S]` units of one sample and their names: columns, segments in a channel, or patches."""
    if len(shape) == 1:
        return torch.arange(shape[0]), tuple(f"x{k + 1}" for k in range(shape[0]))
    if len(shape) == 3:
        return patches(shape, patch)
    if len(shape) == 4:
        return cubes(shape, patch)
    channels, steps = shape
    if not 1 <= patch <= steps:
        raise ValueError(
            f"data.patch must lie in 1..{steps} for series of {steps} steps; found {patch}"
        )
    n_segments = -(-steps // patch)
    units = torch.arange(channels)[:, None] * n_segments + torch.arange(steps) // patch
    return units, tuple(f"c{c}s{s}" for c in range(channels) for s in range(n_segments))


_ARRAYS = ("x", "y", "x_test", "y_test", "units", "masks", "masks_test")
"""The arrays of a file that are read."""


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an NPZ file, which must hold `x` and `y`; never unpickles."""
    arrays = load_npz(path, _ARRAYS)
    has_test = bool({"x_test", "y_test"} & set(arrays))
    expected = {"x", "y", "x_test", "y_test"} if has_test else {"x", "y"}
    if expected - set(arrays):
        raise ValueError(
            f"{path} holds the arrays {names_in(path)}; expected x and y, and if you like units, "
            "x_test and y_test"
        )
    if "masks_test" in arrays and not {"masks", "x_test"} <= set(arrays):
        raise ValueError(f"{path} holds masks_test; expected masks and x_test beside it")
    return arrays


def _joined(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[Any, Any, int]:
    """`x [N, *S]`, `y [N]` and how many of the last rows are an official test part."""
    pairs = [(arrays["x"], arrays["y"])]
    if "x_test" in arrays:
        pairs.append((arrays["x_test"], arrays["y_test"]))
    for x, y in pairs:
        _require_samples(x, y)
    if len({x.shape[1:] for x, _ in pairs}) > 1:
        raise ValueError("samples in x and x_test have different shapes; expected the same")
    _require_alike(pairs)
    n_test = len(pairs[1][0]) if len(pairs) > 1 else 0
    x, y = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    return x, y, n_test


def _require_alike(pairs: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> None:
    """Raise ValueError where joining the official test part would change what values mean.

    Pixels are scaled by the largest number of their type, and numbers are no texts.
    """
    types, kinds = {x.dtype for x, _ in pairs}, {y.dtype.kind in "US" for _, y in pairs}
    if len(types) > 1 and any(dtype.kind in "ub" for dtype in types):
        raise ValueError(
            f"x holds {pairs[0][0].dtype} and x_test {pairs[1][0].dtype}; expected the same type"
        )
    if len(kinds) > 1:
        raise ValueError(
            f"y holds {pairs[0][1].dtype} and y_test {pairs[1][1].dtype}; expected numbers in "
            "both, or texts in both"
        )


def _require_samples(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> None:
    """Raise ValueError unless x holds finite numbers and y one label per sample."""
    if x.ndim < 2 or 0 in x.shape or not _is_real(x) or y.shape != x.shape[:1]:
        raise ValueError(
            f"found x of shape {list(x.shape)} ({x.dtype}) and y of shape {list(y.shape)}; "
            "expected numbers of at most 64 bits, [N, columns], [N, channels, steps], [N, height, "
            "width] or [N, channels, height, width], no axis empty, and y [N]"
        )
    if not (_is_real(y) or y.dtype.kind in "US"):
        raise ValueError(f"y holds {y.dtype}; expected numbers of at most 64 bits, or texts")
    # Before scaling, which would spread one bad value over its whole column.
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        raise ValueError(
            f"x has {len(bad)} values that are NaN or infinite, the first at "
            f"{bad[0].tolist()}; expected finite numbers: fill them or leave out those samples"
        )


def _is_real(array: npt.NDArray[Any]) -> bool:
    return array.dtype.kind in "biuf" and array.dtype.itemsize <= 8


def _elements(x: npt.NDArray[Any], parts: Parts, *, raw: bool) -> tuple[Element, ...]:
    """What the columns of a table say in the words of the file."""
    if x.ndim > 2:
        return ()
    if raw:
        return tuple(Element() for _ in range(x.shape[1]))
    named = zip(*moments(torch.from_numpy(x.astype(np.float64)), parts.train), strict=True)
    return tuple(Element(mean.item(), scale.item()) for mean, scale in named)


def _scaled(x: npt.NDArray[Any], parts: Parts, modality: Modality, *, raw: bool) -> Tensor:
    """`[N, *S] -> [N, *S]` float32."""
    if modality == "image":
        return _pixels(x, raw=raw)
    values = torch.from_numpy(x.astype(np.float64))
    if raw and modality == "tabular":
        return torch.stack([in_single(column, "x") for column in values.unbind(1)], dim=1)
    if raw:
        return in_single(values, "x")
    if modality == "tabular":
        return standardise(values, parts.train)
    # All steps of a channel are on one scale, or their shape over time would be lost.
    rows = values[parts.train]
    mean, deviation = rows.mean((0, 2)), rows.transpose(0, 1).flatten(1).std(1, correction=0)
    scale = torch.where(deviation > 0, deviation, 1.0)
    return ((values - mean[:, None]) / scale[:, None]).float()


def _pixels(x: npt.NDArray[Any], *, raw: bool) -> Tensor:
    """`[N, *S] -> [N, *S]` float32: unsigned whole numbers by their largest, unless raw."""
    pixels = torch.from_numpy(np.ascontiguousarray(x))
    if x.dtype.kind == "u" and not raw:
        return pixels.float() / np.iinfo(x.dtype).max
    return in_single(pixels, "x")
