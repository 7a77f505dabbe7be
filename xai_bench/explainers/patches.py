"""Occlusion of images by a square patch that slides over rows and columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.explainers.credit import Credits, explained
from xai_bench.explainers.removal import all_but, require_cover, shared_drops, windows
from xai_bench.types import Baseline, Inputs, Kind, Model, Range, Rng, Rows, Unsupported


@dataclass(frozen=True)
class PatchOcclusion:
    """The drop of the output when a square patch of an image, in all channels, is removed.

    A patch's drop is shared evenly by its pixels; a pixel gets the mean over the patches that
    cover it, shared by its channels. The last patches of a row or column end at the edge. Zeiler &
    Fergus 2014, who give every pixel the whole drop: the same up to the factor `patch^2`.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Zeiler & Fergus 2014, arXiv:1311.2901"
    version: ClassVar[int] = 1
    search: ClassVar[Mapping[str, Range]] = {"patch": Range(1, 8, whole=True)}

    baseline: Baseline
    patch: int = 3
    stride: int = 1

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        require_cover("occlusion_patches", "patch", self.patch, self.stride)
        if inputs.x.dim() != 4:
            raise Unsupported(
                "occlusion_patches needs images [channels, height, width]; these inputs have "
                f"shape {list(inputs.x.shape[1:])}: take occlusion"
            )
        height, width = inputs.x.shape[2:]
        pixels = torch.arange(height * width).view(height, width).expand_as(inputs.x)
        scheme = _Patches(self.baseline, height, width, self.patch, self.stride)
        return explained(scheme, model, replace(inputs, units=pixels), targets, rng=rng)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return None  # the number of units does not tell height and width


@dataclass(frozen=True)
class _Patches:
    """All pixels, then all but those of each patch."""

    baseline: Baseline
    height: int
    width: int
    patch: int
    stride: int

    def coalitions(self, n_units: int) -> Tensor:
        down, across = (windows(n, self.patch, self.stride) for n in (self.height, self.width))
        return all_but((down[:, None, :, None] & across[None, :, None, :]).flatten(2).flatten(0, 1))

    def solve(self, kept: Tensor, values: Tensor) -> Credits:
        return shared_drops(kept, values)
