"""The counterfactuals of the first samples, as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from xai_bench.results.values import ExplainerResult
from xai_bench.types import Element

N_SAMPLES = 10
N_CHANGES = 8
"""Changes per counterfactual; more do not fit on a line, and how many there are is stated."""


def counterfactual_table(
    result: ExplainerResult,
    inputs: Mapping[str, Tensor] | None,
    unit_names: Sequence[str],
    elements: Sequence[Element] = (),
) -> str | None:
    """One row per counterfactual. None where there are none, or where x is not stored.

    Values are in the units of the file where its `elements` are given, else in the scale of x.
    """
    points = None if result.explanation is None else result.explanation.counterfactuals
    if points is None or inputs is None:
        return None
    scale = "" if elements else ", in the scale of x (numbers: standard deviations)"
    lines = [f"| sample | what would have to change{scale} |", "| ---: | --- |"]
    names = (unit_names, elements)
    n = min(N_SAMPLES, len(result.index))
    lines += [
        f"| {result.index[b]} | {_changes(inputs['x'][b], point, inputs['units'][b], *names)} |"
        for b in range(n)
        for point in points[b]
    ]
    return "\n".join(lines) + "\n"


def _changes(
    x: Tensor, point: Tensor, units: Tensor, unit_names: Sequence[str], elements: Sequence[Element]
) -> str:
    """The changes of one counterfactual, the largest first."""
    if point.isnan().any():
        return "*not found*"
    size = (point - x).abs().double()
    sizes = {int(unit): size[units == unit].sum().item() for unit in units[size > 0].unique()}
    order = sorted(sizes, key=lambda unit: -sizes[unit])
    shown = [
        f"{_name(unit, unit_names)}: {_change(x, point, units == unit, elements)}"
        for unit in order[:N_CHANGES]
    ]
    more = len(order) - len(shown)
    return "; ".join([*shown, *([f"and {more} more"] if more else [])]) or "nothing"


def _change(x: Tensor, point: Tensor, of_unit: Tensor, elements: Sequence[Element]) -> str:
    """From one value to another; `another` for a category without names."""
    places = of_unit.flatten().nonzero()[:, 0].tolist()
    if elements and elements[places[0]].label:
        return " → ".join(_category(row, places, elements) for row in (x, point))
    if len(places) > 1:
        return "another"
    if not elements:
        return f"{x[of_unit].item():.2f} → {point[of_unit].item():.2f}"
    element = elements[places[0]]
    before, after = (element.mean + element.scale * row[of_unit].item() for row in (x, point))
    # Single precision leaves of 0 what is far below a standard deviation.
    least = 1e-5 * abs(element.scale)
    return " → ".join(_number(0 if abs(v) < least else v) for v in (before, after))


def _number(value: float) -> str:
    """Five digits, and no exponent for a large number, such as an income."""
    return f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.5g}"


def _category(row: Tensor, places: Sequence[int], elements: Sequence[Element]) -> str:
    parts = row.flatten()[places]
    return elements[places[int(parts.argmax())]].label if parts.any() else "none of them"


def _name(unit: int, unit_names: Sequence[str]) -> str:
    return unit_names[unit] if unit < len(unit_names) else f"unit {unit}"
