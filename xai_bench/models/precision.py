"""A trained network in another precision, and how far its outputs are from what they were."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch
from torch import Tensor

from xai_bench.core.spelling import suggest
from xai_bench.models.base import Predictor, TorchPredictor
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.types import Inputs, Unsupported

log = logging.getLogger(__name__)

PRECISIONS = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bf16": torch.bfloat16,
}
"""What may be asked for -> the type of the weights."""

_ROWS = 256
"""Samples that are compared at once."""


def precision_named(name: object) -> torch.dtype | None:
    """The type of the weights; None for None, which leaves them as they are. Raises ValueError."""
    if name is None:
        return None
    if name not in PRECISIONS:
        raise ValueError(f"precision={name!r}: there is none; {suggest(str(name), PRECISIONS)}")
    return PRECISIONS[str(name)]


def in_precision(predictor: Predictor, dtype: torch.dtype) -> Predictor:
    """The predictor with the weights of its own module in another type.

    Its outputs are in the type of x. Raises `Unsupported` for what is no network, and for bf16 in a
    network of tokens, whose rows would be rounded by the size of their batch.
    """
    if isinstance(predictor, TokenPredictor):
        if dtype == torch.bfloat16:
            raise Unsupported("a network of tokens is not asked in bf16; use float32 or float64")
        predictor.module.to(dtype)
        return predictor
    if not isinstance(predictor, TorchPredictor):
        raise Unsupported("precision= is that of a network's weights, and this model is no network")
    predictor.module.to(dtype)
    return replace(predictor, dtype=dtype)


@torch.no_grad()
def deviation(before: Predictor, after: Predictor, inputs: Inputs) -> float:
    """The largest difference of their outputs, as a share of the largest output of `before`; it
    is logged, too.
    """
    first, second = (_outputs(predictor, inputs) for predictor in (before, after))
    size = float(first.abs().max())
    gap = float((first - second).abs().max()) / (size if size > 0 else 1.0)
    log.info("in this precision outputs differ by up to %.2g of the largest", gap)
    return gap


def _outputs(predictor: Predictor, inputs: Inputs) -> Tensor:
    parts = [inputs.take(rows) for rows in torch.arange(len(inputs)).split(_ROWS)]
    return torch.cat([predictor(part.x.clone(), part.context).double() for part in parts])
