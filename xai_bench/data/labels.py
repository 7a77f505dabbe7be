"""The target of a dataset: classes or values, read from a column of any type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xai_bench.data.bundle import Task
from xai_bench.data.splits import Parts, moments, standardise
from xai_bench.types import Element

AskedTask = Literal["auto", "classification", "regression"]
MAX_CODES = 20
"""`auto` takes whole numbers with more different values than this for a regression target."""

LARGEST = 1e150
"""The square of more, times a count of rows, is infinite."""
EXACT = 2.0**53
"""Whole numbers beyond this have no float64 of their own."""
ROUNDED = 0.01
"""Standard deviations by which single precision may move a number that is not scaled."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """`y [N]`: long class indices into `class_names`, or float64 values as in the file.

    `raw` values are not standardised.
    """

    task: Task
    y: Tensor
    class_names: tuple[str, ...] = ()
    raw: bool = False

    def scaled(self, parts: Parts) -> Tensor:
        """`[N]`: classes unchanged; values standardised on the training rows, float32."""
        if self.raw and self.task == "regression":
            return in_single(self.y, "the target")
        return self.y if self.task == "classification" else standardise(self.y, parts.train)

    def element(self, parts: Parts) -> Element:
        """What one of the `scaled` values says in the words of the file."""
        if self.task == "classification" or self.raw:
            return Element()
        mean, scale = moments(self.y, parts.train)
        return Element(mean.item(), scale.item())


def read_labels(values: npt.NDArray[Any], name: str, task: AskedTask = "auto") -> Labels:
    """The labels of a column `values [N]` without gaps, whose name messages use.

    Under `auto`, text, truth values and up to `MAX_CODES` different whole numbers are classes.
    Raises ValueError where there is nothing to learn, or the task does not fit the values.
    """
    if len(values) == 0:
        raise ValueError(f"the target {name!r} has no rows; expected one value per sample")
    numeric = values.dtype.kind in "iuf"
    if numeric and not np.isfinite(values).all():
        raise ValueError(f"the target {name!r} has values that are NaN or infinite; remove them")
    keys = values if numeric else values.astype(str)
    distinct, codes, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    if len(distinct) < 2:
        raise ValueError(
            f"the target {name!r} has only one value ({distinct[:1].tolist()}), so there is "
            "nothing to learn; choose another target"
        )
    if task == "classification" or (task == "auto" and _are_codes(distinct, numeric=numeric)):
        return _classes(distinct, codes, sizes, name)
    if not numeric:
        raise ValueError(
            f"the target {name!r} holds text such as {str(distinct[0])!r}, which regression cannot "
            "use; set data.task=classification or choose a number column"
        )
    require_exact(values, name)
    return Labels("regression", torch.from_numpy(values.astype(np.float64)))


def require_exact(values: npt.NDArray[Any], name: str, *, whole: bool | None = None) -> None:
    """Raise ValueError for numbers `[N]` that float64 does not hold, or whose square it does not.

    NaN is allowed. `whole` says whether they are written as whole numbers, of which every digit
    counts; left out, their type does.
    """
    if len(values) == 0 or values.dtype.kind == "b":
        return
    largest = float(np.nanmax(np.abs(values.astype(np.float64)), initial=0))
    if largest > LARGEST:
        raise ValueError(
            f"{name!r} holds numbers as large as {largest:.3g}, whose variance is beyond float64; "
            "use another unit"
        )
    whole = values.dtype.kind in "iu" if whole is None else whole
    if whole and largest > EXACT:
        raise ValueError(
            f"{name!r} holds whole numbers as large as {largest:.0f}, which float64 cannot tell "
            "apart; they look like an identifier: leave it out"
        )


def in_single(values: Tensor, name: str) -> Tensor:
    """`[N, ...]` as float32. Raises ValueError where rounding would make other data of them."""
    single = values.float()
    if values.dtype.itemsize <= 2 or values.dtype == single.dtype:
        return single
    values = values.double()
    moved, spread = (single.double() - values).abs().max(), values.std(correction=0)
    if values.min() < values.max() and not moved <= ROUNDED * spread:
        raise ValueError(
            f"{name!r} holds numbers as large as {values.abs().max():.17g} with a standard "
            f"deviation of {spread:.3g}, and single precision moves them by up to {moved:.3g}: "
            "scale them (not data.scale=none), or subtract a constant from them"
        )
    return single


def value_name(value: Any) -> str:
    """How a value is written in tables: 1.0 is `1`."""
    is_whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if is_whole else str(value)


def _are_codes(distinct: npt.NDArray[Any], *, numeric: bool) -> bool:
    are_whole = not numeric or bool((distinct == np.floor(distinct)).all())
    return not numeric or (len(distinct) <= MAX_CODES and are_whole)


def _classes(
    distinct: npt.NDArray[Any], codes: npt.NDArray[np.intp], sizes: npt.NDArray[np.intp], name: str
) -> Labels:
    names = tuple(value_name(value) for value in distinct)
    single = [names[k] for k in np.flatnonzero(sizes < 2)]
    if single:
        raise ValueError(
            f"class {single[0]!r} of the target {name!r} has a single row, which cannot be both "
            "trained on and tested; remove that row, merge the class, or set data.task=regression "
            "if the target is a number"
        )
    return Labels("classification", torch.from_numpy(codes.astype(np.int64)), names)
