"""A network whose attention is written down, and what it says linear in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tests.models.text.test_predictor import V, texts
from xai_bench.core.tokens import AttentionLayer, TokenNetwork, closed_up
from xai_bench.models.base import Explained
from xai_bench.models.targets import TrueLabel
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.types import Inputs

WIDTH, N_LAYERS, N_HEADS, SIZE = 6, 2, 2, 3


class Planted(AttentionLayer):
    """Heads that attend as they are told, and add what they gather to the stream."""

    def __init__(self, shares: Tensor) -> None:
        super().__init__()
        self.register_buffer("given", shares.log())
        self.value, self.weights = nn.Identity(), nn.Softmax(-1)
        self.scores, self.heads = nn.Identity(), nn.Identity()

    def forward(self, stream: Tensor) -> Tensor:
        width = stream.shape[1]
        given: Any = self.given
        scores = self.scores(given[:, :width, :width].expand(len(stream), -1, -1, -1))
        gathered: Tensor = self.heads(self.weights(scores) @ self.value(stream)[:, None]).sum(1)
        return gathered


class PlantedNetwork(TokenNetwork):
    """Two planted layers, each with a residual connection; the first place is read."""

    attends = True

    def __init__(self, shares: Tensor, residual: float = 1.0) -> None:
        super().__init__()
        self.n_symbols, self.residual = V, residual
        self.embedding = nn.Embedding(V, SIZE)
        self.layers = nn.ModuleList(Planted(part) for part in shares)
        self.head = nn.Linear(SIZE, 2, bias=False)
        self.double()

    def embed(self, ids: Tensor) -> Tensor:
        found: Tensor = self.embedding(ids)
        return found

    def floats_per_row(self, width: int, *, gradient: bool = False) -> int:
        return 100 * width

    def reading(self, tokens: Tensor) -> Tensor:
        return (torch.arange(tokens.shape[1]) == 0).double().expand(tokens.shape)

    def read(self, embedded: Tensor, tokens: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        stream = closed_up(embedded, tokens).embedded
        for layer in self.layers:
            stream = self.residual * stream + layer(stream)
        out: Tensor = self.head(stream[:, 0])
        return out


def shares(seed: int = 0) -> Tensor:
    """`[L, H, T, T]`: rows that sum to one."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(N_LAYERS, N_HEADS, WIDTH, WIDTH, generator=generator, dtype=torch.float64)
    return drawn / drawn.sum(-1, keepdim=True)


def planted(given: Tensor, residual: float = 1.0) -> tuple[Explained, Inputs, Tensor]:
    """The model, three texts that fill all places, and targets."""
    network = PlantedNetwork(given, residual)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data.normal_(generator=generator)
    model = Explained(TokenPredictor(network, 2), TrueLabel())
    return model, texts([WIDTH] * 3, width=WIDTH), torch.tensor([0, 1, 0])
