"""Agreement of the explanation with the rationale that people marked, a yes or no for every unit.

What people find plausible need not be what the model does: none of this is fidelity. The top
`ceil(fraction * U)` units by signed attribution are the predicted rationale; `fraction`
should be the mean share of units that people marked in this data. The mask is the one of
`metrics.truth.localisation`. NaN where it is empty or holds every unit. Costs no rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.metrics.probes.removal.curves import counts
from xai_bench.metrics.ties import Blocks
from xai_bench.metrics.truth.localisation import Places
from xai_bench.types import Case, KnownScores


@dataclass(frozen=True)
class TokenF1:
    """Harmonic mean of precision and recall of the predicted units, `2 hits / (k + m)`.

    Tied units count by their probability to be predicted. Chance is `2 k m / (U (k + m))`. NaN
    where `k` is all units.
    """

    category: ClassVar[str] = "plausibility"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("rationale",)
    paper: ClassVar[str] = "DeYoung+ 2020, arXiv:1911.03429"
    # Two units are predicted, three are marked.
    known_scores: ClassVar[KnownScores] = KnownScores(
        exact=2 * 2 / (2 + 3), opposite=0, random=2 * 2 * 3 / (8 * (2 + 3))
    )
    fraction: float = 0.25

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        places = Places.of(case, "unit")
        n_units = units.count(case.inputs.units)
        k = counts(n_units, (self.fraction,))
        f1 = 2 * places.hits(k) / (k[:, 0] + places.inside.sum(1))
        return places.scored(torch.where(k[:, 0] < n_units, f1, torch.nan))


@dataclass(frozen=True)
class TokenIOUF1:
    """F1 over runs of neighbouring units, predicted against marked.

    A predicted run is right where it shares more than half of its union with a marked run. Ties are
    shuffled. Units follow each other in the order of their numbers, as tokens do. NaN
    where `k` is all units.
    """

    category: ClassVar[str] = "plausibility"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("rationale",)
    paper: ClassVar[str] = "DeYoung+ 2020, arXiv:1911.03429 (IOU F1, sample by sample)"
    permutation_invariant: ClassVar[bool] = False
    # The units 7 and 8 are two thirds of the marked run 6 7 8. By chance: only 6 7 and 7 8, of 28
    # pairs, are one run and more than half of the union; a single unit is at most a third of it.
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=0, random=2 / 28)
    fraction: float = 0.25

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        places = Places.of(case, "unit")
        n_units = units.count(case.inputs.units)
        k = counts(n_units, (self.fraction,))
        rank = units.ranking(
            places.attribution, case.inputs.units, rng=case.rng.child("token_iou_f1")
        )
        f1 = _run_f1(rank < k, places.inside)
        return places.scored(torch.where(k[:, 0] < n_units, f1, torch.nan))


@dataclass(frozen=True)
class TokenAUPRC:
    """Area under precision and recall of the units that people marked, by signed attribution.

    The mean, over marked units, of the precision down to their place; tied units are taken in every
    order. Unlike `auprc` it reads the sign, since people mark what speaks for the class.
    """

    category: ClassVar[str] = "plausibility"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("rationale",)
    paper: ClassVar[str] = "DeYoung+ 2020, arXiv:1911.03429; McSherry & Najork 2008 (ties)"
    # The three marked units come last in reverse order: precisions 1 / 6, 2 / 7, 3 / 8. By chance,
    # as for `auprc`: the sum of 1 / p up to 8 is 761 / 280.
    known_scores: ClassVar[KnownScores] = KnownScores(
        exact=1, opposite=(1 / 6 + 2 / 7 + 3 / 8) / 3, random=2 / 7 + 5 / 7 * (761 / 280) / 8
    )

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        places = Places.of(case, "unit")
        ties = Blocks.of(places.attribution, places.inside, places.real)
        return places.scored(ties.average_precision(places.inside.sum(1)))


def _run_f1(predicted: Tensor, marked: Tensor) -> Tensor:
    """`[B, U] bool, [B, U] bool -> [B]`: F1 over runs."""
    # A run of units that are both predicted and marked lies in exactly one run of each.
    both = predicted & marked
    shared = _run_length(both)
    union = _run_length(predicted) + _run_length(marked) - shared
    hits = (_starts(both) & (2 * shared > union)).sum(1)
    return 2 * hits.double() / (_starts(predicted).sum(1) + _starts(marked).sum(1))


def _starts(on: Tensor) -> Tensor:
    """`[B, U]` bool: where a run begins."""
    before = torch.cat([torch.zeros_like(on[:, :1]), on[:, :-1]], dim=1)
    return on & ~before


def _run_length(on: Tensor) -> Tensor:
    """`[B, U]` long: how long the run is that a unit lies in; meaningless outside of runs."""
    # Units outside of runs are counted to the run before them, with nothing to add.
    run = _starts(on).cumsum(1)
    sizes = torch.zeros(len(on), on.shape[1] + 1, dtype=torch.long)
    return sizes.scatter_add_(1, run, on.long()).gather(1, run)
