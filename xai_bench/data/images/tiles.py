"""Tiles cut from photos, with a mask of where the evidence lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xai_bench.core.seeds import Seeds
from xai_bench.data.bundle import Bundle, Modality
from xai_bench.data.checks import existing_path
from xai_bench.data.images.images import patches
from xai_bench.data.npz import load_npz
from xai_bench.data.splits import FRACTIONS, Parts, boundaries, divide


@dataclass(frozen=True)
class PhotoTiles:
    """An NPZ file with `images [N, H, W, 3]` bytes, `labels [N]`, `masks [N, H, W]`, `source [N]`.

    Pixels are scaled to 0..1 and units are square patches. `masks` are non-zero where people mark
    the evidence: the rationale. `source` names the photo of a tile; the tiles of one photo all go
    to the same part.
    """

    modality: ClassVar[Modality] = "image"
    path: str
    class_names: Sequence[str]
    patch: int = 8
    fractions: Sequence[float] = FRACTIONS
    split_seed: int = 0

    def load(self) -> Bundle:
        """Read, scale and split by photo. Raises ValueError where there is no such file."""
        wanted = ("images", "labels", "masks", "source")
        arrays = load_npz(existing_path(self.path), wanted)
        absent = set(wanted) - set(arrays)
        if absent:
            raise ValueError(f"{self.path} holds {sorted(arrays)}; it lacks {sorted(absent)}")
        x = torch.from_numpy(arrays["images"]).movedim(-1, 1).float() / 255
        masks = torch.from_numpy(arrays["masks"] != 0)[:, None].expand(x.shape)
        y = torch.from_numpy(arrays["labels"].astype(np.int64))
        photo = torch.from_numpy(np.unique(arrays["source"], return_inverse=True)[1]).long()
        units, names = patches(tuple(x.shape[1:]), self.patch)
        parts = by_group(photo, self.fractions, self.split_seed)
        return Bundle(
            "classification",
            self.modality,
            *divide(x, y, units, parts, rationale=masks),
            unit_names=names,
            class_names=tuple(self.class_names),
        )


def by_group(groups: Tensor, fractions: Sequence[float], seed: int) -> Parts:
    """The parts of rows with `groups [N]` long codes: a whole group is always in one part.

    The fractions are shares of the groups.
    """
    n_groups = int(groups.max()) + 1
    keys = Seeds(seed).stream("split", "groups", samples=torch.arange(n_groups)).uniform()
    # By rank and not by the draw itself, so that every part gets its share.
    place = ((keys.argsort().argsort() + 0.5) / n_groups)[groups]
    train, valid = boundaries(fractions, official_test=False)
    part = (place >= train).long() + (place >= valid).long()
    order = Seeds(seed).stream("split", "order", samples=torch.arange(len(groups))).uniform()
    shuffled = order.argsort()
    return Parts(*(shuffled[part[shuffled] == number] for number in range(3)))
