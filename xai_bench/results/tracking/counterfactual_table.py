"""What would have to change: the counterfactuals of the first samples, as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from xai_bench.results.values import ExplainerResult
from xai_bench.types import Element

N_SAMPLES = 10
N_CHANGES = 8


def what_to_change(
    one: ExplainerResult,
    inputs: Mapping[str, Tensor] | None,
    unit_names: Sequence[str],
    elements: Sequence[Element] = (),
) -> str | None:
    """One row per counterfactual. None where there are none, or where x was not kept.

    In the words of the data's file where its `elements` are known, else in the scale of x.
    """
    points = None if one.explanation is None else one.explanation.counterfactuals
    if points is None or inputs is None:
        return None
    scale = "" if elements else ", in the scale of x (numbers: standard deviations)"
    lines = [f"| sample | what would have to change{scale} |", "| ---: | --- |"]
    names = (unit_names, elements)
    n = min(N_SAMPLES, len(one.index))
    lines += [
        f"| {one.index[b]} | {_changes(inputs['x'][b], point, inputs['units'][b], *names)} |"
        for b in range(n)
        for point in points[b]
    ]
    return "\n".join(lines) + "\n"


def _changes(
    x: Tensor, point: Tensor, units: Tensor, unit_names: Sequence[str], elements: Sequence[Element]
) -> str:
    """The largest changes first."""
    if point.isnan().any():
        return "*not found*"
    size = (point - x).abs().double()
    moved = {int(unit): size[units == unit].sum().item() for unit in units[size > 0].unique()}
    order = sorted(moved, key=lambda unit: -moved[unit])
    said = [
        f"{_name(unit, unit_names)}: {_change(x, point, units == unit, elements)}"
        for unit in order[:N_CHANGES]
    ]
    more = len(order) - len(said)
    return "; ".join([*said, *([f"and {more} more"] if more else [])]) or "nothing"


def _change(x: Tensor, point: Tensor, mine: Tensor, elements: Sequence[Element]) -> str:
    """From what to what; of an unnamed category, that it becomes another."""
    places = mine.flatten().nonzero()[:, 0].tolist()
    if elements and elements[places[0]].label:
        return " → ".join(_category(row, places, elements) for row in (x, point))
    if len(places) > 1:
        return "another"
    if not elements:
        return f"{x[mine].item():.2f} → {point[mine].item():.2f}"
    own = elements[places[0]]
    before, after = (own.mean + own.scale * row[mine].item() for row in (x, point))
    return f"{_number(before)} → {_number(after)}"


def _number(value: float) -> str:
    """Five digits, and never an exponent for a large one: an income is read as one."""
    return f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.5g}"


def _category(row: Tensor, places: Sequence[int], elements: Sequence[Element]) -> str:
    held = row.flatten()[places]
    return elements[places[int(held.argmax())]].label if held.any() else "none of them"


def _name(unit: int, unit_names: Sequence[str]) -> str:
    return unit_names[unit] if unit < len(unit_names) else f"unit {unit}"
