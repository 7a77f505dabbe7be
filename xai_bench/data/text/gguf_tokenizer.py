"""The tokenizer inside a GGUF file, read from its header alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai_bench.data.text.gguf import GGUF
from xai_bench.data.text.tokenizers import Encoded, Vocabulary

_CONTROL = 3
"""The type of tokens that stand for no text."""


@dataclass(frozen=True, eq=False)
class GGUFTokenizer:
    """Byte-level pairs, as GPT-2 and its descendants have them. Radford+ 2019."""

    tokenizer: Any
    vocabulary: Vocabulary

    @classmethod
    def read(cls, path: Path) -> GGUFTokenizer:
        """Raises ValueError where the library is missing, or the tokenizer is of another kind."""
        try:
            import tokenizers
        except ImportError as error:
            raise ValueError(
                f"the tokenizer of {path.name} needs tokenizers: pip install 'xai-bench[text]'"
            ) from error
        header = GGUF.read(path).values
        kind = (header.get("tokenizer.ggml.model"), header.get("tokenizer.ggml.pre", "default"))
        if kind[0] != "gpt2" or kind[1] not in ("smollm", "default", "gpt-2"):
            raise ValueError(
                f"{path.name} has a tokenizer of kind {'/'.join(map(str, kind))}, which is not "
                "known here; give a folder with tokenizer.json"
            )
        tokens = header["tokenizer.ggml.tokens"]
        merges = [tuple(pair.split(" ", 1)) for pair in header["tokenizer.ggml.merges"]]
        numbers = {token: number for number, token in enumerate(tokens)}
        made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=numbers, merges=merges))
        steps = tokenizers.pre_tokenizers
        # SmolLM reads numbers digit by digit.
        split = [steps.Digits(individual_digits=True)] if kind[1] == "smollm" else []
        by_byte = steps.ByteLevel(add_prefix_space=False)
        made.pre_tokenizer = steps.Sequence([*split, by_byte])
        return cls(made, _vocabulary(header))

    def encode(self, text: str) -> Encoded:
        """The tokens of a text, without special ones."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        spans = tuple(_without_space(text, start, end) for start, end in encoding.offsets)
        return Encoded(tuple(encoding.ids), spans)


def _vocabulary(header: Mapping[str, Any]) -> Vocabulary:
    tokens, kinds = header["tokenizer.ggml.tokens"], header["tokenizer.ggml.token_type"]
    first = header.get("tokenizer.ggml.bos_token_id", header.get("tokenizer.ggml.eos_token_id"))
    return Vocabulary(
        tokens=tuple(tokens),
        special=frozenset(number for number, kind in enumerate(kinds) if kind == _CONTROL),
        prompt_start=() if first is None else (first,),
        unknown=header.get("tokenizer.ggml.unknown_token_id"),
        padding=header.get("tokenizer.ggml.padding_token_id"),
    )


def _without_space(text: str, start: int, end: int) -> tuple[int, int]:
    """A token may begin with the space before its word."""
    # Up to the last character, which stays even where it is a space itself.
    while start < end - 1 and text[start].isspace():
        start += 1
    return start, end
