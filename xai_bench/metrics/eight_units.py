"""Numbers worked out by hand for the linear model on which `xai-bench check` tries every metric.

It has eight units worth 1, 2, ..., 8, so its output is 36 at x and 0 where all are removed. The
metrics state from these numbers what they must score there (`known_scores`).
"""

OUTPUT = 36.0
"""At x, and so the drop when all units are removed."""

MEAN_UNIT = OUTPUT / 8
"""Worth of a unit drawn at random."""

VARIANCE = 63 / 12
"""Of 1, 2, ..., 8: the variance of the discrete uniform law is (8^2 - 1) / 12."""

LOWEST_AREA = (36 / 2 + 28 + 21 + 15 + 10 + 6 + 3 + 1) / 8
"""Area under the outputs left, by trapezoids, when the largest units are removed first."""

HIGHEST_AREA = OUTPUT - LOWEST_AREA
"""The same when the smallest are removed first: both curves add up to 36 at mirrored places."""

TOP_SHARES = (8 + 8 + 8 + 15 + 26) / 5
"""Mean worth of the top 1, 5, 10, 20 and 50 % of eight units: 1, 1, 1, 2 and 4 units."""

BOTTOM_SHARES = (1 + 1 + 1 + 3 + 10) / 5
"""Mean worth of as many units from the bottom."""

MEAN_SHARES = MEAN_UNIT * (1 + 1 + 1 + 2 + 4) / 5
"""Mean worth of as many units drawn at random."""
