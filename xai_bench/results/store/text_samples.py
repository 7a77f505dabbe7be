"""The words of explained texts, and what a transformer attends to in the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from xai_bench.results.store import codec, files
from xai_bench.results.store.store import Store
from xai_bench.results.values import Attention, TextUnits

_TEXTS, _ATTENTION, _TOKENS = "texts.json", "attention.safetensors", "tokens.json"


def write(
    store: Store,
    cell_key: str,
    texts: TextUnits,
    attention: Sequence[Attention] = (),
    tokens: Sequence[str] = (),
) -> None:
    """Store them beside the inputs of a cell, and the text of each id of the vocabulary."""
    contents = {_TEXTS: files.dumps(asdict(texts)), _TOKENS: files.dumps(list(tokens))}
    if attention:
        contents[_ATTENTION] = _packed(attention)
    store.put(cell_key, contents)


def texts(store: Store, cell_key: str) -> TextUnits | None:
    """The words of the explained samples; None where they are no texts."""
    path = store.folder(cell_key) / _TEXTS
    stored = store.reader.json(path, dict)
    if stored is None:
        return None
    return store.reader.decoded(path, lambda _: _texts(stored))


def tokens(store: Store, cell_key: str) -> list[str]:
    """The text of each id that x may hold; empty where x holds none."""
    path = store.folder(cell_key) / _TOKENS
    stored = store.reader.json(path, list) or []
    return store.reader.decoded(path, lambda _: [str(token) for token in stored]) or []


def attention(store: Store, cell_key: str) -> tuple[Attention, ...]:
    """That of the first samples; empty where none is stored."""
    path = store.folder(cell_key) / _ATTENTION
    values = store.reader.tensors(path)
    if values is None:
        return ()
    tokens = store.reader.names(path)
    return store.reader.decoded(path, lambda _: _unpacked(values, tokens)) or ()


def _texts(fields: Mapping[str, Any]) -> TextUnits:
    marked = fields["marked"]
    return TextUnits(
        tuple(tuple(str(word) for word in words) for words in fields["words"]),
        None if marked is None else tuple(tuple(bool(on) for on in row) for row in marked),
    )


def _packed(maps: Sequence[Attention]) -> bytes:
    """A safetensors file; the tokens of all samples, one after the other, are its names."""
    values = {
        f"{place}.{name}": getattr(attention, name)
        for place, attention in enumerate(maps)
        for name in ("weights", "rollout")
    }
    return codec.tensors(values, [token for attention in maps for token in attention.tokens])


def _unpacked(values: Mapping[str, Tensor], tokens: Sequence[str]) -> tuple[Attention, ...]:
    maps, start = [], 0
    for place in range(len(values) // 2):
        rollout = values[f"{place}.rollout"]
        own = tuple(tokens[start : start + len(rollout)])
        maps.append(Attention(own, values[f"{place}.weights"], rollout))
        start += len(rollout)
    return tuple(maps)
