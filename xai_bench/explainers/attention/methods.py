"""Explanations made of attention weights, and of their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xai_bench.explainers.attention.maps import AttentionMaps, by_token
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


@dataclass(frozen=True)
class LastLayerAttention:
    """How much the place that is read gathers of each token in the last layer, mean over heads.

    The same for every target. Where a mean of places is read, the mean of their rows.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "attention"
    needs: ClassVar[tuple[str, ...]] = ("attention",)
    paper: ClassVar[str] = "Bahdanau+ 2015, arXiv:1409.0473; Jain & Wallace 2019, arXiv:1902.10186"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`[B, T]`, summing to 1 over all tokens, special ones included."""
        return by_token(model, inputs, targets, lambda maps: _rows(maps)[-1])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One pass forward."""
        return Rows(1, 0)


@dataclass(frozen=True)
class MeanAttention(LastLayerAttention):
    """How much the place that is read gathers of each token, mean over all heads and layers.

    The same for every target.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "attention"
    needs: ClassVar[tuple[str, ...]] = ("attention",)

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`[B, T]`, summing to 1 over all tokens, special ones included."""
        return by_token(model, inputs, targets, lambda maps: _rows(maps).mean(0))


@dataclass(frozen=True)
class AttentionRollout(LastLayerAttention):
    """Attention through all layers: the product of their matrices, heads averaged, each mixed half
    and half with the identity, which stands for the residual connection. Abnar & Zuidema 2020.

    The same for every target.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "attention"
    needs: ClassVar[tuple[str, ...]] = ("attention",)
    paper: ClassVar[str] = "Abnar & Zuidema 2020, arXiv:2005.00928"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`[B, T]`, summing to 1 over all tokens, special ones included."""
        return by_token(model, inputs, targets, _rollout)


@dataclass(frozen=True)
class AttentionFlow(LastLayerAttention):
    """The largest flow from each token to the place that is read, through a network whose edges
    between layers have the weights of rollout for capacities. Abnar & Zuidema 2020.

    The same for every target. A flow is found for every token: longer texts than `max_tokens` are
    refused.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "attention"
    needs: ClassVar[tuple[str, ...]] = ("attention",)
    paper: ClassVar[str] = "Abnar & Zuidema 2020, arXiv:2005.00928"

    max_tokens: int = 64

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`[B, T]`, each between 0 and 1. Raises `Unsupported` for longer texts."""
        longest = int(inputs.context["length"].max()) if "length" in inputs.context else 0
        if longest > self.max_tokens:
            raise Unsupported(
                f"attention flow is found in texts of at most {self.max_tokens} tokens, and one "
                f"has {longest}; set max_tokens={longest}, or data.max_tokens={self.max_tokens}"
            )
        return by_token(model, inputs, targets, _flows)


@dataclass(frozen=True)
class AttentionGradient:
    """Attention times its gradient in the last layer, summed over heads and over the places that
    gather: by how much the output falls, to first order, when nobody attends to the token there.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "attention"
    needs: ClassVar[tuple[str, ...]] = ("attention",)
    paper: ClassVar[str] = "Serrano & Smith 2019, arXiv:1906.03731"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`[B, T]`, signed."""
        return by_token(
            model,
            inputs,
            targets,
            lambda maps: (maps.weights[-1] * maps.slopes[-1]).sum((1, 2)),
            slopes=True,
        )

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One pass forward and back."""
        return Rows(1, 1)


@dataclass(frozen=True)
class GenericAttention(AttentionGradient):
    """Relevance passed from layer to layer, for encoders and decoders of one stream: from the
    identity, `R <- R + mean over heads of (A * dA)+ R`. Chefer+ 2021.

    What the identity gives the place that is read is left out, for it says nothing of the text.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "attention"
    needs: ClassVar[tuple[str, ...]] = ("attention",)
    paper: ClassVar[str] = "Chefer+ 2021, arXiv:2103.15679"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`[B, T]`, never negative."""
        return by_token(model, inputs, targets, _passed_on, slopes=True)


def _rows(maps: AttentionMaps) -> Tensor:
    """`[L, B, T]`: what is gathered by the places that are read, mean over heads."""
    return torch.einsum("bi,lbij->lbj", maps.reading, maps.weights.mean(2))


def _mixed(maps: AttentionMaps) -> Tensor:
    """`[L, B, T, T]`: heads averaged, half of each row is the residual connection."""
    identity = torch.eye(maps.weights.shape[-1]).to(maps.weights)
    # As in the paper: rows go on adding up to 1, so that the product is a share, too.
    return (maps.weights.mean(2) + identity) / 2


def _rollout(maps: AttentionMaps) -> Tensor:
    """`[B, T]`: one row of the product, from the last layer back to the first."""
    # From the last layer back, one row times each matrix: the product of matrices is not needed.
    row = maps.reading
    for layer in _mixed(maps).flip(0):
        row = torch.einsum("bi,bij->bj", row, layer)
    return row


def _passed_on(maps: AttentionMaps) -> Tensor:
    """`[B, T]`: one row of R, less the identity."""
    row = maps.reading
    # The positive part before the mean over heads: a head that speaks against the target must not
    # cancel one that speaks for it.
    for layer in (maps.weights * maps.slopes).clamp(min=0).mean(2).flip(0):
        row = row + torch.einsum("bi,bij->bj", row, layer)
    return row - maps.reading


def rolled_out(maps: AttentionMaps) -> Tensor:
    """`[B, T, T]`: the product of all layers; row `i` says what place `i` holds of each token."""
    product = torch.eye(maps.weights.shape[-1]).to(maps.weights)
    for layer in _mixed(maps):
        product = layer @ product
    return product


_UNIT = 2**24
"""Flows are found in whole numbers: this is a flow of 1."""


def _flows(maps: AttentionMaps) -> Tensor:
    """`[B, T]`, one largest flow per token."""
    capacities, reading = (
        (part * _UNIT).round().to("cpu", torch.int32).numpy()
        for part in (_mixed(maps), maps.reading)
    )
    # Scipy's maximum flow takes whole numbers only, hence `_UNIT`.
    flows = [_flow(capacities[:, row], reading[row]) for row in range(len(reading))]
    return torch.from_numpy(np.stack(flows)).to(maps.reading) / _UNIT


def _flow(capacities: np.ndarray, reading: np.ndarray) -> np.ndarray:
    """`[L, T, T], [T] -> [T]`: from the place that is read, through all layers, to each token."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    n_layers, width, _ = capacities.shape
    n_nodes = width * (n_layers + 1) + 1  # those of layer l from l * width; then the source
    edges = np.zeros((n_nodes, n_nodes), dtype=np.int32)
    for layer in range(n_layers):
        below = slice(layer * width, (layer + 1) * width)
        above = slice((layer + 1) * width, (layer + 2) * width)
        edges[above, below] = capacities[layer]
    edges[-1, n_layers * width : -1] = reading
    # Scipy's maximum flow takes nothing but a sparse matrix.
    graph = csr_array(edges)
    sinks = range(width)
    return np.array([maximum_flow(graph, n_nodes - 1, sink).flow_value for sink in sinks])
