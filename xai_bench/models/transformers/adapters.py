"""From the weights of BERT, GPT-2 and Llama to those of the explicit transformer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_bench.models.transformers.explicit import Activation, Architecture
from xai_bench.types import Unsupported

State = Mapping[str, Tensor]
Config = Mapping[str, Any]

_ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}


@dataclass(frozen=True, slots=True)
class Adapter:
    """How one family is read.

    Attributes:
        prefix: of the names of its body's weights, in a model with a head.
        architecture: from its configuration; raises `Unsupported` for variants that are not known.
        weights: from its configuration and its body's weights, under our names below `body.`.
    """

    prefix: str
    architecture: Callable[[Config], Architecture]
    weights: Callable[[Config, State], dict[str, Tensor]]


def adapter_of(config: Config) -> Adapter:
    """The adapter of a family. Raises `Unsupported` for others."""
    family = str(config.get("model_type"))
    if family not in FAMILIES:
        raise Unsupported(
            f"the explicit transformer reads {', '.join(FAMILIES)}, and this model is {family}; "
            "take it as it is with model=hf_model"
        )
    return FAMILIES[family]


def body_weights(config: Config, state: State) -> dict[str, Tensor]:
    """The weights of the body under our names, from those of a model with or without a head."""
    adapter = adapter_of(config)
    prefix = adapter.prefix if any(k.startswith(adapter.prefix) for k in state) else ""
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    weights = adapter.weights(config, own)
    return {name: value.detach().float().contiguous() for name, value in weights.items()}


def _activation(config: Config, name: str) -> Activation:
    activation = str(config[name])
    if activation not in _ACTIVATIONS:
        raise Unsupported(f"activation {activation} is none of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[activation]


def _require(config: Config, name: str, *values: Any) -> None:
    value = config.get(name, values[0])
    if value not in values:
        raise Unsupported(f"the explicit transformer has no {name}={value}; use model=hf_model")


def _pair(ours: str, theirs: str, state: State) -> dict[str, Tensor]:
    """A layer's weight, and its bias where it has one."""
    names = [kind for kind in ("weight", "bias") if f"{theirs}.{kind}" in state]
    return {f"{ours}.{kind}": state[f"{theirs}.{kind}"] for kind in names}


def _layers(config: Config, state: State, ours: str, theirs: str, n: int) -> dict[str, Tensor]:
    """Every block's layers by a table of `ours: theirs`, one a line."""
    table = [line.split(": ") for line in ours.split("\n") if line]
    weights: dict[str, Tensor] = {}
    for layer in range(n):
        for mine, other in table:
            weights |= _pair(f"blocks.{layer}.{mine}", f"{theirs}.{layer}.{other}", state)
    return weights


def _bert(config: Config) -> Architecture:
    _require(config, "position_embedding_type", "absolute", None)
    _require(config, "is_decoder", False)
    size, n_heads = config["hidden_size"], config["num_attention_heads"]
    return Architecture(
        n_symbols=config["vocab_size"],
        size=size,
        n_layers=config["num_hidden_layers"],
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_size=size // n_heads,
        mlp_size=config["intermediate_size"],
        max_tokens=config["max_position_embeddings"],
        norm_epsilon=config["layer_norm_eps"],
        norm_first=False,
        embedding_norm=True,
        activation=_activation(config, "hidden_act"),
    )


_BERT = """
attention.query: attention.self.query
attention.key: attention.self.key
attention.value: attention.self.value
attention.output: attention.output.dense
attention_norm: attention.output.LayerNorm
mlp.up: intermediate.dense
mlp.down: output.dense
mlp_norm: output.LayerNorm
"""


def _bert_weights(config: Config, state: State) -> dict[str, Tensor]:
    # All tokens are of type 0, whose vector is the same everywhere: it goes with the positions.
    kind = state["embeddings.token_type_embeddings.weight"][0]
    return {
        "embedding.weight": state["embeddings.word_embeddings.weight"],
        "positions.weight": state["embeddings.position_embeddings.weight"] + kind,
        **_pair("embedding_norm", "embeddings.LayerNorm", state),
        **_layers(config, state, _BERT, "encoder.layer", config["num_hidden_layers"]),
    }


def _gpt2(config: Config) -> Architecture:
    for name in ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn"):
        _require(config, name, False)
    _require(config, "scale_attn_weights", True)
    _require(config, "add_cross_attention", False)
    size, n_heads = config["n_embd"], config["n_head"]
    return Architecture(
        n_symbols=config["vocab_size"],
        size=size,
        n_layers=config["n_layer"],
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_size=size // n_heads,
        mlp_size=config.get("n_inner") or 4 * size,
        max_tokens=config["n_positions"],
        norm_epsilon=config["layer_norm_epsilon"],
        activation=_activation(config, "activation_function"),
        causal=True,
    )


_GPT2 = """
attention.output: attn.c_proj
attention_norm: ln_1
mlp.up: mlp.c_fc
mlp.down: mlp.c_proj
mlp_norm: ln_2
"""


def _gpt2_weights(config: Config, state: State) -> dict[str, Tensor]:
    # Its layers keep their weights the other way round.
    turned = {
        name: value.T if value.dim() == 2 and name.startswith("h.") else value
        for name, value in state.items()
    }
    layers = _layers(config, turned, _GPT2, "h", config["n_layer"])
    for layer in range(config["n_layer"]):
        for kind in ("weight", "bias"):
            parts = turned[f"h.{layer}.attn.c_attn.{kind}"].chunk(3)
            for name, part in zip(("query", "key", "value"), parts, strict=True):
                layers[f"blocks.{layer}.attention.{name}.{kind}"] = part
    return {
        "embedding.weight": state["wte.weight"],
        "positions.weight": state["wpe.weight"],
        **layers,
        **_pair("final_norm", "ln_f", state),
    }


def _llama(config: Config) -> Architecture:
    # `rope_parameters` is what transformers 5 made of `rope_scaling` and `rope_theta`.
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise Unsupported(
            f"the explicit transformer turns places by plain rotary angles, and this model by "
            f"{kind}; use model=hf_model"
        )
    size, n_heads = config["hidden_size"], config["num_attention_heads"]
    biases = {"attention_bias": ("queries", "heads"), "mlp_bias": ("mlp",)}
    return Architecture(
        n_symbols=config["vocab_size"],
        size=size,
        n_layers=config["num_hidden_layers"],
        n_heads=n_heads,
        n_kv_heads=config.get("num_key_value_heads") or n_heads,
        # `or`: the key may be there, and None.
        head_size=config.get("head_dim") or size // n_heads,
        mlp_size=config["intermediate_size"],
        max_tokens=config["max_position_embeddings"],
        positions="rotary",
        rotary_base=rope.get("rope_theta") or config.get("rope_theta") or 10_000.0,
        norm="rms",
        norm_epsilon=config["rms_norm_eps"],
        activation=_activation(config, "hidden_act"),
        gated=True,
        biased=tuple(p for name, parts in biases.items() if config.get(name) for p in parts),
        causal=True,
    )


_LLAMA = """
attention.query: self_attn.q_proj
attention.key: self_attn.k_proj
attention.value: self_attn.v_proj
attention.output: self_attn.o_proj
attention_norm: input_layernorm
mlp.gate: mlp.gate_proj
mlp.up: mlp.up_proj
mlp.down: mlp.down_proj
mlp_norm: post_attention_layernorm
"""


def _llama_weights(config: Config, state: State) -> dict[str, Tensor]:
    return {
        "embedding.weight": state["embed_tokens.weight"],
        **_layers(config, state, _LLAMA, "layers", config["num_hidden_layers"]),
        **_pair("final_norm", "norm", state),
    }


FAMILIES: Mapping[str, Adapter] = {
    "bert": Adapter("bert.", _bert, _bert_weights),
    "gpt2": Adapter("transformer.", _gpt2, _gpt2_weights),
    "llama": Adapter("model.", _llama, _llama_weights),
}


def filled(network: torch.nn.Module, weights: Mapping[str, Tensor], where: str = "body.") -> None:
    """Give a network the weights of its body. Raises ValueError where one is missing or left."""
    named = {f"{where}{name}": value for name, value in weights.items()}
    own = {k: v.shape for k, v in network.state_dict().items() if k.startswith(where)}
    shapes = {k: v.shape for k, v in named.items()}
    if own != shapes:
        odd = sorted({*own.items()} ^ {*shapes.items()})
        raise ValueError(f"the model's weights do not fit: {odd[0][0]} {list(odd[0][1])}")
    # Not strict, because of the head, whose weights are given elsewhere; those here were compared.
    network.load_state_dict(named, strict=False, assign=True)
