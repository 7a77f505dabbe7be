"""Attention as a model computes it: the weights of every layer, their slopes, what is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_bench.core.calls.row_gradients import row_gradients
from xai_bench.core.tokens import DELETED, AttentionLayer, TokenNetwork, row_widths
from xai_bench.explainers.gradient.engine import require_path
from xai_bench.types import Explanation, Inputs, Model, Relaxable, Unsupported

SEVERAL_CALLS = (
    "attention is looked at in one call of the model a row, and this one takes several, as for "
    "answers of several tokens; take data whose answers have one token"
)


@dataclass(frozen=True, slots=True, eq=False)
class AttentionMaps:
    """Attention of a batch of sequences without gaps, float64.

    Attributes:
        weights: `[L, B, H, T, T]`; row `i` holds the shares of what place `i` gathers.
        slopes: `[L, B, H, T, T]`, the gradient of the target output with respect to them; zeros
            where they were not asked for.
        reading: `[B, T]`, the share that the output has of each place of the last layer.
    """

    weights: Tensor
    slopes: Tensor
    reading: Tensor


def embedded(model: Model, inputs: Inputs) -> tuple[Model, Inputs]:
    """The model and samples at the embeddings of the tokens, where they are not there already.

    Raises `Unsupported` for models that read no tokens.
    """
    if not inputs.domain.discrete:
        return model, inputs
    if not isinstance(model, Relaxable):
        raise Unsupported("this model has no word embeddings")
    return model.relaxed(inputs)


def attention_layers(model: Model) -> list[AttentionLayer]:
    """The attention layers, in their order. Raises `Unsupported` where none can be looked into."""
    module = model.module
    layers = [m for m in module.modules() if isinstance(m, AttentionLayer)] if module else []
    if not layers or not isinstance(module, TokenNetwork):
        raise Unsupported(
            "attention is looked at in transformers that are written out here (text_transformer, "
            "causal_transformer, minilm, smollm2, transformer), and this model is none"
        )
    return layers


def by_token(
    model: Model,
    inputs: Inputs,
    targets: Tensor,
    read: Callable[[AttentionMaps], Tensor],
    *,
    slopes: bool = False,
) -> Explanation:
    """What `read` makes of the maps, `[b, T]`, at each token; 0 in padding and special tokens.

    Where x holds embeddings, a token's number is divided evenly over theirs.
    """
    scores = torch.zeros(inputs.x.shape[:2], dtype=torch.float64, device=inputs.x.device)
    for rows, order, maps in looked_at(model, inputs, targets, slopes=slopes):
        scores[rows, : order.shape[1]] = torch.zeros_like(maps.reading).scatter(
            1, order, read(maps)
        )
    return spread(scores, inputs)


def looked_at(
    model: Model, inputs: Inputs, targets: Tensor, *, slopes: bool = False
) -> Iterator[tuple[Tensor, Tensor, AttentionMaps]]:
    """By width: row numbers `[b]`, the place in x of each token that is seen `[b, T]`, the maps."""
    layers = attention_layers(model)
    there, points = embedded(model, inputs)
    tokens = points.context["tokens"].long()
    for rows in same_width(there, points):
        width = int(row_widths(tokens[rows], points.context["length"][rows])[0])
        own = tokens[rows, :width]
        # Networks close gaps up before they attend, so places of the maps are not those of x.
        order = (own == DELETED).to(torch.int8).argsort(dim=1, stable=True)
        # A classifier reads its first token or a mean, a language model the last token.
        part = there.module.reading(own.gather(1, order))  # type: ignore[union-attr, operator]
        yield (
            rows,
            order,
            _look(layers, there, points.take(rows), targets[rows], part, slopes=slopes),
        )


def spread(scores: Tensor, inputs: Inputs) -> Explanation:
    """`[B, T]` over the elements of x; 0 in padding and special tokens."""
    if inputs.x.dim() == 3:
        # Evenly, since attention is paid to a token and not to a number of its embedding.
        scores = (scores / inputs.x.shape[2])[..., None].expand(inputs.x.shape)
    return Explanation(torch.where(inputs.units < 0, 0, scores).to(inputs.x.dtype))


def same_width(model: Model, points: Inputs) -> Iterator[Tensor]:
    """Row numbers that the model takes in one call of its module."""
    lengths = points.context.get("length")
    if lengths is None:
        raise Unsupported("attention is looked at in texts, and these inputs have no length")
    wide = row_widths(points.context["tokens"].long(), lengths)
    for width in wide.unique():
        yield from (wide == width).nonzero()[:, 0].split(model.max_rows)


def _look(
    layers: list[AttentionLayer],
    model: Model,
    points: Inputs,
    targets: Tensor,
    reading: Tensor,
    *,
    slopes: bool,
) -> AttentionMaps:
    """One pass forward, and back where slopes are wanted."""
    with recorded(layers) as calls, torch.set_grad_enabled(slopes):
        # Rows that need a gradient go through the module together, in one call.
        x = points.x.detach().clone().requires_grad_()
        outputs = model.target_output(points.with_x(x), targets)
    if any(len(seen) != 1 for seen in calls):
        raise Unsupported(SEVERAL_CALLS)
    weights = [seen[0] for seen in calls]
    if slopes:
        require_path(outputs)
        gradients = row_gradients(outputs, weights)
    else:
        gradients = tuple(torch.zeros_like(part) for part in weights)
    n_samples = len(points)  # models fill their batches up
    held, back = (
        torch.stack([part[:n_samples].detach().double() for part in parts])
        for parts in (weights, gradients)
    )
    return AttentionMaps(held, back, reading)


@contextmanager
def recorded(layers: list[AttentionLayer]) -> Iterator[list[list[Tensor]]]:
    """The weights of each layer, one tensor per call, while in the block."""
    calls: list[list[Tensor]] = [[] for _ in layers]

    def recorder(seen: list[Tensor]) -> Callable[..., None]:
        def keep(layer: Any, args: tuple[Any, ...], out: Tensor) -> None:
            # Weights that come of positions alone have no way back to x.
            needs_leaf = torch.is_grad_enabled() and not out.requires_grad
            seen.append(out.requires_grad_() if needs_leaf else out)

        return keep

    handles = [
        layer.weights.register_forward_hook(recorder(seen))
        for layer, seen in zip(layers, calls, strict=True)
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
