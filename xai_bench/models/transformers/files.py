"""Weights that lie in a folder or a GGUF file, read without any further library."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from xai_bench.data.text.gguf import GGUF
from xai_bench.data.text.pretrained import PACKAGES, place_of
from xai_bench.models.transformers.adapters import adapter_of, body_weights, filled
from xai_bench.models.transformers.explicit import Architecture, Transformer
from xai_bench.models.transformers.readers import LanguageModel

_WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt")


def fingerprint(name: str) -> str:
    """A hash of the weights and the configuration of a model."""
    place = place_of(name)
    files = [place] if place.is_file() else sorted(place.glob("*"))
    digest = hashlib.sha256()
    for file in files:
        if file.suffix in _WEIGHTS or file.name == "config.json":
            digest.update(file.name.encode())
            with file.open("rb") as content:  # which may be larger than memory
                while part := content.read(1 << 24):
                    digest.update(part)
    return digest.hexdigest()[:16]


def shipped_body(name: str) -> tuple[Transformer, dict[str, Any]]:
    """The body of a shipped encoder and its configuration.

    Its outputs are those of the original; a test compares them.
    """
    folder = _shipped(name)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        body = Transformer(adapter_of(config).architecture(config))
    filled(
        body, body_weights(config, safetensors.torch.load_file(folder / "model.safetensors")), ""
    )
    return body, config


def _shipped(name: str) -> Path:
    if name not in PACKAGES:
        raise ValueError(f"{name!r} is none of the shipped models {', '.join(PACKAGES)}")
    return place_of(name)


_LLAMA = {
    "attn_q": "attention.query",
    "attn_k": "attention.key",
    "attn_v": "attention.value",
    "attn_output": "attention.output",
    "attn_norm": "attention_norm",
    "ffn_gate": "mlp.gate",
    "ffn_up": "mlp.up",
    "ffn_down": "mlp.down",
    "ffn_norm": "mlp_norm",
}


def gguf_language_model(path: Path) -> LanguageModel:
    """A language model of the Llama family, its weights as they are quantised.

    Raises ValueError for other families. Its outputs are those of transformers; a test compares.
    """
    file = GGUF.read(path)
    architecture = _architecture(file)
    weights = {"embedding.weight": _tensor(file, "token_embd", 0)}
    weights["final_norm.weight"] = _tensor(file, "output_norm", 0)
    for layer in range(architecture.n_layers):
        for theirs, ours in _LLAMA.items():
            turned = {"attn_q": architecture.n_heads, "attn_k": architecture.n_kv_heads}
            value = _tensor(file, f"blk.{layer}.{theirs}", turned.get(theirs, 0))
            weights[f"blocks.{layer}.{ours}.weight"] = value
    tied = "output.weight" not in file.tensors
    with torch.device("meta"):
        network = LanguageModel(Transformer(architecture), tied=tied)
    filled(network, weights)
    if not tied:
        state = {"unembedding.weight": _tensor(file, "output", 0)}
        network.load_state_dict(state, strict=False, assign=True)
    return network


def _architecture(file: GGUF) -> Architecture:
    values = file.values
    if values.get("general.architecture") != "llama" or "llama.rope.scaling.type" in values:
        raise ValueError(
            f"{file.path.name} is of the family {values.get('general.architecture')}; a GGUF file "
            "is read here if it is a Llama with plain rotary angles"
        )
    n_heads, size = values["llama.attention.head_count"], values["llama.embedding_length"]
    return Architecture(
        n_symbols=len(values["tokenizer.ggml.tokens"]),
        size=size,
        n_layers=values["llama.block_count"],
        n_heads=n_heads,
        n_kv_heads=values.get("llama.attention.head_count_kv", n_heads),
        head_size=values.get("llama.rope.dimension_count", size // n_heads),
        mlp_size=values["llama.feed_forward_length"],
        max_tokens=values["llama.context_length"],
        positions="rotary",
        rotary_base=values.get("llama.rope.freq_base", 10_000.0),
        norm="rms",
        norm_epsilon=values["llama.attention.layer_norm_rms_epsilon"],
        activation="silu",
        gated=True,
        biased=(),
        causal=True,
    )


def _tensor(file: GGUF, name: str, n_heads: int) -> Tensor:
    """A weight; queries and keys in the order of rotary halves, where the file has pairs."""
    value = file.tensor(f"{name}.weight")
    if n_heads:
        by_pair = value.reshape(n_heads, -1, 2, value.shape[1])
        value = np.ascontiguousarray(by_pair.swapaxes(1, 2)).reshape(value.shape)
    return torch.from_numpy(value)
