"""One transformer, written out, every step a module with a name that can be hooked.

With learned or rotary positions, LayerNorm or RMSNorm before or after each part, grouped queries
and gated MLPs it is BERT, GPT-2 and Llama. Vaswani+ 2017, arXiv:1706.03762; Su+ 2021,
arXiv:2104.09864; Ainslie+ 2023, arXiv:2305.13245; Shazeer 2020, arXiv:2002.05202.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from xai_bench.core.tokens import AttentionLayer, HiddenLayer, Sequence, TransformerLayer

Activation = Literal["gelu", "gelu_tanh", "silu", "relu"]
_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "relu": nn.ReLU,
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a transformer is made of.

    Attributes:
        size: of a token's vector; head_size: of one head's part of it.
        n_kv_heads: heads of keys and values, each of which serves `n_heads / n_kv_heads` queries.
        max_tokens: the longest sequence.
        norm_first: normalise before each part (GPT-2, Llama), or after it (BERT).
        embedding_norm: normalise the embeddings, too (BERT).
        gated: the MLP multiplies two projections (Llama).
        biased: parts whose linear layers have biases: `queries` (with keys and values), `heads`
            (what gathers the heads), `mlp`.
        causal: no token attends to a later one.
    """

    n_symbols: int
    size: int = 64
    n_layers: int = 2
    n_heads: int = 4
    n_kv_heads: int = 4
    head_size: int = 16
    mlp_size: int = 256
    max_tokens: int = 512
    positions: Literal["learned", "rotary"] = "learned"
    rotary_base: float = 10_000.0
    norm: Literal["layer", "rms"] = "layer"
    norm_epsilon: float = 1e-5
    norm_first: bool = True
    embedding_norm: bool = False
    activation: Activation = "gelu"
    gated: bool = False
    biased: tuple[str, ...] = ("queries", "heads", "mlp")
    causal: bool = False

    def norm_layer(self) -> nn.Module:
        """A normalisation of token vectors."""
        if self.norm == "rms":
            return nn.RMSNorm(self.size, eps=self.norm_epsilon)
        return nn.LayerNorm(self.size, eps=self.norm_epsilon)

    def floats_per_row(self, width: int, *, gradient: bool) -> int:
        """About how many numbers are held at once for one sequence of so many tokens."""
        heads = self.head_size * (2 * self.n_heads + 2 * self.n_kv_heads)
        vectors = width * (6 * self.size + heads + (3 if self.gated else 2) * self.mlp_size)
        # The scores, the scores under the mask, and their softmax.
        layer = vectors + 3 * self.n_heads * width**2
        return layer * (self.n_layers if gradient else 1)


class Body(nn.Module):
    """What reads a `Sequence` of embedded tokens: our transformer, or somebody else's.

    Attributes:
        embedding: a table with the vector of each of `n_symbols` tokens.
        size: of the vectors of its last layer; max_tokens: the longest sequence.
    """

    embedding: nn.Module
    n_symbols: int
    size: int
    max_tokens: int

    def floats_per_row(self, width: int, *, gradient: bool) -> int:
        """As for `TokenNetwork`."""
        raise NotImplementedError


class Transformer(Body):
    """`Sequence` of embedded tokens to `[B, T, size]`.

    Parts are called `embedding`, `positions`, `embedding_norm`, `blocks.{l}` and `final_norm`.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.n_symbols, self.size = architecture.n_symbols, architecture.size
        self.max_tokens = architecture.max_tokens
        self.embedding = nn.Embedding(architecture.n_symbols, architecture.size)
        if architecture.positions == "learned":
            self.positions = nn.Embedding(architecture.max_tokens, architecture.size)
        if architecture.embedding_norm:
            self.embedding_norm = architecture.norm_layer()
        self.blocks = nn.ModuleList(Block(architecture) for _ in range(architecture.n_layers))
        if architecture.norm_first:
            self.final_norm = architecture.norm_layer()

    def floats_per_row(self, width: int, *, gradient: bool) -> int:
        """As its architecture says."""
        return self.architecture.floats_per_row(width, gradient=gradient)

    def forward(self, sequence: Sequence) -> Tensor:
        """`[B, T, size]`: the states of the last layer."""
        return self.upper(self.lower(sequence, len(self.blocks)), sequence, len(self.blocks))

    def lower(self, sequence: Sequence, n_layers: int) -> Tensor:
        """`[B, T, size]`: what the first layers make of the tokens."""
        stream = sequence.embedded
        width = stream.shape[1]
        if self.architecture.positions == "learned":
            stream = stream + self.positions.weight[:width]
        if self.architecture.embedding_norm:
            stream = self.embedding_norm(stream)
        return self._through(stream, sequence, range(n_layers))

    def upper(self, stream: Tensor, sequence: Sequence, n_below: int) -> Tensor:
        """`[B, T, size]`: the layers above `n_below`, whose stream this is."""
        stream = self._through(stream, sequence, range(n_below, len(self.blocks)))
        # Where each part is normalised after it, the last block has done so already.
        return self.final_norm(stream) if self.architecture.norm_first else stream

    def _through(self, stream: Tensor, sequence: Sequence, layers: range) -> Tensor:
        allowed = self._allowed(sequence)
        for layer in layers:
            stream = self.blocks[layer](stream, allowed)
        return stream

    def _allowed(self, sequence: Sequence) -> Tensor:
        """`[B, 1, T, T]` bool: which token may attend to which."""
        allowed = sequence.visible[:, None, None]
        width = allowed.shape[-1]
        if not self.architecture.causal:
            return allowed.expand(-1, -1, width, -1)
        return allowed & allowed.new_ones(width, width).tril()


class Block(TransformerLayer):
    """Attention, then an MLP on every token, each added to what it was given."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.norm_first = architecture.norm_first
        self.attention, self.mlp = Attention(architecture), MLP(architecture)
        self.attention_norm, self.mlp_norm = architecture.norm_layer(), architecture.norm_layer()

    def forward(self, stream: Tensor, allowed: Tensor) -> Tensor:
        """`stream [B, T, size]`, `allowed [B, 1, T, T]` bool `-> [B, T, size]`."""
        if self.norm_first:
            stream = stream + self.attention(self.attention_norm(stream), allowed)
            out: Tensor = stream + self.mlp(self.mlp_norm(stream))
        else:
            stream = self.attention_norm(stream + self.attention(stream, allowed))
            out = self.mlp_norm(stream + self.mlp(stream))
        return out


class Attention(AttentionLayer):
    """Every token gathers the values of those whose keys fit its query.

    Hooks find `scores [B, H, T, T]` before and `weights [B, H, T, T]` after the softmax, and
    `heads [B, H, T, d]`, what each head gathered, before `output` mixes them.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        own, shared = a.n_heads * a.head_size, a.n_kv_heads * a.head_size
        self.query = nn.Linear(a.size, own, bias="queries" in a.biased)
        self.key = nn.Linear(a.size, shared, bias="queries" in a.biased)
        self.value = nn.Linear(a.size, shared, bias="queries" in a.biased)
        self.scores, self.weights, self.heads = nn.Identity(), nn.Softmax(-1), nn.Identity()
        self.output = nn.Linear(own, a.size, bias="heads" in a.biased)

    def forward(self, stream: Tensor, allowed: Tensor) -> Tensor:
        a = self.architecture
        query = self._by_head(self.query(stream), a.n_heads)
        key, value = (
            self._by_head(layer(stream), a.n_kv_heads) for layer in (self.key, self.value)
        )
        if a.positions == "rotary":
            turns = rotations(stream.shape[1], a.head_size, a.rotary_base)
            query, key = turned(query, turns), turned(key, turns)
        serves = a.n_heads // a.n_kv_heads
        key, value = key.repeat_interleave(serves, 1), value.repeat_interleave(serves, 1)
        scores = self.scores(query @ key.mT / math.sqrt(a.head_size))
        # Not minus infinity: a token that may attend to none gets equal weights then, and no NaN.
        lowest = torch.finfo(scores.dtype).min
        weights = self.weights(scores.masked_fill(~allowed, lowest))
        gathered = self.heads(weights @ value)
        out: Tensor = self.output(gathered.transpose(1, 2).flatten(2))
        return out

    def _by_head(self, vectors: Tensor, n_heads: int) -> Tensor:
        """`[B, T, H * d] -> [B, H, T, d]`."""
        size = self.architecture.head_size
        return vectors.view(*vectors.shape[:2], n_heads, size).transpose(1, 2)


class MLP(HiddenLayer):
    """A hidden layer, gated or not; hooks find `hidden [B, T, mlp_size]` before `down`."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a, bias = architecture, "mlp" in architecture.biased
        if a.gated:
            self.gate = nn.Linear(a.size, a.mlp_size, bias=bias)
        self.gated = a.gated
        self.up = nn.Linear(a.size, a.mlp_size, bias=bias)
        self.activation = _ACTIVATIONS[a.activation]()
        self.hidden = nn.Identity()
        self.down = nn.Linear(a.mlp_size, a.size, bias=bias)

    def forward(self, stream: Tensor) -> Tensor:
        """`[B, T, size] -> [B, T, size]`, every token by itself."""
        if self.gated:
            hidden = self.activation(self.gate(stream)) * self.up(stream)
        else:
            hidden = self.activation(self.up(stream))
        out: Tensor = self.down(self.hidden(hidden))
        return out


def rotations(width: int, head_size: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[T, d]` of the angles by which places turn the halves of a head."""
    speeds = base ** (-torch.arange(0, head_size, 2).float() / head_size)
    # [T, d]: both halves of a head have the same angles, as in transformers; Su+ 2021 pair
    # neighbours.
    angles = torch.outer(torch.arange(width).float(), speeds).repeat(1, 2)
    return angles.cos(), angles.sin()


def turned(vectors: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """`[B, H, T, d]`: each pair of numbers, half a head apart, turned by its place's angle."""
    cosine, sine = (turn.to(vectors) for turn in turns)
    left, right = vectors.chunk(2, -1)
    return vectors * cosine + torch.cat([-right, left], -1) * sine
