"""What the model predicts while the most important units are removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.core.calls.model_outputs import outputs, outputs_at
from xai_bench.metrics.probes.removal.curves import counts
from xai_bench.types import Baseline, Case, Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """The class that is predicted at x, as units are removed; means over the references.

    Attributes:
        removed: `[B, M]` long, how many units are.
        log_probability: `[B, M]` of that class; intact: `[B]`, at x.
        lead: `[B, M]`, its output less the largest of the other classes; negative where the
            prediction is another one.
    """

    removed: Tensor
    log_probability: Tensor
    intact: Tensor
    lead: Tensor


@dataclass(frozen=True)
class TopRemoved:
    """The top `ceil(f * U)` units by signed attribution are removed, at least one, for every `f`.

    Costs `1 + R * D` rows for `D` distinct numbers of units. The ranking, its ties and the
    references are those of the removal curves. Raises `Unsupported` for a model that is no
    classifier.
    """

    shared: ClassVar[bool] = False
    baseline: Baseline
    fractions: tuple[float, ...]

    @torch.no_grad()
    def measure(self, case: Case) -> Decisions:
        """The predictions of every sample of the case."""
        if case.model.n_outputs < 2:
            raise Unsupported("only a classifier has a decision that can change")
        inputs, rng = case.inputs, case.rng.child("removal_curves")
        removed = counts(units.count(inputs.units), self.fractions).clamp(min=1)
        distinct, column = removed.unique(dim=1, return_inverse=True)
        scores = units.pool(case.attribution.double(), inputs.units)
        rank = units.ranking(scores, inputs.units, rng=rng)
        kept = rank[:, None] >= distinct[:, :, None]
        points = coalitions.points(inputs, kept, self.baseline, rng=rng)
        at = outputs_at(case.model, inputs, points.flatten(1, 2))
        at = at.view(*points.shape[:3], -1)
        before = outputs(case.model, inputs)
        chosen = before.argmax(1)
        log_probability, lead = _of_class(at, chosen)
        intact = before.log_softmax(1).gather(1, chosen[:, None])[:, 0]
        return Decisions(
            removed, log_probability.mean(2)[:, column], intact, lead.mean(2)[:, column]
        )


def _of_class(outputs: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """`[B, D, R, C], [B] -> [B, D, R]` twice: log-probability of a class, and its lead."""
    place = chosen[:, None, None, None].expand(*outputs.shape[:3], 1)
    own = outputs.gather(3, place)[..., 0]
    # The lead decides, not a probability above 1/2: of many classes the largest may have less.
    others = outputs.scatter(3, place, -torch.inf).amax(3)
    return outputs.log_softmax(3).gather(3, place)[..., 0], own - others
