"""The samples of a workbench with all that a person calls them by, ready to be shown.

Letters: `N` samples, `U` units, `*S` the shape of one sample in x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from xai_bench.adapters.forms import Form, SeveralForm, TableForm
from xai_bench.adapters.units import unit_names
from xai_bench.core import units
from xai_bench.results.drawing.changes import held, unit_name
from xai_bench.types import Element, Inputs

Kind = Literal["image", "series", "tokens", "table"]


@dataclass(frozen=True, eq=False)
class Layout:
    """What samples look like, and what their parts are called.

    Attributes:
        rows: the label of each sample, such as the index of a data frame.
        classes: names of the outputs; empty where they have none.
    """

    inputs: Inputs
    form: Form
    rows: Sequence[Any]
    classes: tuple[str, ...] = ()

    @property
    def shown_as(self) -> Kind:
        """How one sample is drawn."""
        x = self.inputs.x
        if self.inputs.domain.discrete:
            return "tokens"
        if x.dim() >= 4:
            return "image"
        return "series" if x.dim() == 3 else "table"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """One name per unit; where samples differ in their units, numbers."""
        ids = self.inputs.units
        listed: tuple[str, ...] = ()
        # Without a stride, all samples share one row of memory.
        if ids.stride(0) == 0 or len(ids) == 1 or bool((ids == ids[:1]).all()):
            listed = unit_names(self._elements, ids[0]) if self._elements else ()
        return tuple(unit_name(number, listed) for number in range(units.width(ids)))

    @property
    def decoded_elements(self) -> tuple[Element, ...]:
        """What each element of x says in the words of a data frame; empty without one."""
        return self.form.encoding.elements if isinstance(self.form, TableForm) else ()

    def held(self, sample: int) -> tuple[str, ...]:
        """What a sample has in each unit; empty where there is no word for it."""
        x, ids = self.inputs.x[sample].double(), self.inputs.units[sample]
        marks = [ids == unit for unit in range(len(self.names))]
        return tuple(held(x, m, self.decoded_elements) if m.any() else "" for m in marks)

    def by_unit(self, values: Tensor) -> Tensor:
        """`[N, *S] -> [N, U]`: the sum over each unit."""
        return units.pool(values, self.inputs.units)

    def as_given(self, values: Tensor) -> Tensor:
        """`[N, *S]` in the caller's layout: of a table, `[N, columns]`."""
        if not isinstance(self.form, TableForm):
            return values
        ids = self.form.encoding.units.expand(values.shape)
        return units.pool(values, ids)

    def parts(self, values: Tensor) -> dict[str, Tensor]:
        """`[N, *S]` by the name of each input. Raises ValueError where x is one input."""
        if not isinstance(self.form, SeveralForm):
            raise ValueError("x is one input; use attribution, or numpy()")
        return self.form.parts(values)

    @cached_property
    def _elements(self) -> tuple[str, ...]:
        """A name for each element of x, where there are names."""
        if isinstance(self.form, TableForm):
            encoding = self.form.encoding
            return tuple(encoding.names[k] for k in encoding.units.tolist())
        if self.inputs.domain.discrete:
            return tuple(f"token {place}" for place in range(self.inputs.x.shape[1]))
        return self.form.unit_names


def spread_over(values: Tensor, inputs: Inputs) -> Tensor:
    """`[N, U] -> [N, *S]`: each unit's value, shared evenly by its elements."""
    return units.spread(values.double(), inputs.units)


def marked(flags: Tensor, inputs: Inputs) -> Tensor:
    """`[N, U]` bool `-> [N, *S]` bool: every element of a marked unit."""
    return units.lookup(flags[:, None].to(torch.uint8), inputs.units)[:, 0].bool() & (
        inputs.units >= 0
    )
