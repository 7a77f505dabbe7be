"""Whether positive attribution for a class lies on the images of that class in a mosaic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.metrics.common import total, variants_of
from xai_bench.types import Case, KnownScores, Rng, Unsupported


@dataclass(frozen=True)
class Focus:
    """Share of the positive attribution that lies on the sample's class in a mosaic of four images.

    Two quadrants, in random places, show the sample and another image of its true class, two show
    other classes, each at half the size; the mosaic is explained for that class, channels added up.
    The other images are drawn from the first `n_others` of the validation part. Chance is 1/2. NaN
    where nothing is positive, or that part has no such images. For targets that rise with the
    output of the class. Costs one explanation.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Arias-Duart+ 2022, arXiv:2109.15035"
    known_scores_retrained: ClassVar[KnownScores] = KnownScores(exact=1, random=1 / 2)
    n_others: int = 256

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        if case.inputs.x.dim() != 4:
            raise Unsupported(
                f"mosaics need images [channels, height, width]; these inputs have shape "
                f"{list(case.inputs.x.shape[1:])}"
            )
        if case.labels is None or case.labels.is_floating_point() or case.model.n_outputs < 2:
            raise Unsupported("mosaics show several classes; they need a classifier and labels")
        others, _, labels = variants_of(case).split("valid")
        rows, exist = _drawn(case.labels, labels[: self.n_others], case.rng.child("focus"))
        images = torch.cat([case.inputs.x[:, None], others.x[rows]], dim=1)
        # Random places, so that a map that always prefers one corner scores at chance.
        place = case.rng.child("focus", "places").uniform(4).argsort(1)
        shown = images[torch.arange(len(images))[:, None], place]
        inputs = case.inputs.with_x(_mosaic(shown))
        attribution = case.explain(inputs, targets=case.labels)
        pixels = torch.where(inputs.units < 0, 0, attribution.double()).cumsum(1)[:, -1]
        # Images 0 and 1 are of the class; their quadrants are traced through the mosaic as ones.
        inside = _mosaic((place < 2).to(pixels)[:, :, None, None, None].expand(shown.shape))[:, 0]
        positive = pixels.clamp(min=0).flatten(1)
        share = total(positive * inside.flatten(1)) / total(positive)
        return torch.where(exist, share, torch.nan)


def _drawn(labels: Tensor, others: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """`[B], [M] -> [B, 3] long, [B] bool`: a row of the same class and two of others, if any."""
    if len(others) < 3:
        raise Unsupported("mosaics need at least three images in the validation part")
    same, draws = labels[:, None] == others, rng.uniform(len(others))
    of_class, of_others = torch.where(same, draws, -1), torch.where(same, -1, draws)
    # The largest draws: uniform among the rows of each kind, and the same for all explainers.
    rows = [of_class.argmax(1, keepdim=True), of_others.argsort(1, descending=True)[:, :2]]
    return torch.cat(rows, dim=1), same.any(1) & ((~same).sum(1) > 1)


def _mosaic(images: Tensor) -> Tensor:
    """`[B, 4, C, H, W] -> [B, C, H, W]`: each image is shrunk into its quadrant by averaging."""
    height, width = images.shape[-2:]
    heights, widths = ((size // 2, size - size // 2) for size in (height, width))
    tiles = [
        functional.adaptive_avg_pool2d(image, (heights[place // 2], widths[place % 2]))
        for place, image in enumerate(images.unbind(1))
    ]
    return torch.cat([torch.cat(tiles[:2], dim=3), torch.cat(tiles[2:], dim=3)], dim=2)
