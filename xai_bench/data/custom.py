"""Your own data, recognised by its path, and folders of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from xai_bench.data.arrays import CustomArrays
from xai_bench.data.bundle import Bundle, Modality
from xai_bench.data.checks import existing_path
from xai_bench.data.images.images import image_bundle
from xai_bench.data.images.pictures import read_picture
from xai_bench.data.labels import AskedTask, read_labels
from xai_bench.data.splits import FRACTIONS, partition
from xai_bench.data.tables.files import CustomTable
from xai_bench.data.tables.settings import FileSettings

MAX_SIZE = 4096
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Custom(FileSettings):
    """Your own data, by its path: a table in any usual format, NPZ arrays, or a folder of images.

    It has the settings most data need; `custom_table`, `custom_arrays` and `custom_images` have
    them all. `target` names the column of a table; `patch` is for images, `size` for folders,
    `layout` for arrays. `name` is what results call the data.
    """

    path: str
    target: str | None = None
    task: AskedTask = "auto"
    test_path: str | None = None
    patch: int = 4
    size: int = 32
    layout: str = "auto"
    name: str = ""

    def load(self) -> Bundle:
        """Read, split and scale. Raises ValueError with one sentence for a user's mistake."""
        return self.reader().load()

    def reader(self) -> CustomTable | CustomArrays | CustomImages:
        """The dataset for what lies at `path`. Raises ValueError for a table without `target`."""
        path, split = existing_path(self.path), (self.fractions, self.split_seed)
        if path.is_dir():
            return CustomImages(self.path, self.size, self.patch, "rgb", *split)
        if path.suffix.lower() == ".npz":
            return CustomArrays(
                self.path, self.task, self.patch, False, *split, self.layout, self.scale
            )
        if self.target is None:
            raise ValueError(f"{path} is read as a table: name its target column (data.target=...)")
        return CustomTable(
            self.path, self.target, self.task, test_path=self.test_path, **self.file_settings()
        )


@dataclass(frozen=True)
class CustomImages:
    """Your own images: a folder with one sub-folder per class, named as the class.

    Images are turned as their orientation mark says, laid on white where they are transparent,
    resized to `size` x `size` and scaled to 0..1, of 8 or 16 bits; floats must lie in 0..1.
    `colour` is rgb or grey. Units are square patches of `patch` pixels.
    """

    modality: ClassVar[Modality] = "image"
    path: str
    size: int = 32
    patch: int = 4
    colour: str = "rgb"
    fractions: Sequence[float] = FRACTIONS
    split_seed: int = 0
    name: str = ""

    def load(self) -> Bundle:
        """Read and resize all images. Raises ValueError for files that are none."""
        if self.colour not in ("rgb", "grey"):
            raise ValueError(f"data.colour must be rgb or grey; found {self.colour!r}")
        if not 1 <= self.size <= MAX_SIZE:
            raise ValueError(f"data.size must lie in 1..{MAX_SIZE} pixels; found {self.size}")
        files = _image_files(existing_path(self.path))
        x = torch.stack([read_picture(p, self.size, grey=self.colour == "grey") for p in files])
        classes = np.array([path.parent.name for path in files])
        labels = read_labels(classes, str(self.path), "classification")
        return image_bundle(
            x, labels, partition(labels.y, self.fractions, self.split_seed), self.patch
        )


def _image_files(folder: Path) -> list[Path]:
    """All images in the sub-folders, in order of class and name."""
    files = sorted(p for p in folder.glob("*/*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise ValueError(
            f"{folder} has no images in sub-folders; expected one sub-folder per class, with "
            f"{', '.join(IMAGE_SUFFIXES)} files"
        )
    return files
