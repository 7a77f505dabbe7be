"""Small maths that several metrics share."""

from __future__ import annotations

from torch import Tensor

from xai_bench.core import units
from xai_bench.types import Case, Unsupported


def total(values: Tensor) -> Tensor:
    """`[..., U] -> [...]`: the sum, added up one by one.

    `Tensor.sum` groups its terms by their number, so zeros in padding columns would change the last
    bit with the longest sample of the batch.
    """
    return values.cumsum(-1)[..., -1]


def mean(values: Tensor) -> Tensor:
    """`[..., U] -> [...]`: the mean, with the sum of `total`."""
    return total(values) / values.shape[-1]


def norm(values: Tensor, n_lead: int) -> Tensor:
    """Euclidean norm over all but the first `n_lead` axes."""
    return total(values.flatten(n_lead).square()).sqrt()


def pooled(case: Case) -> Tensor:
    """`[B, U]` float64: the attribution of each unit."""
    return units.pool(case.attribution.double(), case.inputs.units)


def contributions(case: Case, difference_from_reference: Tensor | None) -> Tensor:
    """`[B, U]`: attributions in units of the target output.

    A contribution is one already; a sensitivity times `difference_from_reference [B, *S]`, x less
    its mean reference, is one. Raises `Unsupported` for scores that have no unit.
    """
    if case.kind == "contribution":
        return pooled(case)
    if case.kind == "sensitivity" and difference_from_reference is None:
        raise Unsupported(
            "a sensitivity needs to know how far each element is moved by its removal; with this "
            "baseline that depends on what else is removed"
        )
    if case.kind == "sensitivity" and difference_from_reference is not None:
        return units.pool(case.attribution.double() * difference_from_reference, case.inputs.units)
    raise Unsupported(
        f"attributions of kind '{case.kind}' are not in units of the model's output; this metric "
        "compares them with output changes"
    )
