"""Which columns may change, and how far: from a data config to the space of x."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from xai_bench.data.checks import require_columns
from xai_bench.data.tables.columns import Axis
from xai_bench.types import Actionability

Bounds = Mapping[str, Sequence[float | None]]
"""Column -> [low, high] in the units of the file; None leaves an end open."""
FINEST = 1e-4
"""Steps smaller than this, in standard deviations, are treated as continuous."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Columns that never change, change in one direction only, or have bounds.

    Numbers without bounds stay within what was observed; `{column: [null, null]}` opens both ends.
    """

    immutable: Sequence[str] = ()
    increasing: Sequence[str] = ()
    decreasing: Sequence[str] = ()
    ranges: Bounds | None = None

    def actionability(self, columns: Mapping[str, Axis]) -> Actionability:
        """The rules in the space of x, in which the columns lie one after the other.

        Raises ValueError for unknown columns, categories with an order, and bounds that are none.
        """
        self._check(columns)
        names, axes = list(columns), list(columns.values())
        widths = torch.tensor([axis.n_elements for axis in axes])

        def spread(values: Iterable[float]) -> Tensor:
            return torch.tensor(list(values), dtype=torch.float64).repeat_interleave(widths)

        bounded = [self._bounded(n, axis) for n, axis in zip(names, axes, strict=True)]
        steps = [axis.step / axis.scale for axis in axes]
        return Actionability(
            fixed=spread(name in self.immutable for name in names).bool(),
            rising=spread(name in self.increasing for name in names).bool(),
            falling=spread(name in self.decreasing for name in names).bool(),
            lowest=spread((axis.lowest - axis.mean) / axis.scale for axis in bounded),
            highest=spread((axis.highest - axis.mean) / axis.scale for axis in bounded),
            codes=spread(axis.coded for axis in axes).bool(),
            origin=spread((axis.origin - axis.mean) / axis.scale for axis in axes),
            step=spread(step if step >= FINEST else 0 for step in steps),
        )

    def _bounded(self, name: str, axis: Axis) -> Axis:
        ends = (self.ranges or {}).get(name, axis.observed)
        low, high = -inf if ends[0] is None else ends[0], inf if ends[1] is None else ends[1]
        # What follows from the values themselves holds, however wide the range that is given.
        return replace(axis, lowest=max(low, axis.lowest), highest=min(high, axis.highest))

    def _check(self, axes: Mapping[str, Axis]) -> None:
        ordered = {
            "increasing": self.increasing,
            "decreasing": self.decreasing,
            "ranges": list(self.ranges or ()),
        }
        for setting, names in {"immutable": self.immutable, **ordered}.items():
            require_columns(names, axes, f"data.{setting}:")
        for setting, names in ordered.items():
            for name in names:
                if axes[name].coded:
                    raise ValueError(
                        f"data.{setting}: column {name!r} holds categories, which have no order; "
                        f"name it in data.immutable or in data.numeric"
                    )
        for name, ends in (self.ranges or {}).items():
            _check_ends(name, ends)


def _check_ends(name: str, ends: object) -> None:
    """Raise ValueError unless `ends` are two rising numbers, either of which may be null."""
    values = list(ends) if isinstance(ends, Sequence) and not isinstance(ends, str) else []
    numbers = [value for value in values if isinstance(value, int | float)]
    others = [value for value in values if value is not None and value not in numbers]
    if len(values) != 2 or others or numbers != sorted(numbers):
        raise ValueError(
            f"data.ranges: column {name!r} has {ends!r}; expected [low, high], null for an open end"
        )
