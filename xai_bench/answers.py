"""Answers of batches: taken apart, and put together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.types import Answer


def taken(answer: Answer, rows: Tensor) -> Answer:
    """What an answer says of the samples at `rows`."""
    return Answer(
        attribution=answer.attribution[rows],
        standard_error=rows_of(answer.standard_error, rows),
        counterfactuals=rows_of(answer.counterfactuals, rows),
        layers={name: values[rows] for name, values in answer.layers.items()},
        pairs=rows_of(answer.pairs, rows),
        freedom=rows_of(answer.freedom, rows),
    )


def joined(answers: Sequence[Answer]) -> Answer:
    """The answers of all batches as one."""
    return Answer(
        attribution=torch.cat([answer.attribution for answer in answers]),
        standard_error=_together([answer.standard_error for answer in answers]),
        counterfactuals=_together([answer.counterfactuals for answer in answers]),
        layers={name: torch.cat([a.layers[name] for a in answers]) for name in answers[0].layers},
        pairs=_together(_as_wide([answer.pairs for answer in answers])),
        freedom=_together([answer.freedom for answer in answers]),
    )


def _together(parts: Sequence[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None


def _as_wide(parts: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Matrices of the widest batch's size, NaN in what is new."""
    width = max((part.shape[1] for part in parts if part is not None), default=0)

    def padded(part: Tensor) -> Tensor:
        return functional.pad(part, (0, width - part.shape[1]) * 2, value=torch.nan)

    return [None if part is None else padded(part) for part in parts]


def rows_of(values: Tensor | None, rows: Tensor) -> Tensor | None:
    """The same of one tensor, where there is one."""
    return None if values is None else values[rows]
