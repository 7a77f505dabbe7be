"""What would have to change: the counterfactuals of the first samples, as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from xai_bench.outcomes import Explanation

N_SAMPLES = 10
N_CHANGES = 8


def what_to_change(
    one: Explanation, inputs: Mapping[str, Tensor] | None, unit_names: Sequence[str]
) -> str | None:
    """One row per counterfactual. None where there are none, or where x was not kept."""
    if one.counterfactuals is None or inputs is None:
        return None
    lines = [
        "| sample | what would have to change, in the scale of x (numbers: standard deviations) |",
        "| ---: | --- |",
    ]
    n = min(N_SAMPLES, len(one.index))
    lines += [
        f"| {one.index[b]} | {_changes(inputs['x'][b], point, inputs['units'][b], unit_names)} |"
        for b in range(n)
        for point in one.counterfactuals[b]
    ]
    return "\n".join(lines) + "\n"


def _changes(x: Tensor, point: Tensor, units: Tensor, unit_names: Sequence[str]) -> str:
    """The largest changes first; of a unit with several elements, that it becomes another."""
    if point.isnan().any():
        return "*not found*"
    size = (point - x).abs().double()
    moved = {int(unit): size[units == unit].sum().item() for unit in units[size > 0].unique()}
    order = sorted(moved, key=lambda unit: -moved[unit])
    said = [_change(x, point, units == unit, _name(unit, unit_names)) for unit in order[:N_CHANGES]]
    more = len(order) - len(said)
    return "; ".join([*said, *([f"and {more} more"] if more else [])]) or "nothing"


def _change(x: Tensor, point: Tensor, mine: Tensor, name: str) -> str:
    if int(mine.sum()) > 1:
        return f"{name}: another"
    return f"{name}: {x[mine].item():.2f} → {point[mine].item():.2f}"


def _name(unit: int, unit_names: Sequence[str]) -> str:
    return unit_names[unit] if unit < len(unit_names) else f"unit {unit}"
