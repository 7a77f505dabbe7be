"""What mathematics says of scores on the ladder, worked out by hand.

The ladder: eight units worth 1, 2, ..., 8, so `f = 36` at x and 0 at the baseline. An average unit
is worth 4.5. `best` is the score of the exact map, `reverse` that of its negative, `chance` the
mean over maps of random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist, fmean


@dataclass(frozen=True, slots=True)
class Expected:
    """None where it is not known or depends on draws."""

    best: float | None = None
    reverse: float | None = None
    chance: float | None = None


_VARIANCE = 63 / 12
"""Of 1, 2, ..., 8."""
_SETS = 1 + 1 + 1 + 2 + 4
"""1, 5, 10, 20 and 50 % of eight units, rounded up: five numbers of units."""
_TOP, _BOTTOM = 8 + 8 + 8 + 15 + 26, 1 + 1 + 1 + 3 + 10
"""What so many units are worth, from the top and from the bottom."""
_LOWEST = (36 / 2 + 28 + 21 + 15 + 10 + 6 + 3 + 1) / 8
"""Area under the outputs that are left when the largest go first; 36 less it in reverse."""


def _covered() -> float:
    """A standard normal credit that is said to be off by about 1, and values of 1, ..., 8."""
    normal, half = NormalDist(), NormalDist().inv_cdf(0.975)
    return fmean(normal.cdf(k + half) - normal.cdf(k - half) for k in range(1, 9))


EXPECTED: Mapping[str, Expected] = {
    "deletion": Expected(_LOWEST, 36 - _LOWEST, 18),
    "insertion": Expected(36 - _LOWEST, _LOWEST, 18),
    "abpc": Expected(36 - 2 * _LOWEST, 2 * _LOWEST - 36, 0),
    "comprehensiveness": Expected(_TOP / 5, _BOTTOM / 5, 4.5 * _SETS / 5),
    "sufficiency": Expected(36 - _TOP / 5, 36 - _BOTTOM / 5, 36 - 4.5 * _SETS / 5),
    "faithfulness_correlation": Expected(1, -1, 0),
    # two of eight units are removed: a drop of 9, its variance, and the map's own two numbers
    "infidelity": Expected(0, None, 9**2 + _VARIANCE * 2 * 6 / 7 + 2),
    "feature_agreement": Expected(1, 1, 2 / 8),
    "sign_agreement": Expected(1, 0, 2 / 16),
    "rank_agreement": Expected(1, 1, 1 / 8),
    "top_k_precision": Expected(1, 1, 3 / 8),
    "cosine_to_shapley": Expected(1, -1, 0),
    "faithfulness_estimate": Expected(1, -1, 0),
    "tau_loo": Expected(1, -1, 0),
    "sensitivity_n": Expected(1, -1, 0),
    "monotonicity_correlation": Expected(chance=0),
    "monotonicity_arya": Expected(chance=1 / 2),
    "completeness_gap": Expected(best=0),
    "surrogate_r2": Expected(best=1),
    "infidelity_scaled": Expected(0, 0),  # any factor is free, the sign too
    "soft_comprehensiveness": Expected(chance=18),
    "soft_sufficiency": Expected(chance=18),
    "aopc": Expected(36 - _LOWEST, _LOWEST, 18),
    "selectivity": Expected(_LOWEST, 36 - _LOWEST, 18),
    "irof": Expected(1 - _LOWEST / 36, _LOWEST / 36, 1 / 2),
    "normalised_aopc": Expected(1, 0, 1 / 2),
    "signed_rank_agreement": Expected(1, 0, 1 / 16),
    "pairwise_rank_agreement": Expected(1, 1, 1 / 2),
    "rank_correlation": Expected(1, 1, 0),
    "shapley_distance": Expected(0, 2),
    # errors of 1: within 1.96 of the value
    "interval_coverage": Expected(1, 0, _covered()),
    # from here on three of eight units are relevant
    "recall_at_k": Expected(2 / 3, 2 / 3, 2 / 8),
    "auroc": Expected(1, 1, 1 / 2),
    "auprc": Expected(1, 1, 2 / 7 + 5 / 7 * sum(1 / place for place in range(1, 9)) / 8),
    "mass_on_irrelevant": Expected(0, 0, 5 / 8),
    "first_hit_rank": Expected(chance=1 / 4),
    "pointing_game": Expected(1, None, 3 / 8),
    "relevance_mass": Expected(1, None, 3 / 8),
    "relevance_rank": Expected(1, None, 3 / 8),
    "token_f1": Expected(2 * 2 / (2 + 3), None, 2 * 2 * 3 / (8 * (2 + 3))),
    # maps that have nothing to do with each other
    "mprt_top_down": Expected(chance=0),
    "mprt_bottom_up": Expected(chance=0),
    "mprt_independent": Expected(chance=0),
    "smooth_mprt": Expected(chance=0),
    "random_logit": Expected(chance=0),
    "label_randomisation": Expected(chance=0),
}
"""Metric -> what it must give."""

_SQUARES = (144.0, 25.0, 9.0, 4.0, 1.0, 0.25)
"""What six columns add to the squared output, on average: the loss of a model without them."""
_LOST = (144 + 169 + 178) / 3
_LEAST = (0.25 + 1.25 + 5.25) / 3
"""10, 30 and 50 % of six columns are 1, 2 and 3: the largest, and the smallest."""

TAUGHT: Mapping[str, Expected] = {
    "roar": Expected(_LOST, _LEAST),
    "kar": Expected(sum(_SQUARES) - _LOST, sum(_SQUARES) - _LEAST),
    # all models are the same function
    "model_agreement": Expected(1, 1, 0),
    # the largest columns tell the class, the smallest ones nothing of it
    "consistency": Expected(1, 1 / 2),
    "sufficiency_dasgupta": Expected(1, 1 / 2),
    "focus": Expected(best=1, chance=1 / 2),
}
"""Metric that retrains, or looks at other samples -> what it must give in `certify.taught`."""
