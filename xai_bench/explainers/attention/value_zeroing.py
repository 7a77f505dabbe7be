"""What the output loses when nobody can gather the value of a word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.calls.model_outputs import filled_up
from xai_bench.core.tokens import DELETED, AttentionLayer, row_widths
from xai_bench.explainers.attention.maps import (
    SEVERAL_CALLS,
    attention_layers,
    embedded,
    same_width,
)
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


@dataclass(frozen=True)
class ValueZeroing:
    """The drop of the output when the value vectors of a unit's tokens are 0 in every layer: all
    else about them, their keys, queries and own states, stays. After Mohebbi+ 2023, who compare the
    states of each layer; here it is the explained scalar.

    It removes what others learn of the unit, inside the model, and needs no baseline.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "attention"
    needs: ClassVar[tuple[str, ...]] = ("attention",)
    paper: ClassVar[str] = "Mohebbi+ 2023, arXiv:2301.12971"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Each unit's drop, shared evenly by its elements."""
        layers = attention_layers(model)
        there, points = embedded(model, inputs)
        by_unit = inputs.units if inputs.units.dim() == 2 else inputs.units[..., 0]
        drops = torch.zeros_like(units.present(by_unit), dtype=torch.float64)
        for rows in same_width(there, points):
            part, own = points.take(rows), by_unit[rows]
            of_rows = _drops(layers, there, part, targets[rows], own)
            drops[rows, : of_rows.shape[1]] = of_rows
        return Explanation(units.spread(drops, inputs.units).to(inputs.x.dtype))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """The text as it is, and once for each unit."""
        return Rows(n_units + 1)


@torch.no_grad()
def _drops(
    layers: list[AttentionLayer], model: Model, points: Inputs, targets: Tensor, own: Tensor
) -> Tensor:
    """`[b, U]`, 0 beyond a sample's last unit; `own [b, T]` says which unit a token is of."""
    # The sample itself is unit -2, which no token has.
    present = units.present(own)
    sample, unit = torch.cat([present.new_ones(len(own), 1), present], 1).nonzero().T
    unit = torch.where(unit == 0, -2, unit - 1)
    closed = _closed_up(points, own)
    values = []
    for part in torch.arange(len(sample)).split(model.max_rows):
        gone = closed[sample[part]] == unit[part, None]
        values.append(
            _values(layers, model, points.take(sample[part]), targets[sample[part]], gone)
        )
    flat = torch.cat(values)
    drops = torch.zeros_like(present, dtype=torch.float64)
    # The intact text goes along in the same calls, so that both sides of a drop round alike.
    drops[present] = flat[unit == -2][sample[unit != -2]] - flat[unit != -2]
    return drops


def _closed_up(points: Inputs, own: Tensor) -> Tensor:
    """`[b, w]`: the units of the tokens as the model sees them, without gaps, at its width."""
    tokens = points.context["tokens"].long()
    width = int(row_widths(tokens, points.context["length"])[0])
    order = (tokens[:, :width] == DELETED).to(torch.int8).argsort(dim=1, stable=True)
    return own[:, :width].gather(1, order)


def _values(
    layers: list[AttentionLayer], model: Model, points: Inputs, targets: Tensor, gone: Tensor
) -> Tensor:
    """`[n]`: the target output without the values of the tokens that are `gone [n, w]`."""
    with _without(layers, gone) as calls:
        # Rows that need a gradient go through the module together, in one call.
        x = points.x.detach().clone().requires_grad_()
        outputs = model.target_output(points.with_x(x), targets)
    if len(calls) != len(layers):
        raise Unsupported(SEVERAL_CALLS)
    return outputs.detach().double()


@contextmanager
def _without(layers: list[AttentionLayer], gone: Tensor) -> Iterator[list[None]]:
    """The values of these tokens are 0 while in the block; gives a list with one entry per call."""
    calls: list[None] = []

    def zero(layer: Any, args: tuple[Any, ...], out: Tensor) -> Tensor:
        calls.append(None)
        if out.shape[1] != gone.shape[1]:
            raise Unsupported(SEVERAL_CALLS)
        # The values alone: with the weights kept, all other tokens are attended to as before, where
        # a mask would renormalise them.
        return out.masked_fill(filled_up(gone, len(out))[..., None], 0)

    handles = [layer.value.register_forward_hook(zero) for layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
