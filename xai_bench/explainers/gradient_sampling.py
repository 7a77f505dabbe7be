"""Gradients averaged over random points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.explainers.gradient import weighted_gradients
from xai_bench.types import Inputs, Kind, Model, Rng, Rows


@dataclass(frozen=True)
class SmoothGrad:
    """The mean gradient over copies of the input with normal noise. Smilkov+ 2017.

    `noise` is the standard deviation, in standard deviations of each element in the data.
    """

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Smilkov+ 2017, arXiv:1706.03825"
    version: ClassVar[int] = 1

    n_samples: int = 32
    noise: float = 0.15

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        spread = torch.where(inputs.units < 0, 0, self.noise * inputs.domain.scale).to(inputs.x)

        def point(k: int) -> tuple[Tensor, float]:
            noise = rng.child("noise", k).normal(*inputs.x.shape[1:]).to(inputs.x)
            return inputs.x + spread * noise, 1 / self.n_samples

        return weighted_gradients(model, inputs, targets, self.n_samples, point)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(self.n_samples, self.n_samples)


@dataclass(frozen=True)
class ExpectedGradients:
    """Integrated gradients averaged over the background: every draw takes a random background row
    and a random place on the line from it to the input. Erion+ 2021.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Erion+ 2021, arXiv:1906.10670"
    version: ClassVar[int] = 1

    n_samples: int = 64

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        background = inputs.domain.background.to(inputs.x)
        row = rng.child("background").integers(len(background), self.n_samples)
        place = rng.child("place").uniform(self.n_samples).to(inputs.x)
        axes = (1,) * (inputs.x.dim() - 1)

        def point(k: int) -> tuple[Tensor, Tensor]:
            way = torch.where(inputs.units < 0, 0, inputs.x - background[row[:, k]])
            left = (1 - place[:, k]).view(-1, *axes)
            return inputs.x - left * way, way / self.n_samples

        return weighted_gradients(model, inputs, targets, self.n_samples, point)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(self.n_samples, self.n_samples)
