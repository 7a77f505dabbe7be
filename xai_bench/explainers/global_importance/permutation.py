"""Global importance: one ranking of the units for the whole model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.core import units
from xai_bench.explainers.global_importance.class_outputs import of_layout
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


@dataclass(frozen=True)
class PermutationImportance:
    """The mean rise of the loss over the background when a unit is shuffled between its rows.

    The loss is cross-entropy or the squared error; where labels are unknown, the rise is the mean
    size of the change in the predicted class's output. A fall counts as 0. Every sample gets the
    same explanation. Breiman 2001.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "global_importance"
    paper: ClassVar[str] = "Breiman 2001, doi:10.1023/A:1010933404324"

    n_repeats: int = 5
    importance: Tensor | None = field(default=None, compare=False, repr=False)
    layout: Tensor | None = field(default=None, compare=False, repr=False)

    @torch.no_grad()
    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> PermutationImportance:
        """Ready to explain; `importance` and `layout`, its units, are `[*S]`.

        Takes `N * (1 + U * n_repeats)` rows.
        """
        require_variation(background)
        if self.n_repeats < 1:
            raise ValueError(f"found n_repeats {self.n_repeats}; a unit is shuffled at least once")
        intact = _outputs(model, background)
        rises = torch.zeros(1, units.width(background.units), dtype=torch.float64)
        for repeat in range(self.n_repeats):
            noise = rng.child("shuffle", repeat).uniform(rises.shape[1], len(background))[0]
            for unit, order in enumerate(noise.argsort(1)):
                mixed = torch.where(background.units == unit, background.x[order], background.x)
                shuffled = _outputs(model, background.with_x(mixed))
                rises[0, unit] += _rise(intact, shuffled, background.domain.labels)
        mean = (rises / self.n_repeats).clamp(min=0)
        spread = units.spread(mean, background.units[:1])[0]
        return replace(self, importance=spread, layout=background.units[0])

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        if self.importance is None or self.layout is None:
            raise ValueError(
                "permutation importance has nothing to tell before fit; call fit first"
            )
        return Explanation(of_layout(self.importance, self.layout, inputs))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)


def require_variation(background: Inputs) -> None:
    """Raise `Unsupported` where the background rows cannot tell elements apart."""
    if bool((background.x == background.x[:1]).all()):
        raise Unsupported(
            "a global explanation is learnt from background rows that differ; "
            f"found {len(background)} equal rows"
        )


def _outputs(model: Model, inputs: Inputs) -> Tensor:
    """`[N, C]` float64, at most `max_rows` at a time."""
    batches = torch.arange(len(inputs)).split(model.max_rows)
    return torch.cat([model.outputs(inputs.take(rows)) for rows in batches]).double()


def _rise(intact: Tensor, shuffled: Tensor, labels: Tensor | None) -> Tensor:
    """`[N, C], [N, C], [N] -> []`: the mean damage done to the outputs."""
    if labels is None:
        predicted = intact.argmax(1, keepdim=True)
        return (shuffled - intact).gather(1, predicted).abs().mean()
    return (_loss(shuffled, labels) - _loss(intact, labels)).mean()


def _loss(outputs: Tensor, labels: Tensor) -> Tensor:
    if labels.is_floating_point() or outputs.shape[1] == 1:
        return (outputs[:, 0] - labels) ** 2
    return functional.cross_entropy(outputs, labels, reduction="none")
