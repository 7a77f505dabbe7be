"""Networks of tokens as predictors: rows of one width at a time, in bounded pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from xai_bench.core.system.devices import device_of
from xai_bench.core.tokens import ZEROED, TokenNetwork, row_widths
from xai_bench.models.base import TorchPredictor
from xai_bench.types import ROW_BLOCK, Domain, Inputs, Unsupported

_PIECE = 1 << 24
"""Numbers that a call without gradients holds at once, so that they stay near the processor."""

_GRAPH = 1 << 28
"""Numbers that a call with gradients may keep until it goes back: a gigabyte."""

_BACKGROUND = 1 << 24
"""Numbers in the embedded background rows."""


@dataclass(frozen=True, eq=False)
class TokenPredictor:
    """A `TokenNetwork` in evaluation mode, with frozen weights.

    Every row runs at the width of its sample's own length, and in a call in pieces whose number of
    rows is a multiple of `ROW_BLOCK`: it meets the same shapes in every batch. A call with rows of
    one width, at most `rows_at_once` of them, is one call of the module.
    """

    module: TokenNetwork
    n_outputs: int
    differentiable: bool = True

    def __post_init__(self) -> None:
        self.module.eval().requires_grad_(requires_grad=False)
        half = {p.dtype for p in self.module.parameters()} & {torch.float16, torch.bfloat16}
        if half:
            raise ValueError(
                f"the model's weights are {half.pop()}, with which a processor rounds by the size "
                "of the batch; convert it with module.float()"
            )

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """`x [B, T]` ids, or `[B, T, D]` embeddings of `context["tokens"]`, `-> [B, C]`."""
        return self.in_blocks(x, context, block=ROW_BLOCK)

    def in_blocks(self, x: Tensor, context: Mapping[str, Tensor], *, block: int) -> Tensor:
        """The same, pieces filled up to a multiple of `block` rows; of 1, nothing is filled up."""
        if self.module.training:
            raise ValueError(
                "the model is in training mode, in which dropout makes every answer another; call "
                "module.eval()"
            )
        tokens = self._ids(x) if x.dim() == 2 else context["tokens"].long()
        device, parts, order = device_of(self.module), [], []
        for rows, width in self._pieces(tokens, context, whole=x.requires_grad):
            filled = torch.cat([rows, rows[-1:].expand(-len(rows) % block)])
            part = {
                name: _cut(name, values[filled], width).to(device)
                for name, values in context.items()
            }
            parts.append(self.module(x[filled, :width].to(device), **part)[: len(rows)])
            order.append(rows)
        back = torch.cat(order).argsort()
        return torch.cat(parts).to(x.device)[back]

    def rows_at_once(self, width: int, *, gradient: bool) -> int:
        """Rows of so many tokens that fit into bounded memory; a multiple of `ROW_BLOCK`."""
        most = _GRAPH if gradient else _PIECE
        rows = most // max(self.module.floats_per_row(width, gradient=gradient), 1)
        return max(rows - rows % ROW_BLOCK, ROW_BLOCK)

    @torch.no_grad()
    def relaxed(self, inputs: Inputs) -> Inputs:
        """The same samples as embeddings `x [B, T, D]`; the ids move to the context."""
        if "tokens" in inputs.context or inputs.x.dim() != 2:
            raise Unsupported("x holds embeddings already")
        x = self._lookup(self._ids(inputs.x))
        return replace(
            inputs,
            x=x,
            units=inputs.units[..., None].expand(x.shape),
            context={**inputs.context, "tokens": inputs.x},
            domain=self._domain(inputs.domain),
        )

    def _domain(self, domain: Domain) -> Domain:
        """What is known of embeddings: those of the background, and how far each number spreads."""
        n_rows = max(_BACKGROUND // (self._size() * domain.background.shape[1]), 1)
        rows = domain.background[:n_rows]
        background = self._lookup(rows.long())
        # Without padding, whose vectors are all 0.
        spread = background[rows >= 0].std(0, correction=0)
        spread = torch.where(spread > 0, spread, 1.0)
        context = {name: values[:n_rows] for name, values in domain.context.items()}
        return Domain(
            background=background,
            scale=spread.expand(rows.shape[1], -1),
            labels=None if domain.labels is None else domain.labels[:n_rows],
            context={**context, "tokens": rows},
            symbols=domain.symbols,
            lookup=self._lookup,
        )

    def _size(self) -> int:
        first = torch.zeros(1, dtype=torch.long, device=device_of(self.module))
        return int(self.module.embed(first).shape[-1])

    def _lookup(self, ids: Tensor) -> Tensor:
        """Embeddings of ids on any device, given there."""
        return self.module.lookup(ids.to(device_of(self.module))).to(ids.device)

    def _ids(self, x: Tensor) -> Tensor:
        ids = x.long()
        if not torch.equal(ids.to(x), x):
            raise Unsupported(
                "x holds token ids, and this component moves them to numbers between; use what "
                "removes or replaces tokens, or view=embeddings"
            )
        low, high = int(ids.min()), int(ids.max())
        if high >= self.module.n_symbols or low < ZEROED:
            raise ValueError(
                f"x holds the token id {high if high >= 0 else low}, and this model knows "
                f"{self.module.n_symbols} tokens: its tokenizer is another one (data.tokenizer)"
            )
        return ids

    def _pieces(
        self, tokens: Tensor, context: Mapping[str, Tensor], *, whole: bool
    ) -> Iterator[tuple[Tensor, int]]:
        """Row numbers and their common width; pieces save nothing where a way back keeps all."""
        # By the length of the text itself, so that a row keeps its width when words are removed.
        wide = row_widths(tokens, context.get("length"))
        for width in wide.unique().tolist():
            rows = (wide == width).nonzero()[:, 0]
            size = self.rows_at_once(width, gradient=False)
            for part in rows.split(len(rows) if whole else size):
                yield part, width


def predictor_of(module: nn.Module, n_outputs: int) -> TokenPredictor | TorchPredictor:
    """What calls a module: row by row of one width, where it reads tokens."""
    if isinstance(module, TokenNetwork):
        return TokenPredictor(module, n_outputs)
    return TorchPredictor(module, n_outputs)


_BY_TOKEN = ("tokens", "counterfactual")
"""Context with a place for every token, which is cut like x."""


def _cut(name: str, values: Tensor, width: int) -> Tensor:
    return values[:, :width] if name in _BY_TOKEN else values
