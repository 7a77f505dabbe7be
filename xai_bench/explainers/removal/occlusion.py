"""Explainers that remove units and measure how far the output drops."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core.sliding_windows import DENSE, Axis, WindowDesign
from xai_bench.explainers.removal.engine import (
    FixedCoalitions,
    NullUnits,
    UnitAttributions,
    explain_by_design,
)
from xai_bench.explainers.removal.row_products import row_matmul
from xai_bench.types import (
    Baseline,
    Explanation,
    Inputs,
    Kind,
    Model,
    Range,
    Rng,
    Rows,
    Unsupported,
)


@dataclass(frozen=True)
class LeaveOneOut(FixedCoalitions):
    """The drop of the output when one unit is removed. Li+ 2016."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Li+ 2016, arXiv:1612.08220"

    def n_coalitions(self, n_units: int) -> int:
        """The full one, and one without each unit."""
        return n_units + 1

    def coalitions(self, n_units: int) -> Tensor | WindowDesign:
        """`[1 + u, u]` bool: the full coalition first."""
        return without_windows((n_units,), 1, 1)

    def solve(self, kept: Tensor | WindowDesign, values: Tensor) -> UnitAttributions:
        """The full coalition's value less that without each unit."""
        return UnitAttributions(values[:, :1] - values[:, 1:])


@dataclass(frozen=True)
class Occlusion(FixedCoalitions):
    """The drop of the output when a sliding window of consecutive units is removed.

    A window's drop is shared evenly by its units; a unit gets the mean over the windows that cover
    it. The last window ends at the last unit. A unit that equals every reference gets 0. Zeiler &
    Fergus 2014, who give every unit the whole drop: the same up to the factor `window`.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Zeiler & Fergus 2014, arXiv:1311.2901"
    version: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {"window": Range(1, 8, whole=True)}
    # A window holds neighbours, and ends at the edge.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry")

    window: int = 3
    stride: int = 1

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The shared drops of the units; raises ValueError where windows leave some uncovered."""
        require_cover("occlusion", "window", self.window, self.stride)
        return super().explain(model, inputs, targets, rng=rng)

    def n_coalitions(self, n_units: int) -> int:
        """The full one, and one without each window."""
        return 1 + n_windows(n_units, self.window, self.stride)

    def coalitions(self, n_units: int) -> Tensor | WindowDesign:
        """`[1 + n_windows, u]` bool: the full coalition first."""
        return without_windows((n_units,), self.window, self.stride)

    def solve(self, kept: Tensor | WindowDesign, values: Tensor) -> UnitAttributions:
        """See `shared_drops`."""
        return shared_drops(kept, values)


@dataclass(frozen=True)
class PatchOcclusion:
    """The drop of the output when a square patch of an image, in all channels, is removed.

    A patch's drop is shared evenly by its pixels; a pixel gets the mean over the patches that
    cover it, shared by its channels. The last patches of a row or column end at the edge. A pixel
    that equals every reference in all channels gets 0. Zeiler & Fergus 2014, who give every pixel
    the whole drop: the same up to the factor `patch^2`.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    needs: ClassVar[tuple[str, ...]] = ("image",)
    paper: ClassVar[str] = "Zeiler & Fergus 2014, arXiv:1311.2901"
    version: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {"patch": Range(1, 8, whole=True)}

    baseline: Baseline
    patch: int = 3
    stride: int = 1

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` for what is no image, ValueError where pixels are uncovered."""
        require_cover("occlusion_patches", "patch", self.patch, self.stride)
        if inputs.x.dim() != 4:
            raise Unsupported(
                "occlusion_patches needs images [channels, height, width]; these inputs have "
                f"shape {list(inputs.x.shape[1:])}: take occlusion"
            )
        height, width = inputs.x.shape[2:]
        # Patches overlap as they please: here a pixel is a unit, whatever the units of the data.
        pixels = torch.arange(height * width).view(height, width).expand_as(inputs.x)
        patches = _Patches(self.baseline, height, width, self.patch, self.stride)
        return explain_by_design(patches, model, replace(inputs, units=pixels), targets, rng=rng)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """Unknown: height and width do not follow from the number of units."""
        return None


@dataclass(frozen=True)
class _Patches:
    """All pixels, then all but those of each patch."""

    null_units: ClassVar[NullUnits] = "zero"

    baseline: Baseline
    height: int
    width: int
    patch: int
    stride: int

    def coalitions(self, n_units: int) -> Tensor | WindowDesign:
        return without_windows((self.height, self.width), self.patch, self.stride)

    def solve(self, kept: Tensor | WindowDesign, values: Tensor) -> UnitAttributions:
        return shared_drops(kept, values)


def require_cover(name: str, what: str, size: int, stride: int) -> None:
    """Raise ValueError where a stride leaves something between two windows."""
    if not 1 <= stride <= size:
        raise ValueError(
            f"{name} found {what} {size} and stride {stride}; "
            f"give 1 <= stride <= {what}, so that everything is covered"
        )


def n_windows(length: int, size: int, stride: int) -> int:
    """The number of windows that `windows` gives."""
    return 1 + math.ceil(max(length - size, 0) / stride)


def without_windows(lengths: Sequence[int], size: int, stride: int) -> Tensor | WindowDesign:
    """`[1 + n, u]` bool: the full coalition, and those without each window over axes of these
    lengths; built at once where that takes little memory.
    """
    design = WindowDesign.over(*(Axis.of(length, size, stride) for length in lengths))
    small = math.prod(design.shape) <= DENSE
    return design.built(design.rows) if small else design


def shared_drops(kept: Tensor | WindowDesign, values: Tensor) -> UnitAttributions:
    """Of the full coalition and windows: a window's drop is shared evenly by its units, and a unit
    gets the mean over the windows that cover it.
    """
    if isinstance(kept, WindowDesign):
        return UnitAttributions(kept.mean_drops(values))
    dropped = (~kept[1:]).double()
    # By the window's size, so that an additive model keeps its scale; by the cover, so that units
    # at the ends, which fewer windows reach, do not fall short.
    share = dropped / dropped.sum(1, keepdim=True) / dropped.sum(0)
    return UnitAttributions(row_matmul(values[:, :1] - values[:, 1:], share))
