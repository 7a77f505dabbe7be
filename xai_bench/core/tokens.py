"""Sequences of tokens: what stands for the absence of one, and how the rest closes up.

x holds token ids as whole float numbers, exact below 2^24. Numbers below 0 are no ids: `DELETED` is
a place without a token (padding, or a token that is gone; what follows closes up), `HIDDEN` a token
that keeps its place and nothing else (no embedding, and nobody attends to it), `ZEROED` a token
whose embedding is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xai_bench.types import Domain, Unsupported

DELETED, HIDDEN, ZEROED = -1, -2, -3

WIDTHS = tuple(2**k * part for k in range(3, 16) for part in (2, 3))
"""16, 24, 32, 48, ...: the numbers of places with which rows go through a model."""


def widths(lengths: Tensor) -> Tensor:
    """`[B] -> [B]` long: the smallest of `WIDTHS` that holds so many tokens."""
    options = torch.tensor(WIDTHS).to(lengths.device)
    # Few widths, so that rows of about one length share a call, and a row's bits depend on its own.
    return options[torch.bucketize(lengths, options)]


def occupied(tokens: Tensor) -> Tensor:
    """`[B, T] -> [B]` long: the places up to the last token, with the gaps between."""
    places = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
    return torch.where(tokens == DELETED, 0, places).amax(1)


def row_widths(tokens: Tensor, lengths: Tensor | None) -> Tensor:
    """`[B, T]` and the samples' own `lengths [B]` to `[B]` long: the places that each row goes
    through a model with; without lengths, all of them.
    """
    longest = occupied(tokens)
    needed = torch.full_like(longest, tokens.shape[1]) if lengths is None else lengths
    return widths(torch.maximum(needed, longest)).clamp(max=tokens.shape[1])


def require_numbers(domain: Domain, what: str) -> None:
    """Raise `Unsupported` where x holds ids, which cannot be averaged, scaled or moved a little."""
    if domain.discrete:
        raise Unsupported(
            f"{what} computes with the numbers in x, and these are token ids; use what removes or "
            "replaces tokens, or view=embeddings"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """Embedded tokens without gaps.

    Attributes:
        embedded: `[B, T, D]`, 0 where there is no token.
        tokens: `[B, T]` long, all that are `DELETED` at the end.
    """

    embedded: Tensor
    tokens: Tensor

    @property
    def present(self) -> Tensor:
        """`[B, T]` bool: the places with a token."""
        return self.tokens != DELETED

    @property
    def visible(self) -> Tensor:
        """`[B, T]` bool: the places that may be attended to."""
        return (self.tokens != DELETED) & (self.tokens != HIDDEN)

    @property
    def lengths(self) -> Tensor:
        """`[B]` long: how many tokens there are."""
        return self.present.sum(1)


def closed_up(embedded: Tensor, tokens: Tensor) -> Sequence:
    """`[B, T, D], [B, T]`: the tokens that are there, in their order, moved to the front."""
    gone = tokens == DELETED
    if not bool((gone[:, :-1] & ~gone[:, 1:]).any()):
        return Sequence(embedded, tokens)
    # Stable, so that tokens that stay keep their order.
    order = gone.to(torch.int8).argsort(dim=1, stable=True)
    return Sequence(
        embedded.gather(1, order[:, :, None].expand_as(embedded)), tokens.gather(1, order)
    )


class AttentionLayer(nn.Module):
    """A layer in which tokens gather the values of others, its steps modules that can be hooked.

    Attributes:
        value: gives what is gathered `[B, T, ...]`, all heads side by side.
        scores: passes on the products `[B, H, T, T]` of queries and keys.
        weights: gives the shares `[B, H, T, T]` of what each place (a row) gathers.
        heads: passes on the products of weights and values.
        output: mixes what the heads gathered, `[B, T, H * d]` to the stream.
    """

    value: nn.Module
    scores: nn.Module
    weights: nn.Module
    heads: nn.Module
    output: nn.Linear


class TransformerLayer(nn.Module):
    """Attention, whose result is added to the stream `[B, T, D]` that the layer is called with.

    Attributes:
        attention_norm: a LayerNorm or RMSNorm, of the stream before attention (`norm_first`), or of
            the sum after it.
    """

    attention: AttentionLayer
    attention_norm: nn.Module
    norm_first: bool


class HiddenLayer(nn.Module):
    """A hidden layer of every token by itself, its steps modules that can be hooked.

    Attributes:
        gated: whether the activation is multiplied with a second projection.
        activation: the nonlinearity.
        hidden: passes on what it gives, or the product.
    """

    gated: bool
    activation: nn.Module
    hidden: nn.Module


class TokenNetwork(nn.Module):
    """A network of tokens, called with ids `x [B, T]`, or with embeddings `x [B, T, D]` and their
    `tokens [B, T]`. A subclass says how tokens are embedded and what is made of them.

    Attributes:
        n_symbols: the size of its vocabulary; max_tokens: the longest sequence, None for any.
        attends: whether tokens can be hidden from others.
    """

    attends: ClassVar[bool] = False
    n_symbols: int
    max_tokens: int | None = None

    def embed(self, ids: Tensor) -> Tensor:
        """`[...]` long, ids of the vocabulary, `-> [..., D]`."""
        raise NotImplementedError

    def read(self, embedded: Tensor, tokens: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """`[B, T, D], [B, T] -> [B, C]`; there may be gaps, see `closed_up`."""
        raise NotImplementedError

    def reading(self, tokens: Tensor) -> Tensor:
        """`[B, T]` without gaps to `[B, T]`: the share that the output has of each place of the
        last layer.

        Raises `Unsupported` where the output is no mean of places.
        """
        raise Unsupported("this model does not say which places its output is read from")

    def floats_per_row(self, width: int, *, gradient: bool = False) -> int:
        """About how many numbers are held at once for a row of so many tokens."""
        raise NotImplementedError

    def lookup(self, tokens: Tensor) -> Tensor:
        """`[..., T] -> [..., T, D]`: embeddings, 0 for what is no id."""
        embedded = self.embed(tokens.clamp(min=0))
        return torch.where((tokens < 0)[..., None], 0, embedded)

    def forward(self, x: Tensor, tokens: Tensor | None = None, **context: Tensor) -> Tensor:
        """`x [B, T]` ids, or `[B, T, D]` with `tokens [B, T]`, to `[B, C]`. Raises `Unsupported`
        for hidden tokens where nothing attends.
        """
        if tokens is None:
            if self.training:  # only what is explained needs the width of its own length
                x = x[:, : int(widths(occupied(x).amax()[None]))]
            tokens, x = x.long(), self.lookup(x.long())
        else:
            tokens = tokens.long()
            x = x.masked_fill((tokens == DELETED)[..., None], 0)
        if not self.attends and bool((tokens == HIDDEN).any()):
            raise Unsupported(
                "this model attends to nothing, so no token can be hidden from it; use baseline "
                "deletion, mask_token, unknown_token, padding_token or zero_embedding"
            )
        return self.read(x, tokens, context)
