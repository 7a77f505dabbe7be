"""What explainers that search for counterfactuals share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from xai_bench.core import counterfactuals
from xai_bench.types import Explanation, Inputs, Model, Rng


@dataclass(frozen=True)
class CounterfactualSearch:
    """Base of explainers that look for a point of another class.

    Attributes:
        threshold: `[]`, which splits the outputs of a regressor into two classes, from `fit`. It is
            no setting, so explainers are equal without it.
    """

    threshold: Tensor | None = field(default=None, compare=False, repr=False, kw_only=True)

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> Self:
        """The explainer with its threshold: `N` rows of a regressor and none of a classifier."""
        return replace(self, threshold=counterfactuals.threshold_of(model, background))

    def require_fit(self, model: Model) -> None:
        """Raise ValueError where a regressor's threshold is not known yet."""
        if model.n_outputs == 1 and self.threshold is None:
            raise ValueError(
                f"{type(self).__name__} has not been fitted, so what a regressor has to cross is "
                "unknown; call fit first"
            )


def explanation_of(inputs: Inputs, points: Tensor) -> Explanation:
    """The explanation by counterfactuals `points [B, M, *S]`, NaN where none was found.

    The attribution is what the nearest one changes: every element gets its share of the distance,
    and 0 where there is no counterfactual.
    """
    share = counterfactuals.changes(inputs, points, counterfactuals.prices(inputs))
    # NaN, where none was found, must not be the nearest.
    distance = share.flatten(2).cumsum(2)[..., -1].nan_to_num(nan=torch.inf)
    nearest = share[torch.arange(len(share)), distance.argmin(1)]
    return Explanation(nearest.nan_to_num(nan=0.0).to(inputs.x.dtype), counterfactuals=points)
