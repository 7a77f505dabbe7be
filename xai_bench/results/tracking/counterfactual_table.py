"""The counterfactuals of the first samples, as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from xai_bench.results.drawing.changes import Change, changes
from xai_bench.results.escape import markdown
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
    tokens: Sequence[str] = (),
) -> str | None:
    """One row per counterfactual. None where there are none, or where x is not stored.

    Values are in the units of the file where its `elements` are given, in words where x holds ids
    of `tokens`, else in the scale of x.
    """
    points = None if result.explanation is None else result.explanation.counterfactuals
    if points is None or inputs is None:
        return None
    if tokens:
        return _of_tokens(points, inputs, result, tokens)
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


def _of_tokens(
    points: Tensor, inputs: Mapping[str, Tensor], result: ExplainerResult, tokens: Sequence[str]
) -> str:
    """The tokens that are replaced, in the order of the text."""
    lines = ["| sample | which words would have to change |", "| ---: | --- |"]
    for b in range(min(N_SAMPLES, len(result.index))):
        lines += [f"| {result.index[b]} | {_swaps(inputs['x'][b], p, tokens)} |" for p in points[b]]
    return "\n".join(lines) + "\n"


def _swaps(x: Tensor, point: Tensor, tokens: Sequence[str]) -> str:
    if point.isnan().any():
        return "*not found*"
    places = (x != point).nonzero()[:, 0]
    pairs = zip(x[places].long().tolist(), point[places].long().tolist(), strict=True)
    swaps = [f"{markdown(tokens[a])} → {markdown(tokens[b])}" for a, b in pairs]
    return "; ".join(swaps) or "nothing"


def _changes(
    x: Tensor, point: Tensor, units: Tensor, unit_names: Sequence[str], elements: Sequence[Element]
) -> str:
    """The changes of one counterfactual, the largest first."""
    changed = changes(x, point, units, unit_names, elements)
    if changed is None:
        return "*not found*"
    shown = [f"{markdown(change.unit)}: {_from_to(change)}" for change in changed[:N_CHANGES]]
    more = len(changed) - len(shown)
    return "; ".join([*shown, *([f"and {more} more"] if more else [])]) or "nothing"


def _from_to(change: Change) -> str:
    """From one value to another; `another` for a category without names."""
    is_named = change.before or change.after
    return f"{markdown(change.before)} → {markdown(change.after)}" if is_named else "another"
