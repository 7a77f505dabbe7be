"""Does a network give the outputs of the model it was made from? Asked before it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xai_bench.core.tokens import DELETED, Sequence, TokenNetwork
from xai_bench.models.transformers.explicit import Body
from xai_bench.models.transformers.readers import LanguageModel, TransformerNetwork

TOLERANCE = 1e-4
"""The largest difference of any output, in logits."""


@torch.no_grad()
def require_parity(network: TokenNetwork | Body, original: Any, name: str) -> float:
    """The largest difference on sequences of ids from all over the vocabulary.

    Raises ValueError where it is above `TOLERANCE`.
    """
    ids = _probe(network.n_symbols, network.max_tokens or 12)
    # Ours get padding, the original gets none: so masks are compared, too.
    rows = [row[row != DELETED][None] for row in ids]
    pairs: list[tuple[TokenNetwork | Body, Any]] = [(network, original)]
    if isinstance(network, TransformerNetwork):
        # A head may be blind to its body where it is saturated.
        pairs.append((network.body, original.base_model))
    worst = max(
        float((a[: len(b)] - b).abs().max())
        for ours, theirs in pairs
        for a, b in zip(_ours(ours, ids), map(_of(theirs), rows), strict=True)
    )
    if not worst <= TOLERANCE:
        raise ValueError(
            f"{name} as written out here differs from the original by {worst:.1e} in its outputs; "
            f"expected at most {TOLERANCE:.0e}: use model=hf_model, which takes it as it is"
        )
    return worst


def _probe(n_symbols: int, most: int) -> Tensor:
    """`[3, 12]`, or fewer places: ids all over the vocabulary, in sequences of three lengths."""
    places = torch.arange(36).view(3, 12)
    # A prime for a step, so that ids do not repeat after a few.
    ids = (places * 7919 + 13) % n_symbols
    tokens = torch.where(torch.arange(12) < torch.tensor([[12], [9], [5]]), ids, DELETED)
    return tokens[:, :most]


def _ours(network: TokenNetwork | Body, ids: Tensor) -> Tensor:
    """`[B, C]` of a classifier; of others, what they say at every place."""
    if isinstance(network, Body):
        outputs: Tensor = network(Sequence(network.embedding(ids.clamp(min=0)), ids))
        return outputs
    embedded = network.lookup(ids)
    if isinstance(network, LanguageModel):
        states: Tensor = network.body(Sequence(embedded, ids))
        return states @ network.table.T
    return network.read(embedded, ids, {})


def _of(original: Any) -> Callable[[Tensor], Tensor]:
    """What the original says of one row, without padding, so that no mask is needed."""

    def outputs(ids: Tensor) -> Tensor:
        output = original(input_ids=ids)
        out: Tensor = output.logits if hasattr(output, "logits") else output.last_hidden_state
        return out[0]

    return outputs
