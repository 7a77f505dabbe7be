"""Small networks of tokens: bags, convolutions and recurrent cells over embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_bench.core.tokens import TokenNetwork, closed_up

Pooling = Literal["mean", "sum"]


class Embedded(TokenNetwork):
    """A network whose tokens are rows of one table."""

    def __init__(self, n_symbols: int, size: int) -> None:
        super().__init__()
        self.n_symbols = n_symbols
        self.embedding = nn.Embedding(n_symbols, size)

    def embed(self, ids: Tensor) -> Tensor:
        """`[...]` long to `[..., D]`, from the table."""
        embedded: Tensor = self.embedding(ids)
        return embedded

    def floats_per_row(self, width: int, *, gradient: bool = False) -> int:
        """About four numbers for each of an embedding."""
        return 4 * width * self.embedding.embedding_dim


class Bag(Embedded):
    """The mean or sum of the embeddings, then one linear layer.

    With a sum, what a word adds is the same in every sentence; with a mean, a deleted word makes
    all others count more, and a replaced one does not.
    """

    def __init__(
        self, n_symbols: int, size: int, n_outputs: int, pooling: Pooling, *, bias: bool = True
    ) -> None:
        super().__init__(n_symbols, size)
        self.pooling = pooling
        self.head = nn.Linear(size, n_outputs, bias=bias)

    def read(self, embedded: Tensor, tokens: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """`[B, C]`: a linear layer of the mean or sum of the tokens that are there."""
        sequence = closed_up(embedded, tokens)
        total = sequence.embedded.sum(1)
        if self.pooling == "mean":
            total = total / sequence.lengths.clamp(min=1)[:, None].to(total)
        out: Tensor = self.head(total)
        return out


class TextConvolution(Embedded):
    """Filters over a few words each, ReLU, the largest response of each filter, one linear layer.

    Kim 2014, arXiv:1408.5882.
    """

    def __init__(
        self, n_symbols: int, size: int, spans: Sequence[int], n_filters: int, n_outputs: int
    ) -> None:
        super().__init__(n_symbols, size)
        self.n_filters = n_filters * len(spans)
        self.convolutions = nn.ModuleList(nn.Linear(span * size, n_filters) for span in spans)
        self.spans = tuple(spans)
        self.head = nn.Linear(self.n_filters, n_outputs)

    def floats_per_row(self, width: int, *, gradient: bool = False) -> int:
        """The spans laid side by side, and two responses per filter."""
        return width * (self.embedding.embedding_dim * sum(self.spans) + 2 * self.n_filters)

    def read(self, embedded: Tensor, tokens: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """`[B, C]`: a linear layer of the largest response of each filter."""
        sequence = closed_up(embedded, tokens)
        per_span = [
            _responses(sequence.embedded, layer, span)
            for layer, span in zip(self.convolutions, self.spans, strict=True)
        ]
        # Every place where a token begins a span; beyond the last, the span is filled with zeros.
        # After the ReLU, the 0 of a place without a token is never above a response.
        responses = torch.cat(per_span, 2).relu() * sequence.present[..., None]
        out: Tensor = self.head(responses.amax(1))
        return out


def _responses(embedded: Tensor, layer: nn.Module, span: int) -> Tensor:
    """`[B, T, D] -> [B, T, F]`: a linear layer over each token and those that follow it."""
    filled = functional.pad(embedded, (0, 0, 0, span - 1))
    windows = torch.cat([filled[:, k : k + embedded.shape[1]] for k in range(span)], dim=2)
    out: Tensor = layer(windows)
    return out


Cell = Literal["gru", "lstm"]


class Recurrent(Embedded):
    """GRU or LSTM cells from left to right and from right to left; the largest value of each
    state over all words, then one linear layer. Cho+ 2014, arXiv:1406.1078; Hochreiter 1997.
    """

    def __init__(
        self, n_symbols: int, size: int, cell: Cell, n_hidden: int, n_outputs: int
    ) -> None:
        super().__init__(n_symbols, size)
        self.n_hidden = n_hidden
        made = GRU if cell == "gru" else LSTM
        self.forwards, self.backwards = made(size, n_hidden), made(size, n_hidden)
        self.head = nn.Linear(2 * n_hidden, n_outputs)

    def floats_per_row(self, width: int, *, gradient: bool = False) -> int:
        """About ten hidden states per token, and 24 with a way back."""
        steps = 24 if gradient else 10
        return width * (2 * self.embedding.embedding_dim + steps * self.n_hidden)

    def read(self, embedded: Tensor, tokens: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """`[B, C]`: a linear layer of the largest state over tokens, in both directions."""
        sequence = closed_up(embedded, tokens)
        places = range(tokens.shape[1])
        there = self.forwards.states(sequence.embedded, sequence.present, list(places))
        back = self.backwards.states(sequence.embedded, sequence.present, list(places)[::-1])
        states = torch.cat([there, back], dim=2)
        states = torch.where(sequence.present[..., None], states, -torch.inf)
        # A text without tokens has no largest state, and minus infinity would become NaN.
        largest = torch.where(sequence.present.any(1, keepdim=True), states.amax(1), 0)
        out: Tensor = self.head(largest)
        return out


class GRU(nn.Module):
    """Gated recurrent units, one matrix product per step, so that hooks see every step."""

    n_gates = 3

    def __init__(self, size: int, n_hidden: int) -> None:
        super().__init__()
        self.n_hidden = n_hidden
        self.inputs = nn.Linear(size, self.n_gates * n_hidden)
        self.recurrent = nn.Linear(n_hidden, self.n_gates * n_hidden)

    def states(self, embedded: Tensor, present: Tensor, places: Sequence[int]) -> Tensor:
        """`[B, T, D] -> [B, T, H]` in the order of `places`; none without a token changes them."""
        given = self.inputs(embedded)
        hidden = embedded.new_zeros(len(embedded), self.n_hidden)
        memory, out = hidden, [hidden] * len(places)
        for place in places:
            after, kept = self.step(given[:, place], hidden, memory)
            here = present[:, place, None]
            hidden, memory = torch.where(here, after, hidden), torch.where(here, kept, memory)
            out[place] = hidden
        return torch.stack(out, dim=1)

    def step(self, given: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The next hidden state and memory, `[B, H]`."""
        reset, update, new = given.chunk(3, 1)
        reset_h, update_h, new_h = self.recurrent(hidden).chunk(3, 1)
        update = torch.sigmoid(update + update_h)
        # As in PyTorch, the reset acts behind the matrix product; in Cho+ 2014 it acts before.
        new = torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h)
        return new + update * (hidden - new), memory


class LSTM(GRU):
    """Long short-term memory, one matrix product per step."""

    n_gates = 4

    def step(self, given: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The next hidden state and memory, `[B, H]`."""
        entry, forget, new, out = (given + self.recurrent(hidden)).chunk(4, 1)
        memory = torch.sigmoid(forget) * memory + torch.sigmoid(entry) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(memory), memory
