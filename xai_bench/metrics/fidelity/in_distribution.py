"""Fidelity measured on a model that has learnt to live with missing units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.core.seeds import Seeds
from xai_bench.metrics.common import once_per_cell, variants_of
from xai_bench.metrics.probes.removal.curves import counts
from xai_bench.types import Baseline, Case, Imputer, Inputs, KnownScores, Model, Rng, Unsupported

_CHUNK = 256
"""Rows whose references are in memory at once."""


@dataclass(frozen=True)
class FFidelity:
    """Mean drop of the output when a few of the top units are removed, less that of other units.

    The model is retrained by its own recipe on inputs from which a random share of the units, up to
    `beta`, is removed: so no removal here is news to it. Of the top `fraction` of units, as many as
    `beta` of all are removed at random, `n_draws` times, and as many of the rest. Chance is 0. NaN
    where either side has no unit. One model is trained for each cell, whichever explainer asks.
    Zheng+ 2024, who fine-tune.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Zheng+ 2024, arXiv:2410.02970"
    permutation_invariant: ClassVar[bool] = False
    best_per_sample: ClassVar[bool] = False
    # It needs a recipe, which the eight units do not have.
    known_scores: ClassVar[KnownScores] = KnownScores()
    baseline: Baseline
    beta: float = 0.2
    fraction: float = 0.3
    n_draws: int = 20

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the output; raises `Unsupported` without data or recipe."""
        model = once_per_cell(case, self, lambda: self._model(case))
        inputs, rng = case.inputs, case.rng.child("f_fidelity")
        n_units = units.count(inputs.units)[:, None]
        top_n, most = (counts(n_units[:, 0], (s,)) for s in (self.fraction, self.beta))
        scores = units.pool(case.attribution.double(), inputs.units)
        is_top = units.ranking(scores, inputs.units, rng=rng) < top_n
        is_rest = ~is_top & units.present(inputs.units)
        # As many on both sides, so that their number has no part in the difference.
        n_removed = torch.minimum(most, torch.minimum(top_n, n_units - top_n))
        order = rng.child("removed").uniform(self.n_draws, units.width(inputs.units))
        kept = torch.cat([~first_of(side, n_removed, order) for side in (is_rest, is_top)], dim=1)
        values = coalitions.values(model, inputs, case.targets, kept, self.baseline, rng=rng)
        others, top = values.split(self.n_draws, dim=1)
        return torch.where(n_removed[:, 0] > 0, others.mean(1) - top.mean(1), torch.nan)

    def _model(self, case: Case) -> Model:
        """The same recipe on inputs with missing units."""
        variants = variants_of(case)
        if isinstance(self.baseline, Imputer):
            raise Unsupported("f_fidelity removes units before training, by a baseline of its own")
        parts = []
        for name in ("train", "valid"):
            inputs, _, _ = variants.split(name)
            rng = Seeds(0).stream("f_fidelity", name, samples=inputs.index)
            parts.append(self._masked(inputs, rng))
        return variants.degraded(parts[0], parts[1])

    def _masked(self, inputs: Inputs, rng: Rng) -> Tensor:
        """`[N, *S]`: a random share of the units, up to `beta`, is gone from each."""
        share = self.beta * rng.child("share").uniform(1)
        n_removed = (share * units.count(inputs.units)[:, None]).round()
        order = rng.child("order").uniform(1, units.width(inputs.units))
        gone = first_of(units.present(inputs.units), n_removed, order)
        masked = []
        for rows in torch.arange(len(inputs)).split(_CHUNK):
            part, own = inputs.take(rows), rng.take(rows)
            # One reference a row: training sees many rows, and each stands for one draw.
            fill = self.baseline.references(part, rng=own)[:, :1]
            masked.append(coalitions.remove(part, ~gone[rows], fill)[:, 0, 0])
        return torch.cat(masked)


def first_of(among: Tensor, n: Tensor, order: Tensor) -> Tensor:
    """`[B, U]` bool, `[B, 1]`, `[B, K, U] -> [B, K, U]` bool: `n` of these units, by `order`."""
    keyed = torch.where(among[:, None], order, torch.inf)
    return (keyed.argsort(2).argsort(2) < n[:, None]) & among[:, None]
