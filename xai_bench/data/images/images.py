"""Images: the digits of scikit-learn, IDX files such as Fashion-MNIST, and patches as units."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xai_bench.data import shipped
from xai_bench.data.bundle import Bundle, Modality
from xai_bench.data.checks import existing_path
from xai_bench.data.labels import Labels
from xai_bench.data.sizes import require_size, unpacked_gzip
from xai_bench.data.splits import FRACTIONS, Parts, divide, partition


@dataclass(frozen=True)
class Digits:
    """Handwritten digits of scikit-learn: 1,797 grey images `[1, 8, 8]` in 0..1, ten classes.

    Units are square patches of `patch` pixels.
    """

    modality: ClassVar[Modality] = "image"
    patch: int = 2
    fractions: Sequence[float] = FRACTIONS
    split_seed: int = 0

    def load(self) -> Bundle:
        """Scale and split the images."""
        data = shipped.digits()
        # Each pixel counts 0 to 16 dots.
        x = torch.from_numpy(data.x).view(-1, 1, 8, 8).float() / 16
        y = torch.from_numpy(data.y).long()
        labels = Labels("classification", y, tuple(str(d) for d in range(10)))
        return image_bundle(x, labels, partition(y, self.fractions, self.split_seed), self.patch)


@dataclass(frozen=True)
class IdxImages:
    """Grey images in IDX files, as of MNIST and Fashion-MNIST, with their official test part.

    `folder` holds `<train>*-images-idx3-ubyte[.gz]`, `<train>*-labels-idx1-ubyte[.gz]` and the same
    for `<test>`. Pixels are scaled to 0..1. Units are square patches of `patch` pixels.
    """

    modality: ClassVar[Modality] = "image"
    folder: str
    class_names: Sequence[str]
    patch: int = 4
    train: str = "train"
    test: str = "t10k"
    fractions: Sequence[float] = FRACTIONS
    split_seed: int = 0

    def load(self) -> Bundle:
        """Read, scale and split. Raises ValueError for files that are missing or broken."""
        folder = existing_path(self.folder)
        parts = (self.train, self.test)
        images = [read_idx(_only_file(folder, f"{name}*-images-idx3-ubyte*")) for name in parts]
        classes = [read_idx(_only_file(folder, f"{name}*-labels-idx1-ubyte*")) for name in parts]
        x, y = torch.cat(images)[:, None].float() / 255, torch.cat(classes).long()
        if len(x) != len(y) or int(y.max()) >= len(self.class_names):
            raise ValueError(
                f"{folder} holds {len(x)} images and {len(y)} labels up to {int(y.max())}; "
                f"expected a label below {len(self.class_names)} (data.class_names) for each image"
            )
        labels = Labels("classification", y, tuple(self.class_names))
        rows = partition(y, self.fractions, self.split_seed, n_test=len(images[1]))
        return image_bundle(x, labels, rows, self.patch)


def image_bundle(x: Tensor, labels: Labels, parts: Parts, patch: int) -> Bundle:
    """The bundle of `x [N, channels, height, width]`, with square patches as units."""
    units, names = patches(tuple(x.shape[1:]), patch)
    return Bundle(
        labels.task,
        "image",
        *divide(x, labels.scaled(parts), units, parts),
        unit_names=names,
        class_names=labels.class_names,
        y_element=labels.element(parts),
    )


def patches(shape: tuple[int, ...], patch: int) -> tuple[Tensor, tuple[str, ...]]:
    """`(channels, height, width) -> [channels, height, width]` unit of each pixel, and their names.

    All channels of a patch are one unit. Patches at the right and lower border are smaller where
    `patch` does not divide the side. Raises ValueError for a patch larger than the image.
    """
    channels, height, width = shape
    if not 1 <= patch <= max(height, width):
        raise ValueError(
            f"data.patch must lie in 1..{max(height, width)} for images of {height} x {width} "
            f"pixels; found {patch}"
        )
    n_rows, n_columns = -(-height // patch), -(-width // patch)
    row, column = torch.arange(height) // patch, torch.arange(width) // patch
    units = row[:, None] * n_columns + column
    names = tuple(f"r{r}c{c}" for r in range(n_rows) for c in range(n_columns))
    return units.expand(channels, height, width), names


def cubes(shape: tuple[int, ...], edge: int) -> tuple[Tensor, tuple[str, ...]]:
    """`(channels, depth, height, width)` to the unit of each voxel, and the names of the units.

    All channels of a cube are one unit; those at the far borders are smaller where `edge` does not
    divide a side. Raises ValueError for a cube larger than the volume.
    """
    channels, depth, height, width = shape
    layers, names = patches((1, height, width), min(edge, max(height, width)))
    if not 1 <= edge <= max(shape[1:]):
        raise ValueError(
            f"data.patch must lie in 1..{max(shape[1:])} for volumes of {depth} x {height} x "
            f"{width} voxels; found {edge}"
        )
    layer = torch.arange(depth) // edge
    units = layer[:, None, None] * len(names) + layers[0]
    all_names = tuple(f"d{d}{name}" for d in range(-(-depth // edge)) for name in names)
    return units.expand(channels, depth, height, width), all_names


def read_idx(path: Path) -> Tensor:
    """The tensor of unsigned bytes in an IDX file (LeCun & Cortes 1998), plain or gzipped.

    Raises ValueError for a file that is broken or of another type.
    """
    if path.suffix == ".gz":
        # Before it is unpacked: a small file may hold any number of zeros.
        require_size(path, unpacked_gzip(path))
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    # The head: two zero bytes, 8 for unsigned bytes, the number of axes, then each length.
    n_axes = data[3] if len(data) > 4 and data[:3] == b"\x00\x00\x08" else 0
    shape = np.frombuffer(data, ">u4", count=n_axes, offset=4 if n_axes else 0)
    size = int(shape.prod()) + 4 + 4 * n_axes
    if not n_axes or len(data) != size:
        raise ValueError(
            f"{path} is not a whole IDX file of bytes: found {len(data)} bytes, its head says "
            f"{size if n_axes else 'something else'}; get it again"
        )
    pixels = np.frombuffer(data, np.uint8, offset=4 + 4 * n_axes).reshape(shape.tolist())
    # A copy, because what lies in `bytes` cannot be written to.
    return torch.from_numpy(pixels.copy())


def _only_file(folder: Path, pattern: str) -> Path:
    paths = sorted(folder.glob(pattern))
    if len(paths) != 1:
        names = [path.name for path in paths] or "none"
        raise ValueError(f"expected one file {pattern!r} in {folder}, found {names}")
    return paths[0]
