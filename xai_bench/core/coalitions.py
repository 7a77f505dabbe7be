"""Model values at many points per sample, and at coalitions of units, in bounded batches.

The one engine behind removal explainers and removal metrics.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.calls.model_outputs import target_outputs
from xai_bench.core.sliding_windows import WindowDesign
from xai_bench.core.tokens import require_numbers
from xai_bench.types import ROW_BLOCK, Baseline, Imputer, Inputs, Model, Rng


def remove(inputs: Inputs, kept: Tensor, references: Tensor) -> Tensor:
    """`kept [B, K, U]`, `references [B, R, *S] -> [B, K, R, *S]`: x with absent units replaced.

    `kept` is bool, or float where a share of each unit is kept and the rest is the reference's.
    Padding elements are never touched.
    """
    if kept.is_floating_point():
        require_numbers(inputs.domain, "keeping a share of a unit")
        x, reference = inputs.x[:, None, None], references[:, None]
        share = units.lookup(kept.to(x), inputs.units)
        # Padding has no unit, and `lookup` gives it the share of the first.
        share = torch.where((inputs.units < 0)[:, None], 1, share)[:, :, None]
        return reference + share * (x - reference)
    return _replaced(units.kept_elements(kept, inputs.units), inputs, references)


def _replaced(elements: Tensor, inputs: Inputs, references: Tensor) -> Tensor:
    """Kept `elements [B, K, *S]`, `references [B, R, *S] -> [B, K, R, *S]`."""
    return _select(elements[:, :, None], inputs.x[:, None, None], references[:, None])


_WORDS = {torch.float32: torch.int32, torch.float64: torch.int64}


def _select(mask: Tensor, where_true: Tensor, where_false: Tensor) -> Tensor:
    """`torch.where`, bit for bit, on the words that hold the numbers: several times as fast.

    `mask` is bool, or words whose bits are all set or all clear.
    """
    word = _WORDS.get(where_true.dtype)
    if word is None or where_false.dtype != where_true.dtype:
        return torch.where(mask.bool(), where_true, where_false)
    first, second = where_true.contiguous().view(word), where_false.contiguous().view(word)
    bits = mask.view(torch.int8).to(word).neg_() if mask.dtype is torch.bool else mask.to(word)
    # Flip the bits in which both differ where the mask is set: first there, second elsewhere.
    return (bits & (first ^ second)).bitwise_xor_(second).view(where_true.dtype)


class PermutedDesign:
    """One design for many samples, whose columns each sample assigns to its units anew.

    Stands for `kept [B, K, U]`, of which a block is built when it is indexed.

    Args:
        design: `[K, U]` bool, or the shares that are kept.
        columns: `[B, U]` long, the column of the design that stands for each unit.
    """

    def __init__(self, design: Tensor, columns: Tensor) -> None:
        self.design, self.columns = design, columns
        self.words: Tensor | None = None
        if design.dtype is torch.bool and design.shape[1] <= _WORD:
            # A whole coalition in one word: permuting it is a shift for each unit.
            bits = torch.arange(design.shape[1], device=design.device)
            self.words = (design.long() << bits).sum(1).to(torch.int32)[:, None]
            self.to_sign = (_WORD - 1 - columns)[:, None].int()

    @property
    def shape(self) -> torch.Size:
        """`[B, K, U]`."""
        return torch.Size([len(self.columns), *self.design.shape])

    def __getitem__(self, block: tuple[slice, slice]) -> Tensor:
        """`[b, k, U]`: shares, bool, or words for `_select` where a coalition fits into one."""
        samples, rows = block
        if self.words is not None:
            lifted = self.words[rows] << self.to_sign[samples]
            return lifted.bitwise_right_shift_(_WORD - 1)  # the sign fills the word
        columns = self.columns[samples]
        by_unit = self.design[rows].T.contiguous().index_select(0, columns.flatten())
        return by_unit.view(*columns.shape, -1).mT.contiguous()


_WORD = 32
"""Bits of the words that hold coalitions, which is how many units fit."""


def values(
    model: Model, inputs: Inputs, targets: Tensor, kept: Tensor, baseline: Baseline, *, rng: Rng
) -> Tensor:
    """`kept [B, K, U]` bool `-> [B, K]` float64: mean target output over the baseline's references.

    Takes `K * R` forward rows per sample, at most `model.max_rows` at a time.
    """
    return CoalitionGame(model, inputs, targets, baseline, rng=rng).values(kept)


def values_each(
    model: Model,
    inputs: Inputs,
    targets: Tensor,
    kept: Tensor | WindowDesign,
    baseline: Baseline,
    *,
    rng: Rng,
) -> Tensor:
    """`kept [B, K, U]` bool `-> [B, K, R]` float64: the same before the mean over references."""
    return CoalitionGame(model, inputs, targets, baseline, rng=rng).values_each(kept)


def values_at(model: Model, inputs: Inputs, targets: Tensor, points: Tensor) -> Tensor:
    """`points [B, K, *S] -> [B, K]` float64: target output at each point; `K` rows per sample."""
    flat = target_outputs(model, inputs.stacked(points), targets.repeat_interleave(points.shape[1]))
    return flat.view(points.shape[:2])


def points(inputs: Inputs, kept: Tensor, baseline: Baseline, *, rng: Rng) -> Tensor:
    """`kept [B, K, U] -> [B, K, R, *S]`: the points at which `values` evaluates, all at once."""
    return _StandIns(inputs, baseline, rng).points(inputs, slice(None), kept)


def difference_from_reference(inputs: Inputs, baseline: Baseline, *, rng: Rng) -> Tensor | None:
    """`[B, *S]`: x less its mean reference; None where that depends on what else is removed, or
    where x holds ids.
    """
    if isinstance(baseline, Imputer) or inputs.domain.discrete:
        return None
    return inputs.x - baseline.references(inputs, rng=rng).mean(1)


class CoalitionGame:
    """A model's value at any coalition of the units of some samples.

    What stands in for absent units is drawn once, so that the same coalition has the same value
    whenever it is evaluated.
    """

    def __init__(
        self, model: Model, inputs: Inputs, targets: Tensor, baseline: Baseline, *, rng: Rng
    ) -> None:
        self.model, self.inputs, self.targets = model, inputs, targets
        self.stand_ins = _StandIns(inputs, baseline, rng)

    @property
    def n_references(self) -> int:
        """Rows that one coalition takes per sample."""
        return self.stand_ins.n_references

    def null_units(self) -> Tensor:
        """`[B, U]` bool: units all of whose elements equal those of every reference.

        A coalition is worth the same with them and without. None are, where what replaces a unit
        depends on what else is kept.
        """
        if self.stand_ins.imputer is not None:
            return torch.zeros_like(units.present(self.inputs.units))
        differs = (self.inputs.x[:, None] != self.stand_ins.references).any(1)
        # Exactly equal: what is nearly so may matter.
        null: Tensor = units.pool(differs.double(), self.inputs.units) == 0
        return null

    def values(self, kept: Tensor | PermutedDesign | WindowDesign) -> Tensor:
        """`kept [B, K, U]` bool `-> [B, K]` float64, the mean over references.

        `K * R` rows per sample, at most `max_rows` at a time.
        """
        out = torch.empty(kept.shape[:2], dtype=torch.float64, device=self.inputs.x.device)
        for samples, columns, outputs in self._blocks_of_outputs(kept):
            single = self.n_references == 1
            # The mean of outputs, not the output at the mean reference, which is another game.
            out[samples, columns] = outputs[:, :, 0] if single else outputs.double().mean(2)
        return out

    def values_each(self, kept: Tensor | WindowDesign) -> Tensor:
        """`kept [B, K, U]` bool `-> [B, K, R]` float64, one value for each reference."""
        shape = (*kept.shape[:2], self.n_references)
        out = torch.empty(shape, dtype=torch.float64, device=self.inputs.x.device)
        for samples, columns, outputs in self._blocks_of_outputs(kept):
            out[samples, columns] = outputs
        return out

    @torch.no_grad()
    def _blocks_of_outputs(
        self, kept: Tensor | PermutedDesign | WindowDesign
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Block by block, the target output `[b, k, R]` of each coalition and reference."""
        n_samples, per_call = len(self.inputs), self.n_references
        for samples, columns in _blocks(n_samples, kept.shape[1], self.model.max_rows // per_call):
            part, targets = self.inputs.part(samples), self.targets[samples]
            points = self.stand_ins.points(part, samples, kept[samples, columns]).flatten(1, 2)
            by_row = targets[:, None].expand(-1, points.shape[1]).flatten()
            # All references of a coalition in one call, so that their mean needs no second pass.
            flat = self.model.target_output(part.stacked(points), by_row)
            yield samples, columns, flat.view(*points.shape[:1], -1, per_call)


class _StandIns:
    """What stands in for absent units: references drawn once, or an imputer called each time."""

    def __init__(self, inputs: Inputs, baseline: Baseline, rng: Rng) -> None:
        self.inputs, self.rng = inputs, rng
        self.imputer = baseline if isinstance(baseline, Imputer) else None
        if self.imputer is not None:
            self.n_references = self.imputer.n_references
        else:
            self.references = baseline.references(inputs, rng=rng)
            self.n_references = self.references.shape[1]
        self.own_shape = _own_shape(inputs.units)

    def points(self, part: Inputs, samples: slice, kept: Tensor) -> Tensor:
        """`kept [b, k, U] -> [b, k, R, *S]` for a part of the samples."""
        own = self.own_shape
        if own is not None and not kept.is_floating_point() and self.imputer is None:
            elements = kept.reshape(*kept.shape[:2], *own)
            return _replaced(elements, part, self.references[samples])
        if not kept.is_floating_point():
            kept = kept.bool()
        if self.imputer is not None:
            rows = torch.arange(len(self.inputs))[samples]
            return self.imputer.impute(part, kept, rng=self.rng.take(rows))
        return remove(part, kept, self.references[samples])


def _own_shape(units: Tensor) -> tuple[int, ...] | None:
    """The shape in which a coalition is its own map of elements, 1 along axes that a unit spans.

    So it is where every element is a unit, or every pixel in all channels. None elsewhere.
    """
    if units.stride(0) != 0 or not len(units):
        return None
    elements, spanned = units[0], 0
    while elements.dim() > 1 and bool((elements == elements[:1]).all()):
        elements, spanned = elements[0], spanned + 1
    in_order = torch.arange(elements.numel(), device=units.device)
    own = (*[1] * spanned, *elements.shape)
    return own if torch.equal(elements.flatten(), in_order) else None


def _blocks(n_samples: int, n_columns: int, max_cells: int) -> Iterator[tuple[slice, slice]]:
    """Rectangles that cover `n_samples x n_columns`, none larger than `max_cells` (at least 1).

    Many samples come in multiples of `ROW_BLOCK`, so that a model has no rows to fill up.
    """
    max_cells = max(max_cells, 1)
    width = max(min(n_columns, max_cells), 1)
    height = max(max_cells // width, 1)
    if height > ROW_BLOCK:
        height -= height % ROW_BLOCK
    for top in range(0, n_samples, height):
        for left in range(0, n_columns, width):
            yield slice(top, top + height), slice(left, left + width)
