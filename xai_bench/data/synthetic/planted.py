"""Images in which one planted patch decides the class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from xai_bench.core import units as unit_space
from xai_bench.data.bundle import Bundle, Modality
from xai_bench.data.images.images import patches
from xai_bench.data.synthetic.functions import Generator
from xai_bench.types import Rng

CLASSES = ("horizontal", "vertical")


class MatchedFilters(nn.Module):
    """A convolution with the templates in both polarities, a threshold, and a signed sum.

    `x [B, 1, size, size] -> [B]`. A cell of the grid enters through its own filter responses only,
    and 0 responses stay below the threshold: the Shapley value of a cell, with absent cells at 0,
    is its own term. `contributions` shares it evenly among the cell's pixels.
    """

    def __init__(self, patch: int, strength: float, threshold: float = 0.5) -> None:
        super().__init__()
        templates = stripes(patch)
        self.filters = nn.Conv2d(1, 4, patch, stride=patch)
        self.relu = nn.ReLU()
        self.readout = nn.Conv2d(4, 1, 1, bias=False)
        # A whole template has the response 1, and `1 - threshold` of it passes.
        gain = strength / (1 - threshold)
        self.filters.weight = nn.Parameter(torch.cat([-templates, templates])[:, None] / patch**2)
        self.filters.bias = nn.Parameter(torch.full((4,), -threshold))
        self.readout.weight = nn.Parameter(
            gain * torch.tensor([[-1.0], [1], [-1], [1]]).view(1, 4, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[B, 1, size, size] -> [B]`: the log-odds of vertical stripes."""
        return self._cells(x).sum((1, 2, 3))

    def contributions(self, x: Tensor) -> Tensor:
        """`[B, 1, size, size]`: the Shapley value of each cell, shared among its pixels."""
        patch = self.filters.kernel_size[0]
        cells, _ = patches(tuple(x.shape[1:]), patch)
        return unit_space.spread(self._cells(x).flatten(1), cells.expand(x.shape))

    @torch.no_grad()
    def planted(self, x: Tensor) -> Tensor:
        """`[B, 1, size, size]` bool: the cell with the largest filter response."""
        patch = self.filters.kernel_size[0]
        cells, _ = patches(tuple(x.shape[1:]), patch)
        best = self.filters(x).amax(1).flatten(1).argmax(1)
        return torch.eq(cells, best[:, None, None, None])

    def _cells(self, x: Tensor) -> Tensor:
        """`[B, 1, size, size] -> [B, 1, n, n]`: the term of each cell of the grid."""
        cells: Tensor = self.readout(self.relu(self.filters(x)))
        return cells


def stripes(patch: int) -> Tensor:
    """`[2, patch, patch]`: horizontal and vertical stripes of -1 and 1; orthogonal."""
    sign = 1.0 - 2.0 * (torch.arange(patch) % 2)
    return torch.stack([sign[:, None].expand(patch, patch), sign.expand(patch, patch)])


@dataclass(frozen=True)
class PlantedPatch:
    """Noise images with one striped patch, in either polarity; class: the stripes' direction.

    Images are `[1, size, size]` with mean 0; units are the cells of a grid of `patch` pixels. The
    oracle is a matched-filter network. Truth is the Shapley value of each cell with absent cells at
    0, shared evenly among its pixels: all of it lies in the planted patch, which is the rationale.
    """

    modality: ClassVar[Modality] = "image"
    size: int = 16
    patch: int = 4
    noise: float = 0.3
    strength: float = 8.0
    n_rows: int = 2000
    seed: int = 0

    def load(self) -> Bundle:
        """Draw the images. Raises ValueError where patches do not tile the image."""
        if self.patch % 2 or self.patch < 2 or self.size % self.patch:
            raise ValueError(
                f"data.patch must be even and divide data.size; found patch {self.patch} and size "
                f"{self.size}"
            )
        units, names = patches((1, self.size, self.size), self.patch)
        score = MatchedFilters(self.patch, self.strength)
        generator = Generator(self.draw, score, "classification", self.n_rows, self.seed)
        bundle = generator.bundle(units, names, "image")
        train, valid, test = (
            replace(split, rationale=score.planted(split.x))
            for split in (bundle.train, bundle.valid, bundle.test)
        )
        return replace(bundle, class_names=CLASSES, train=train, valid=valid, test=test)

    def draw(self, rng: Rng) -> Tensor:
        """`[B, 1, size, size]` float64: normal noise and one template in one cell."""
        n = self.size // self.patch
        cell = nn.functional.one_hot(rng.child("cell").integers(n * n), n * n).double()
        sign = rng.child("sign").integers(2)[:, None, None].double() * 2 - 1
        template = sign * stripes(self.patch).double()[rng.child("class").integers(2)]
        grid = cell.view(-1, n, 1, n, 1) * template[:, None, :, None, :]
        noise = self.noise * rng.child("noise").normal(self.size, self.size)
        return (noise + grid.reshape(-1, self.size, self.size))[:, None]
