"""What "absent" means for tokens: another id in their place, nothing, or samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.tokens import DELETED, HIDDEN, ZEROED
from xai_bench.types import Inputs, LanguageModel, Rng, Symbols, Unsupported

Operator = Literal["mask", "unknown", "padding", "deletion", "attention_mask", "zero_embedding"]
_MARKS: Mapping[str, int] = {
    "deletion": DELETED,
    "attention_mask": HIDDEN,
    "zero_embedding": ZEROED,
}


@dataclass(frozen=True)
class TokenRemoval:
    """A removed token becomes `mask`, `unknown` or `padding`, which are read like words; or it is
    gone, and what follows closes up (`deletion`); nobody attends to it (`attention_mask`); or its
    embedding is 0 (`zero_embedding`).

    Where x holds embeddings, the reference is that of the id. `deletion` and `attention_mask` have
    none, so gradients cannot start from them.
    """

    operator: Operator = "mask"

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        """`[B, 1, *S]`; raises `Unsupported` where x has no tokens, the vocabulary no such token,
        or the operator no embedding.
        """
        symbols, lookup = _symbols(inputs, self.operator), inputs.domain.lookup
        code = _MARKS.get(self.operator)
        if code is None:
            code = _stand_in(symbols, self.operator)
        if lookup is None:
            return torch.full_like(inputs.x, code)[:, None]
        if code in (DELETED, HIDDEN):
            raise Unsupported(
                f"removal by {self.operator} has no embedding that a gradient could start from; "
                "explain with baseline mask_token, unknown_token, padding_token or zero_embedding"
            )
        ids = torch.full(inputs.x.shape[:2], code, device=inputs.x.device)
        return lookup(ids).to(inputs.x)[:, None]


@dataclass(frozen=True)
class MaskedLanguageModel:
    """Removed tokens are drawn by a masked language model that sees what is kept.

    All missing tokens of a coalition are predicted at once, each from its own distribution.
    A sample's draws are the same for all of its coalitions. Kim+ 2020, arXiv:2010.13984.

    Attributes:
        language_model: how it comes about; it is trained, or read, once per cell.
    """

    n_draws: int = 4
    language_model: LanguageModel | None = None

    @property
    def n_references(self) -> int:
        """Draws per coalition."""
        return self.n_draws

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        """Raises `Unsupported`: draws depend on what is kept."""
        raise Unsupported(
            "baseline masked_lm depends on which units are kept, so there are no references to "
            "start from; use it with removal, or explain with baseline mask_token"
        )

    def impute(self, inputs: Inputs, kept: Tensor, *, rng: Rng) -> Tensor:
        """`kept [B, K, U] -> [B, K, R, T]` ids; raises `Unsupported` without tokens, at
        embeddings, or without a masked language model.
        """
        symbols = _symbols(inputs, "masked_lm")
        if inputs.domain.lookup is not None:
            raise Unsupported("baseline masked_lm draws tokens, and x holds embeddings here")
        if symbols.infill is None:
            raise Unsupported(
                "baseline masked_lm needs a masked language model, and none is there: choose it as "
                "baseline.measure or baseline.explain of a run, with a language_model, or set "
                "Symbols.infill"
            )
        stays = units.kept_elements(kept, inputs.units)
        n_coalitions, width = stays.shape[1:]
        tokens = inputs.x.long()[:, None].expand(-1, n_coalitions, -1).flatten(0, 1)
        # One draw a place, for all coalitions of the sample: their values differ by what is kept.
        draws = rng.child("masked_lm").uniform(self.n_draws, width)
        draws = draws[:, None].expand(-1, n_coalitions, -1, -1).flatten(0, 1)
        filled = symbols.infill.sample(tokens, ~stays.flatten(0, 1), draws)
        return filled.view(*stays.shape[:2], self.n_draws, width).to(inputs.x)


def _symbols(inputs: Inputs, name: str) -> Symbols:
    symbols = inputs.domain.symbols
    if symbols is None:
        raise Unsupported(
            f"removal by {name} is for tokens, and this data has none; use baseline mean, marginal "
            "or zero"
        )
    return symbols


def _stand_in(symbols: Symbols, name: str) -> int:
    token: int | None = getattr(symbols, name)
    if token is None:
        have = [n for n in ("mask", "unknown", "padding") if getattr(symbols, n) is not None]
        others = ", ".join([*(f"{n}_token" for n in have), "deletion"])
        raise Unsupported(f"this vocabulary has no {name} token; use baseline {others}")
    return token
