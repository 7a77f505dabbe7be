"""Permutation importance: what the model loses when a unit is shuffled between rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.core import units
from xai_bench.core.calls.model_outputs import outputs
from xai_bench.explainers.global_importance.fitted_importance import (
    FittedImportance,
    GlobalImportance,
    require_variation,
)
from xai_bench.types import Inputs, Kind, Model, Rng


@dataclass(frozen=True)
class PermutationImportance(GlobalImportance):
    """The mean rise of the loss over the background when a unit is shuffled between its rows.

    The loss is cross-entropy or the squared error; where labels are unknown, the rise is the mean
    size of the change in the predicted class's output. A fall counts as 0. Every sample gets the
    same explanation. Breiman 2001.

    Attributes:
        n_repeats: shuffles per unit, over which the rise is averaged.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "global_importance"
    needs: ClassVar[tuple[str, ...]] = ("background", "shared_units")
    paper: ClassVar[str] = "Breiman 2001, doi:10.1023/A:1010933404324"
    # Rows in which columns differ; losses do not add up.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry", "linearity")

    n_repeats: int = 5

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> PermutationImportance:
        """The explainer with its importance; takes `N * (1 + U * n_repeats)` rows.

        Raises `Unsupported` where all background rows are equal, ValueError without a repeat.
        """
        require_variation(background)
        if self.n_repeats < 1:
            raise ValueError(f"found n_repeats {self.n_repeats}; a unit is shuffled at least once")
        intact = outputs(model, background)
        rises = torch.zeros(units.width(background.units), dtype=torch.float64)
        for repeat in range(self.n_repeats):
            # Every unit has an order of its own, so that a bad draw is not bad for all of them.
            noise = rng.child("shuffle", repeat).uniform(len(rises), len(background))[0]
            for unit, order in enumerate(noise.argsort(1)):
                mixed = torch.where(background.units == unit, background.x[order], background.x)
                shuffled = outputs(model, background.with_x(mixed))
                rises[unit] += _rise(intact, shuffled, background.domain.labels)
        # A unit whose shuffling helps by chance matters no more than one that is never read.
        mean = (rises / self.n_repeats).clamp(min=0)
        return replace(self, fitted=FittedImportance.of_units(background, mean))


def _rise(intact: Tensor, shuffled: Tensor, labels: Tensor | None) -> Tensor:
    """`[N, C], [N, C], [N] -> []`: the mean damage done to the outputs."""
    if labels is None:
        predicted = intact.argmax(1, keepdim=True)
        return (shuffled - intact).gather(1, predicted).abs().mean()
    return (_loss(shuffled, labels) - _loss(intact, labels)).mean()


def _loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """`[N, C], [N] -> [N]`: squared error of values, cross-entropy of classes."""
    if labels.is_floating_point() or outputs.shape[1] == 1:
        return (outputs[:, 0] - labels) ** 2
    return functional.cross_entropy(outputs, labels, reduction="none")
