"""The attention of a few samples, to be looked at in the report."""

from __future__ import annotations

import torch

from xai_bench.core.system.devices import computes_in_double, device_of, inputs_on
from xai_bench.evaluation.context import EvaluationContext
from xai_bench.explainers.attention.maps import looked_at
from xai_bench.explainers.attention.methods import rolled_out
from xai_bench.results.values import Attention
from xai_bench.types import Unsupported

N_SAMPLES = 2
"""A large language model has a megabyte of attention per sample."""


@torch.no_grad()
def attention_of(context: EvaluationContext) -> tuple[Attention, ...]:
    """That of the first samples; empty where the model has none that can be looked at."""
    first = torch.arange(min(N_SAMPLES, len(context.inputs)))
    inputs, symbols = context.inputs.take(first), context.inputs.domain.symbols
    device = device_of(context.model.module)
    if symbols is None or not inputs.domain.discrete or not computes_in_double(device):
        return ()
    there, targets = inputs_on(inputs, device), context.targets[first].to(device)
    by_row: dict[int, Attention] = {}
    try:
        for rows, order, maps in looked_at(context.model, there, targets):
            product, order, weighed = rolled_out(maps).cpu(), order.cpu(), maps.weights.cpu()
            for place, row in enumerate(rows.tolist()):
                ids = inputs.x[row].gather(0, order[place]).long()
                n = int((ids >= 0).sum())
                tokens = tuple(symbols.tokens[i] for i in ids[:n].tolist())
                # [L, H, n, n]; colours need no more digits.
                weights = weighed[:, place, :, :n, :n].half()
                by_row[row] = Attention(tokens, weights, product[place, :n, :n].float())
    except Unsupported:
        return ()
    return tuple(by_row[row] for row in sorted(by_row))
