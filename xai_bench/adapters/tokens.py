"""Networks of token ids that people bring, with the name of the layer that embeds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.adapters.forms import numbers
from xai_bench.core.spelling import suggest
from xai_bench.core.tokens import ZEROED, TokenNetwork
from xai_bench.models.base import rows_of
from xai_bench.types import Symbols, Unsupported

_PER_NUMBER = 32
"""About how many numbers a network holds for each number of an embedded row."""


class NamedEmbedding(TokenNetwork):
    """A module `ids [N, T] -> [N, C]`, one of whose layers is an `nn.Embedding`.

    Embeddings go in where that layer would give them, so gradients reach them.
    """

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model = model
        self.embedding = [embedding_of(model, name)]  # a list: it belongs to the model already
        self.n_symbols = self.embedding[0].num_embeddings

    def embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.embedding[0](ids)
        return embedded

    def read(self, embedded: Tensor, tokens: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        if bool(((tokens < 0) & (tokens != ZEROED)).any()):
            raise Unsupported(
                "no token can be taken out of, or hidden in, a network that is called with ids "
                "alone; use baseline zero_embedding or padding_token"
            )

        def given(layer: nn.Module, args: Any, output: Tensor) -> Tensor:
            return embedded

        # So that any id will do below, where a token has none.
        handle = self.embedding[0].register_forward_hook(given)
        try:
            return rows_of(self.model(tokens.clamp(min=0)))
        finally:
            handle.remove()

    def floats_per_row(self, width: int, *, gradient: bool = False) -> int:
        return width * self.embedding[0].embedding_dim * _PER_NUMBER


def embedding_of(model: Any, name: str) -> nn.Embedding:
    """The layer of that name. Raises ValueError where there is none that embeds ids."""
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"embedding={name!r} names a layer, and the model is a {type(model).__name__}; "
            "expected a torch module"
        )
    named = {path: m for path, m in model.named_modules() if isinstance(m, nn.Embedding)}
    if name not in named:
        raise ValueError(
            f"the model has no embedding layer {name!r}; {suggest(name, named)}"
            if named
            else "the model has no nn.Embedding, so embedding= names nothing: leave it out"
        )
    return named[name]


def ids_of(rows: Any, name: str, n_symbols: int) -> Tensor:
    """`[N, T]` float, whole numbers below `n_symbols`. Raises ValueError for anything else."""
    given = numbers(rows, name)
    if given.dim() != 2 or 0 in given.shape or not torch.equal(given, given.round()):
        raise ValueError(
            f"{name} has shape {list(given.shape)} in {given.dtype}; expected token ids [N, T], "
            "whole numbers"
        )
    if int(given.min()) < 0 or int(given.max()) >= n_symbols:
        worst = int(given.min()) if int(given.min()) < 0 else int(given.max())
        raise ValueError(
            f"{name} holds the token id {worst}; the embedding layer knows 0 to {n_symbols - 1}"
        )
    return given.float()


def symbols_of(embedding: nn.Embedding, background: Tensor) -> Symbols:
    """The vocabulary, whose tokens nobody has named."""
    size, padding = embedding.num_embeddings, embedding.padding_idx
    special = torch.zeros(size, dtype=torch.bool)
    if padding is not None:
        special[padding] = True
    return Symbols(
        tokens=tuple(str(number) for number in range(size)),
        special=special,
        counts=torch.bincount(background.long().flatten(), minlength=size),
        padding=padding,
    )
