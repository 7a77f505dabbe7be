"""Which points a sample could move to, and the nearest of them. Runs no model.

Values that are already against the rules, such as an age beyond its range, may stay as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.types import Actionability, Inputs

SAME = 1e-6
"""Elements no further apart than this, in standard deviations, are equal."""

_ON_GRID = 1e-3
"""How far from a grid a value may lie, in steps: float32 does not hit most grids exactly."""


def box(inputs: Inputs) -> tuple[Tensor, Tensor]:
    """`[B, *S]` each, float64: how far down and how far up every element may go; `x` in padding."""
    x, rules = inputs.x.double(), inputs.domain.actionability
    low, high = torch.full_like(x, -torch.inf), torch.full_like(x, torch.inf)
    if rules is not None:
        low = torch.where(rules.fixed | rules.rising, x, torch.minimum(rules.lowest, x))
        high = torch.where(rules.fixed | rules.falling, x, torch.maximum(rules.highest, x))
    padding = inputs.units < 0
    return torch.where(padding, x, low), torch.where(padding, x, high)


def movable(inputs: Inputs) -> Tensor:
    """`[B, *S]` bool: the elements that may change at all."""
    low, high = box(inputs)
    return low < high


def nearest(inputs: Inputs, points: Tensor) -> Tensor:
    """`[B, K, *S] -> [B, K, *S]`: the nearest possible points; what is unchanged keeps its bits.

    A category moves to the largest of its parts where that is larger than the present one.
    """
    rules, x = inputs.domain.actionability, inputs.x[:, None]
    low, high = (end[:, None] for end in box(inputs))
    # First into the box, then on to the grid, which may lead out of it by a step at most.
    moved = points.double().clamp(low, high)
    if rules is not None:
        moved = _on_grid(moved, (low, high), rules)
        # What x has is possible, too, even where it is off the grid.
        # Ties go to x: no change is the smallest change.
        x_is_nearer = (points - x).abs() <= (points - moved).abs()
        moved = torch.where(x_is_nearer & (rules.step > 0), x.double(), moved)
        moved = torch.where(rules.codes, _one_hot(inputs, points.double(), rules), moved)
    is_unchanged = ~_differ(inputs, moved) | (low == high)
    return torch.where(is_unchanged, x, moved.to(x.dtype))


def possible(inputs: Inputs, points: Tensor) -> Tensor:
    """`[B, K, *S] -> [B, K]` bool: whether nothing that changed is against the rules."""
    rules, points = inputs.domain.actionability, points.double()
    slack = SAME * inputs.domain.scale.double()
    low, high = (end[:, None] for end in box(inputs))
    allowed = (points >= low - slack) & (points <= high + slack)
    if rules is not None:
        # A float32 misses a grid point by rounding, and by more the further it is from 0.
        off_grid = (points - _snapped(points, rules)).abs()
        rounding = 4 * torch.finfo(inputs.x.dtype).eps * points.abs()
        allowed &= off_grid <= _ON_GRID * rules.step + rounding
        # Parts of a category are judged together, by `_valid_codes`.
        allowed |= rules.codes & ~rules.fixed
    allowed |= ~_differ(inputs, points)
    valid = allowed.flatten(2).all(2)
    return valid if rules is None else valid & _valid_codes(inputs, points, rules)


def _differ(inputs: Inputs, points: Tensor) -> Tensor:
    """`[B, K, *S]` bool: elements that are not as they were."""
    return (points - inputs.x.double()[:, None]).abs() > SAME * inputs.domain.scale.double()


def _snapped(points: Tensor, rules: Actionability) -> Tensor:
    """On the grid, where there is one."""
    step = torch.where(rules.step > 0, rules.step, 1.0)
    snapped = rules.origin + ((points - rules.origin) / step).round() * step
    return torch.where(rules.step > 0, snapped, points)


def _on_grid(points: Tensor, ends: tuple[Tensor, Tensor], rules: Actionability) -> Tensor:
    """The nearest value of the grid between the ends; where none is, the end that is near."""
    low, high = ends
    slack = _ON_GRID * rules.step
    snapped = _snapped(points, rules)
    snapped = torch.where(snapped < low - slack, snapped + rules.step, snapped)
    snapped = torch.where(snapped > high + slack, snapped - rules.step, snapped)
    inside = (snapped >= low - slack) & (snapped <= high + slack)
    return torch.where(inside, snapped, points.clamp(low, high))


def _one_hot(inputs: Inputs, points: Tensor, rules: Actionability) -> Tensor:
    """`[B, K, *S]`: categories as valid codes; the present code where no part is larger.

    Per category: `top`, its largest part; `first`, the element that holds it (of equals the first);
    `present`, what the category that x has still holds.
    """
    flat, x, unit, codes = _flat(inputs, points, rules)
    shape = (*flat.shape[:2], units.width(inputs.units))
    place = unit[:, None].expand_as(flat)
    score = torch.where(codes, flat, -torch.inf)
    top = flat.new_full(shape, -torch.inf).scatter_reduce(2, place, score, "amax")
    is_top = codes & (flat == top.gather(2, place))
    number = torch.arange(flat.shape[2], device=flat.device).expand_as(flat)
    rank = torch.where(is_top, number, flat.shape[2])
    first = rank.new_full(shape, flat.shape[2]).scatter_reduce(2, place, rank, "amin")
    zeros = flat.new_zeros(shape)
    present = zeros.scatter_add(2, place, torch.where(codes, x * flat, 0))
    # A category that training rows did not have is all zeros: any part beyond 1/2 replaces it.
    unknown = zeros.scatter_add(2, place, torch.where(codes, x, 0).expand_as(flat)) < 0.5
    moves = top > torch.where(unknown, 0.5, present)
    new = (number == first.gather(2, place)).double()
    return torch.where(moves.gather(2, place), new, x).view(points.shape)


def _valid_codes(inputs: Inputs, points: Tensor, rules: Actionability) -> Tensor:
    """`[B, K]` bool: every category that changed has one part at 1 and the others at 0."""
    flat, x, unit, codes = _flat(inputs, points, rules)
    place = unit[:, None].expand_as(flat)
    shape = (*flat.shape[:2], units.width(inputs.units))
    zeros = flat.new_zeros(shape)
    changed = codes & ((flat - x).abs() > SAME)
    wrong = codes & ((flat - flat.round().clamp(0, 1)).abs() > SAME)
    n_changed, n_wrong = (zeros.scatter_add(2, place, part.double()) for part in (changed, wrong))
    total = zeros.scatter_add(2, place, torch.where(codes, flat, 0))
    return ((n_changed == 0) | ((n_wrong == 0) & ((total - 1).abs() < SAME))).all(2)


def _flat(
    inputs: Inputs, points: Tensor, rules: Actionability
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`points [B, K, F]`, `x [B, 1, F]`, the unit of each element `[B, F]`, `codes [F]`."""
    x = inputs.x.double().flatten(1)[:, None]
    unit = inputs.units.flatten(1).clamp(min=0)
    return points.flatten(2), x, unit, rules.codes.flatten()
