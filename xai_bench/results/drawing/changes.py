"""What a counterfactual changes, in the words of the data's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from xai_bench.types import Element


@dataclass(frozen=True)
class Change:
    """One unit before and after; both are empty where a category without names becomes another."""

    unit: str
    before: str
    after: str


def changes(
    x: Tensor, point: Tensor, units: Tensor, names: Sequence[str], elements: Sequence[Element] = ()
) -> tuple[Change, ...] | None:
    """The changes from `x [*S]` to `point [*S]`, the largest first; None where none was found.

    Values are in the units of the file where its `elements` are given, else in the scale of x.
    """
    if point.isnan().any():
        return None
    size = (point - x).abs().double()
    sizes = {int(unit): size[units == unit].sum().item() for unit in units[size > 0].unique()}
    order = sorted(sizes, key=lambda unit: -sizes[unit])
    return tuple(
        Change(
            unit_name(unit, names),
            held(x, units == unit, elements),
            held(point, units == unit, elements),
        )
        for unit in order
    )


def held(x: Tensor, of_unit: Tensor, elements: Sequence[Element] = ()) -> str:
    """What one sample `x [*S]` has in a unit: a number or a category; empty where it has no word.

    `of_unit [*S]` tells the elements of the unit.
    """
    places = of_unit.flatten().nonzero()[:, 0].tolist()
    if elements and elements[places[0]].label:
        parts = x.flatten()[places]
        return elements[places[int(parts.argmax())]].label if parts.any() else "none of them"
    if len(places) > 1:
        return ""
    value = x[of_unit].item()
    if not elements:
        return f"{value:.2f}"
    element = elements[places[0]]
    decoded = element.mean + element.scale * value
    # Single precision leaves of 0 what is far below a standard deviation.
    return number(0 if abs(decoded) < 1e-5 * abs(element.scale) else decoded)


def number(value: float) -> str:
    """Five digits, and no exponent for a large number, such as an income."""
    return f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.5g}"


def unit_name(unit: int, names: Sequence[str]) -> str:
    """Its name, or its number where names are not known."""
    return names[unit] if unit < len(names) else f"unit {unit}"
