"""What the certificate of a metric must show."""

from __future__ import annotations

from collections.abc import Sequence

from xai_bench.certify.check_result import CheckResult, faults
from xai_bench.types import Metric, tags_of


def keeps_what_it_states(metric: Metric, results: Sequence[CheckResult]) -> None:
    """No fault, and an invariance is seen where it is stated, and only there."""
    assert faults(results) == []
    shown = {result.title: result.shown for result in results if not result.declined}
    tags = tags_of(metric)
    observed = shown.get("ignores the size of a map", tags.scale_invariant)
    assert observed in ("yes" if tags.scale_invariant else "no", tags.scale_invariant)
    observed = shown.get("same for units in another order", tags.permutation_invariant)
    assert observed in ("yes" if tags.permutation_invariant else "no", tags.permutation_invariant)
