"""ALTI: how much of each token is in what attention makes of each place, layer upon layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xai_bench.core.tokens import DELETED, TransformerLayer, row_widths
from xai_bench.explainers.attention.maps import (
    SEVERAL_CALLS,
    attention_layers,
    embedded,
    same_width,
    spread,
)
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


@dataclass(frozen=True)
class ALTI:
    """Aggregation of layer-wise token-to-token interactions.

    What attention adds to a place is a sum over tokens of their transformed values, and the token
    of the place itself is there through the residual connection, with the biases; a normalisation
    afterwards is linear once its own scale is held. A token's contribution to a place is how much
    nearer, in the sum of absolute values, it brings the sum to what comes out; what brings it
    further away counts 0. Contributions are shares, multiplied through the layers as in rollout.
    MLPs act on each place by itself and are left out. The same for every target. Ferrando+ 2022.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "attention"
    needs: ClassVar[tuple[str, ...]] = ("attention",)
    paper: ClassVar[str] = "Ferrando+ 2022, arXiv:2203.04212"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`[B, T]`, summing to 1 over all tokens, special ones included."""
        attention_layers(model)  # says what is missing where there are none
        layers = [m for m in model.module.modules() if isinstance(m, TransformerLayer)]  # type: ignore[union-attr]
        if not layers:
            raise Unsupported("ALTI needs transformer layers with a residual connection")
        there, points = embedded(model, inputs)
        tokens = points.context["tokens"].long()
        scores = torch.zeros_like(tokens, dtype=torch.float64)
        for rows in same_width(there, points):
            width = int(row_widths(tokens[rows], points.context["length"][rows])[0])
            own = tokens[rows, :width]
            order = (own == DELETED).to(torch.int8).argsort(dim=1, stable=True)
            row = there.module.reading(own.gather(1, order))  # type: ignore[union-attr, operator]
            steps = _looked_at(layers, there, points.take(rows), targets[rows])
            for step in reversed(steps):
                # The row that is read, through each layer from the last on, as in rollout.
                row = torch.einsum("bi,bij->bj", row, step.shares(len(rows)))
            scores[rows, :width] = torch.zeros_like(row).scatter(1, order, row)
        return spread(scores, inputs)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One pass forward."""
        return Rows(1, 0)


@dataclass(eq=False)
class Step:
    """One layer while it was called: its stream `[B, T, D]`, its values `[B, T, h * d]`, its
    weights `[B, H, T, T]`.
    """

    layer: TransformerLayer
    stream: list[Tensor] = field(default_factory=list)
    value: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)

    def shares(self, n_samples: int) -> Tensor:
        """`[B, T, T]` float64, of the first rows: in row `i` each token's share in place `i`."""
        return torch.stack([_shares(self.parts(row)) for row in range(n_samples)])

    def parts(self, row: int) -> Tensor:
        """`[T, T, D]` for one sample: what token `j` brings to place `i`; they add up over `j`."""
        stream, weights = self.stream[0][row].double(), self.weights[0][row].double()
        brought = torch.einsum("hij,hjd->ijd", weights, self._values(row))
        itself = torch.arange(len(stream))
        bias = self.layer.attention.output.bias
        # The residual connection, and the bias, which no other token has a claim to.
        brought[itself, itself] += stream + (0 if bias is None else bias.detach().double())
        return brought if self.layer.norm_first else _normalised(brought, self.layer.attention_norm)

    def _values(self, row: int) -> Tensor:
        """`[H, T, D]`: the values of each head as they reach the stream."""
        n_heads, width, _ = self.weights[0][row].shape
        mixing = self.layer.attention.output.weight.detach().double()
        mixing = mixing.view(len(mixing), n_heads, -1)
        value = self.value[0][row].double().view(width, -1, mixing.shape[2])
        value = value.repeat_interleave(n_heads // value.shape[1], dim=1)
        return torch.einsum("jhk,dhk->hjd", value, mixing)


def _normalised(parts: Tensor, norm: nn.Module) -> Tensor:
    """`[T, T, D]`: a normalisation of the sum over `j`, its scale held; its offset is left out."""
    total = parts.sum(1)
    if isinstance(norm, nn.LayerNorm):
        parts = parts - parts.mean(-1, keepdim=True)
        # The scale of the whole sum, held: only then is the norm linear in its parts.
        size = total.var(-1, correction=0, keepdim=True)
    elif isinstance(norm, nn.RMSNorm):
        size = total.square().mean(-1, keepdim=True)
    else:
        raise Unsupported(f"ALTI knows LayerNorm and RMSNorm; this is {type(norm).__name__}")
    scale = (size + (norm.eps or 0.0)).sqrt()
    weight = norm.weight
    return parts / scale[:, None] * (1 if weight is None else weight.detach().double())


def _shares(parts: Tensor) -> Tensor:
    """`[T, T, D] -> [T, T]`: how much nearer each part brings the sum, rows adding up to 1."""
    total = parts.sum(1)
    without = (total[:, None] - parts).abs().sum(2)
    # The L1 norm, as in the paper: a Euclidean one would let few large numbers decide.
    nearer = (total.abs().sum(1, keepdim=True) - without).clamp(min=0)
    summed = nearer.sum(1, keepdim=True)
    itself = torch.eye(len(parts)).to(parts)
    return torch.where(summed > 0, nearer / summed.clamp(min=1e-300), itself)


def _looked_at(
    layers: list[TransformerLayer], model: Model, points: Inputs, targets: Tensor
) -> list[Step]:
    """One pass forward."""
    with recorded(layers) as steps, torch.no_grad():
        # Rows that need a gradient go through the module together, in one call.
        x = points.x.detach().clone().requires_grad_()
        model.target_output(points.with_x(x), targets)
    if any(len(step.stream) != 1 for step in steps):
        raise Unsupported(SEVERAL_CALLS)
    return steps


@contextmanager
def recorded(layers: list[TransformerLayer]) -> Iterator[list[Step]]:
    """What each layer is called with and computes, while in the block."""
    steps = [Step(layer) for layer in layers]
    handles = []

    def into(kept: list[Tensor]) -> Any:
        return lambda module, args, out: kept.append(out.detach())

    def before(kept: list[Tensor]) -> Any:
        return lambda module, args: kept.append(args[0].detach())

    for step in steps:
        attention = step.layer.attention
        handles.append(step.layer.register_forward_pre_hook(before(step.stream)))
        handles.append(attention.value.register_forward_hook(into(step.value)))
        handles.append(attention.weights.register_forward_hook(into(step.weights)))
    try:
        yield steps
    finally:
        for handle in handles:
            handle.remove()
