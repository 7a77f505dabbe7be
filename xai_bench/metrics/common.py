"""Sums, norms, units of attribution and memory that several metrics share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from xai_bench.core import units
from xai_bench.types import Case, ModelVariants, Unsupported

T = TypeVar("T")


def total(values: Tensor) -> Tensor:
    """`[..., U] -> [...]`: the sum, added up one by one.

    `Tensor.sum` groups its terms by how many there are, so zeros in padding columns would change
    the last bit of a sample with the longest sample of its batch.
    """
    return values.cumsum(-1)[..., -1]


def mean(values: Tensor) -> Tensor:
    """`[..., U] -> [...]`: the mean, with the sum of `total`."""
    return total(values) / values.shape[-1]


def norm(values: Tensor, n_lead: int) -> Tensor:
    """Euclidean norm over all but the first `n_lead` axes, with the sum of `total`."""
    return total(values.flatten(n_lead).square()).sqrt()


def pooled(case: Case) -> Tensor:
    """`[B, U]` float64: the attribution of each unit, its elements added up."""
    return units.pool(case.attribution.double(), case.inputs.units)


def contributions(case: Case, difference_from_reference: Tensor | None) -> Tensor:
    """`[B, U]`: attributions in units of the target output.

    A contribution is one already. A sensitivity, a change of the output per change of an element,
    becomes one by the product with `difference_from_reference [B, *S]`, x less its mean reference.
    Raises `Unsupported` for kinds that have no unit, and for a sensitivity where the difference is
    None.
    """
    if case.kind == "contribution":
        return pooled(case)
    if case.kind == "sensitivity" and difference_from_reference is None:
        raise Unsupported(
            "a sensitivity is converted by how much removal changes each element, and with this "
            "baseline that depends on what else is removed"
        )
    if case.kind == "sensitivity" and difference_from_reference is not None:
        # A slope times the change it is followed over: in a linear model exactly the contribution.
        return units.pool(case.attribution.double() * difference_from_reference, case.inputs.units)
    raise Unsupported(
        f"attributions of kind '{case.kind}' are not in units of the model's output; this metric "
        "compares them with output changes"
    )


def once_per_cell(case: Case, key: object, make: Callable[[], T]) -> T:
    """What `make` gives, made once for all batches of this explainer."""
    if key not in case.cell:
        case.cell[key] = make()
    made: T = case.cell[key]
    return made


def variants_of(case: Case) -> ModelVariants:
    """Other models of the cell. Raises `Unsupported` where data or recipe are not at hand."""
    if case.variants is None:
        raise Unsupported(
            "this metric fits the model again, and needs its data and recipe: from Python, "
            "workbench(..., background=, background_labels=, recipe=)"
        )
    return case.variants
