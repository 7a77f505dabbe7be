"""Masked language models of the transformers library, as they are, to fill gaps in texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xai_bench.core.tokens import DELETED, occupied, widths
from xai_bench.data.bundle import Bundle
from xai_bench.data.text.hf_tokenizer import HuggingFaceTokenizer
from xai_bench.models.base import OnEpoch, Trained
from xai_bench.models.text.masked_language import MaskedLanguagePredictor, candidates_of
from xai_bench.models.text.recipes import n_symbols, require_fit
from xai_bench.models.transformers import files
from xai_bench.models.transformers.hf import Original
from xai_bench.types import Symbols


class OriginalMaskedLanguage(nn.Module):
    """Scores of the candidates at each place; what is missing is read as the mask token.

    Args:
        inner: a masked language model of the library, called with ids.
        mask: the id of its mask token.
        candidates: `[C]` long, the ids that may be filled in.
    """

    candidates: Tensor

    def __init__(self, inner: nn.Module, mask: int, candidates: Tensor) -> None:
        super().__init__()
        self.inner, self.mask = inner, mask
        self.register_buffer("candidates", candidates, persistent=False)
        config: Any = inner.config
        self.n_symbols = int(inner.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
        most = int(getattr(config, "max_position_embeddings", 1 << 20))
        self.max_tokens: int | None = most

    def forward(self, tokens: Tensor, missing: Tensor) -> Tensor:
        """`tokens [N, T]` long, `missing [N, T]` bool `-> [N, T, C]`."""
        ids = torch.where(missing | (tokens < 0), self.mask, tokens)
        seen = (tokens != DELETED).long()
        out: Tensor = self.inner(input_ids=ids, attention_mask=seen).logits
        return out[:, :, self.candidates]


class OriginalMaskedLanguagePredictor(MaskedLanguagePredictor):
    """Fills gaps with a model of the library; each text at the width of its own length."""

    def blocks(self, tokens: Tensor, most: int) -> Iterator[tuple[Tensor, int]]:
        """By width: attention rounds by the number of places, so batch mates must not decide it."""
        wide = widths(occupied(tokens)).clamp(max=tokens.shape[1])
        for width in wide.unique():
            for rows in (wide == width).nonzero()[:, 0].split(most):
                yield rows, int(width)


@dataclass(frozen=True)
class PretrainedMaskedLanguage:
    """A masked language model of transformers, from a folder or `hf:NAME[@REVISION]` in its cache.

    Only tokens that occur in the training texts are filled in, special ones never.
    """

    trains: ClassVar[bool] = False
    differentiable: ClassVar[bool] = False
    gives: ClassVar[tuple[str, ...]] = ()
    fills_gaps: ClassVar[bool] = True
    path: str

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        """Nothing is trained. Raises `Unsupported` for data without tokens, ValueError where the
        model cannot be read, or the data are written in other tokens than its own.
        """
        n_symbols(bundle, "a masked language model")
        symbols = bundle.symbols
        assert symbols is not None, "data with a vocabulary has symbols"
        original = Original.read(self.path, "masked")
        if symbols.mask is None:
            raise ValueError(
                f"the vocabulary of the data has no mask token, which {self.path} reads where a "
                f"word is missing; set data.tokenizer={self.path}"
            )
        network = OriginalMaskedLanguage(original.module, symbols.mask, candidates_of(bundle))
        require_fit(network, bundle, self.path)
        _require_tokens(symbols, self.path)
        return Trained(OriginalMaskedLanguagePredictor(network, network.candidates))

    def fingerprint(self) -> str:
        """A hash of the weights."""
        return files.fingerprint(self.path)


def _require_tokens(symbols: Symbols, path: str) -> None:
    """Raise ValueError where the model's own tokenizer, if it brings one, writes other tokens."""
    try:
        own = HuggingFaceTokenizer.read(path).vocabulary.tokens
    except ValueError:  # weights alone, whose number of tokens was compared
        return
    for number, (ours, theirs) in enumerate(zip(symbols.tokens, own, strict=False)):
        if ours != theirs:
            raise ValueError(
                f"token {number} of the data is {ours!r}, and {theirs!r} of {path}: its tokenizer "
                f"is another one; set data.tokenizer={path}"
            )
