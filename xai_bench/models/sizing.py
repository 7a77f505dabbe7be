"""A predictor as a model that is asked as many rows at once as memory and processor take best."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_bench.core.calls.row_memory import default_memory, row_bounds
from xai_bench.core.units import width
from xai_bench.models.base import Explained, Predictor, Target, outputs_in_blocks
from xai_bench.types import ROW_BLOCK, Inputs


def sized(
    predictor: Predictor,
    target: Target,
    inputs: Inputs,
    *,
    memory: int | None = None,
    most: int | None = None,
    exact: bool = True,
) -> Explained:
    """The model of a target, whose `max_rows` follow from the bytes that a row takes.

    `memory` bounds them, by default a quarter of what is free and at most 2 GB; `most` bounds the
    rows. Asks the predictor a few rows like the first of the inputs. A predictor that cannot be
    asked a row alone is asked `exact`ly.
    """
    first = inputs.take(torch.arange(1))
    exact = exact or not _answers_alone(predictor, inputs)
    block = ROW_BLOCK if exact else 1

    def asked(x: Tensor) -> Tensor:
        context = {name: v.expand(len(x), *v.shape[1:]) for name, v in first.context.items()}
        return outputs_in_blocks(predictor, x, context, block=block)

    bounds = row_bounds(
        asked,
        first.x,
        default_memory() if memory is None else memory,
        gradient=predictor.differentiable and predictor.module is not None,
        block=block,
    )
    rows = [n if most is None else min(n, most) for n in (bounds.forward, bounds.gradient)]
    room = max(bounds.room, *rows) if most is None else most
    return Explained(predictor, target, rows[0], rows[1], room, exact)


@torch.no_grad()
def _answers_alone(predictor: Predictor, inputs: Inputs) -> bool:
    """Whether one row alone gets what it gets in company: a module that squeezes what it is given
    takes a batch of one for none.
    """
    several = inputs.take(torch.arange(ROW_BLOCK) % len(inputs))
    answers = []
    for rows in (several, several.take(torch.arange(1))):
        try:
            x = rows.x.clone()
            answers.append(outputs_in_blocks(predictor, x, rows.context, block=1)[:1])
        except (RuntimeError, ValueError, IndexError):
            # A model that refuses a single row is no fault: it is asked in full blocks then.
            return False
    alone, company = answers[1], answers[0]
    close = torch.finfo(company.dtype).eps ** 0.5 if company.is_floating_point() else 0.0
    return alone.shape == company.shape and torch.allclose(
        alone, company, rtol=close, atol=close, equal_nan=True
    )


def samples_at_once(inputs: Inputs, most: int, memory: int | None = None) -> int:
    """How many samples to explain and score at a time: `most`, or as many as memory holds.

    Metrics draw some hundred sets of units for each, as ranks and numbers.
    """
    memory = default_memory() if memory is None else memory
    numbers = inputs.x[0].numel() * inputs.x.element_size()
    per_sample = _SETS * width(inputs.units) + _POINTS * numbers
    return max(min(most, memory // per_sample), 1)


_SETS, _POINTS = 2048, 64
"""Bytes for each unit, and points for each sample, that a metric has at once."""


def require_memory(memory: object) -> int | None:
    """Bytes, or None for a share of what is free. Raises ValueError for anything else."""
    if memory is None:
        return None
    # `not >=`, because NaN is neither below nor above.
    if isinstance(memory, bool) or not isinstance(memory, int | float) or not memory >= 1 << 20:
        raise ValueError(
            f"memory={memory!r}; expected a number of bytes, a million or more, such as 2e9; left "
            "out, it is a quarter of what is free and at most 2 GB"
        )
    return int(memory)
