"""Tokenizers of the transformers library, from a folder, a GGUF file or its cache; never a hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xai_bench.data.text.pretrained import PACKAGES, place_of
from xai_bench.data.text.tokenizers import Encoded, Vocabulary


@dataclass(frozen=True, eq=False)
class HuggingFaceTokenizer:
    """A fast tokenizer, which knows the characters of each token."""

    tokenizer: Any
    vocabulary: Vocabulary

    @classmethod
    def read(cls, name: str) -> HuggingFaceTokenizer:
        """From a path, the name of a shipped model, or `hf:NAME[@REVISION]` in the cache.

        Raises ValueError where it is not there, or keeps no places.
        """
        tokenizer = _loaded(name)
        if not tokenizer.is_fast:
            raise ValueError(
                f"the tokenizer of {name} does not keep the places of its tokens in the text; "
                "use a fast one (tokenizer.json)"
            )
        return cls(tokenizer, _vocabulary(tokenizer))

    def encode(self, text: str) -> Encoded:
        """The tokens of a text, without special ones."""
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        spans = (_without_space(text, int(a), int(b)) for a, b in encoding["offset_mapping"])
        return Encoded(tuple(encoding["input_ids"]), tuple(spans))


def _loaded(name: str) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ValueError(
            f"the tokenizer {name} needs transformers: pip install 'xai-bench[text]'"
        ) from error
    path, settings = source(name)
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, **settings)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{name} holds no tokenizer that can be read: {_first(error)}") from error


def source(name: str) -> tuple[str, dict[str, str]]:
    """What `from_pretrained` is given for a name, and its further arguments."""
    place = place_of(name)
    if place.suffix == ".gguf":
        return str(place.parent), {"gguf_file": place.name}
    if place.is_file() and name not in PACKAGES:
        raise ValueError(f"{name} is a file; give the folder that holds the model's files")
    return str(place), {}


def _first(error: Exception) -> str:
    """The first sentence of what a library says."""
    return " ".join(str(error).split()).split(". ")[0].rstrip(".")


def _vocabulary(tokenizer: Any) -> Vocabulary:
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    start, end = _around(tokenizer)
    first = tokenizer.bos_token_id
    if first is None:
        first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else None
    if first is None:
        first = tokenizer.eos_token_id
    prompt_start = start or (() if first is None else (first,))
    return Vocabulary(
        tokens=tuple("" if token is None else str(token) for token in tokens),
        special=frozenset(int(i) for i in tokenizer.all_special_ids),
        start=start,
        end=end,
        prompt_start=prompt_start,
        mask=tokenizer.mask_token_id,
        unknown=tokenizer.unk_token_id,
        padding=tokenizer.pad_token_id,
    )


def _around(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special ids that the tokenizer puts before and after a text."""
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a")["input_ids"])
    for place in range(len(full) - len(bare) + 1):
        if full[place : place + len(bare)] == bare:
            return tuple(full[:place]), tuple(full[place + len(bare) :])
    return (), ()


def _without_space(text: str, start: int, end: int) -> tuple[int, int]:
    """A token of a byte-level tokenizer may begin with the space before its word."""
    while start < end - 1 and text[start].isspace():
        start += 1
    return start, end
