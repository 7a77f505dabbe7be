"""Small cooperative games, exactly: from a table of coalition values to Shapley values."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def all_coalitions(n_units: int) -> Tensor:
    """`[2^U, U]` bool, True where kept: row `r` keeps the units that are set bits of `r`.

    Row 0 is the empty coalition, the last row the whole; the first `2^M` rows are the coalitions
    of the first `M` units.
    """
    return (torch.arange(2**n_units)[:, None] >> torch.arange(n_units)) & 1 == 1


def shapley_values(table: Tensor) -> Tensor:
    """`[B, 2^U] -> [B, U]`: exact Shapley values of a table in the order of `all_coalitions`.

    A unit's value is its mean gain over all orders in which the units can arrive. Shapley 1953.
    """
    n_units = (table.shape[1] - 1).bit_length()
    # The share of orders in which just these units come before: 1 / (U * (U - 1 choose size)).
    shares = [1 / (n_units * math.comb(n_units - 1, size)) for size in range(n_units)]
    weight = torch.tensor(shares, dtype=table.dtype)[all_coalitions(n_units - 1).sum(1)]
    # Added up one by one: `sum` would group its terms by the size of the batch.
    values = [(_gains(table, unit) * weight).cumsum(1)[:, -1] for unit in range(n_units)]
    return torch.stack(values, dim=1)


def _gains(table: Tensor, unit: int) -> Tensor:
    """`[B, 2^U] -> [B, 2^(U-1)]`: what `unit` adds to each coalition of the others."""
    # Bit `unit` of the row number says whether the unit is kept: blocks of 2^unit rows alternate.
    # A view of the table: no coalition is copied.
    without, with_unit = table.unflatten(1, (-1, 2, 2**unit)).unbind(2)
    gains: Tensor = (with_unit - without).flatten(1)
    return gains


def shapley_interactions(table: Tensor) -> Tensor:
    """`[B, 2^U] -> [B, U, U]`: exact Shapley interaction indices of all pairs; 0 on the diagonal.

    A pair's index is the mean, over coalitions of the others as Shapley weighs them, of what the
    two gain together beyond what each gains alone. Grabisch & Roubens 1999.
    """
    n_units = (table.shape[1] - 1).bit_length()
    out = table.new_zeros(len(table), n_units, n_units)
    if n_units < 2:
        return out
    shares = [1 / ((n_units - 1) * math.comb(n_units - 2, size)) for size in range(n_units - 1)]
    weight = torch.tensor(shares, dtype=table.dtype)[all_coalitions(n_units - 2).sum(1)]
    for second in range(1, n_units):
        for first in range(second):
            # Summed one by one: `sum` adds in an order that depends on the batch.
            index = (_surpluses(table, first, second) * weight).cumsum(1)[:, -1]
            out[:, first, second] = out[:, second, first] = index
    return out


def _surpluses(table: Tensor, first: int, second: int) -> Tensor:
    """`[B, 2^U] -> [B, 2^(U-2)]`: what two units add together beyond what each adds alone."""
    corners = table.unflatten(1, (-1, 2, 2 ** (second - first - 1), 2, 2**first))
    without, with_second = corners.unbind(2)
    gains = [part[:, :, :, 1] - part[:, :, :, 0] for part in (with_second, without)]
    surplus: Tensor = (gains[0] - gains[1]).flatten(1)
    return surplus
