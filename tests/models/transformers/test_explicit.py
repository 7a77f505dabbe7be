"""The parts of the explicit transformer, each against what defines it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from xai_bench.core.tokens import DELETED, HIDDEN, Sequence
from xai_bench.models.training import initialise
from xai_bench.models.transformers.explicit import Architecture, Transformer, rotations, turned

BASE = Architecture(30, size=12, n_layers=2, n_heads=4, n_kv_heads=4, head_size=6, mlp_size=20)


def made(architecture: Architecture) -> Transformer:
    body = Transformer(architecture).double()
    initialise(body, seed=2)
    return body.eval()


def sequence(body: Transformer, ids: list[list[int]]) -> Sequence:
    tokens = torch.tensor(ids)
    return Sequence(body.embedding(tokens.clamp(min=0)), tokens)


def seen(body: Transformer, name: str, given: Sequence) -> Tensor:
    """What the part called `name` gives while the body runs."""
    kept: list[Tensor] = []
    handle = body.get_submodule(name).register_forward_hook(lambda m, a, out: kept.append(out))
    body(given)
    handle.remove()
    (found,) = kept
    return found


def test_attention_rows_are_shares_of_what_may_be_seen() -> None:
    body = made(replace(BASE, causal=True))
    given = sequence(body, [[5, 6, HIDDEN, 8, DELETED, DELETED]])
    weights = seen(body, "blocks.1.attention.weights", given)
    assert weights.shape == (1, 4, 6, 6)
    assert torch.allclose(weights.sum(3), torch.ones(1, 4, 6, dtype=torch.float64))
    real = weights[0, :, :4]
    assert (real[:, :, 2] == 0).all()  # hidden
    assert (real[:, :, 4:] == 0).all()  # not there
    assert (real[:, 0, 1:] == 0).all()  # later
    assert (real[:, 3, :2] > 0).all()


def test_no_later_word_changes_an_earlier_state_of_a_causal_model() -> None:
    body = made(replace(BASE, causal=True))
    one, other = (body(sequence(body, [[5, 6, 7, last]])) for last in (8, 9))
    assert torch.equal(one[:, :3], other[:, :3])
    assert not torch.allclose(one[:, 3], other[:, 3])


def test_an_encoder_sees_both_ways() -> None:
    body = made(BASE)
    one, other = (body(sequence(body, [[5, 6, 7, last]])) for last in (8, 9))
    assert not torch.allclose(one[:, 0], other[:, 0])


def test_words_without_positions_may_change_places() -> None:
    """With rotary positions of no angle, only the set of words matters."""
    body = made(replace(BASE, positions="rotary", rotary_base=1e300))
    one, other = body(sequence(body, [[5, 6, 7]])), body(sequence(body, [[5, 7, 6]]))
    assert not torch.allclose(one[:, 0], other[:, 0])  # the first pair of a head still turns
    learned = made(BASE)
    learned.positions.weight.data.zero_()
    one, other = learned(sequence(learned, [[5, 6, 7]])), learned(sequence(learned, [[5, 7, 6]]))
    assert torch.allclose(one[:, [0, 1, 2]], other[:, [0, 2, 1]])


def test_rotary_products_depend_on_the_distance_only() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(8, generator=generator, dtype=torch.float64) for _ in range(2))
    turns = rotations(12, 8, 100.0)
    queries, keys = (turned(v.expand(1, 1, 12, 8), turns)[0, 0] for v in (query, key))
    products = queries @ keys.T
    for distance in range(12):
        along = products.diagonal(distance)
        assert torch.allclose(along, along[0].expand_as(along), atol=1e-5)
    assert torch.allclose(products[0, 0], query @ key)


def test_grouped_queries_are_full_heads_that_share_keys_and_values() -> None:
    few, many = made(replace(BASE, n_kv_heads=2)), made(BASE)
    state = few.state_dict()
    for name, value in list(state.items()):
        if ".key." in name or ".value." in name:
            by_head = value.unflatten(0, (2, 6)).repeat_interleave(2, 0)
            state[name] = by_head.flatten(0, 1)
    many.load_state_dict(state)
    ids = [[5, 6, 7, 8]]
    assert torch.allclose(few(sequence(few, ids)), many(sequence(many, ids)))


def test_a_head_can_be_taken_away_before_the_heads_are_mixed() -> None:
    body = made(BASE)
    given = sequence(body, [[5, 6, 7]])

    def without(head: int) -> Callable[..., Any]:
        return lambda module, args, out: out * (torch.arange(4) != head).double()[:, None, None]

    part = body.get_submodule("blocks.0.attention")
    whole = part.get_submodule("output")(
        seen(body, "blocks.0.attention.heads", given).transpose(1, 2).flatten(2)
    )
    assert torch.allclose(whole, seen(body, "blocks.0.attention", given))
    alone = torch.zeros_like(whole)
    weight, bias = (part.get_parameter(f"output.{k}") for k in ("weight", "bias"))
    heads = seen(body, "blocks.0.attention.heads", given)
    for head in range(4):
        alone += heads[:, head] @ weight[:, 6 * head : 6 * head + 6].T
    assert torch.allclose(alone + bias, whole)
    handle = part.get_submodule("heads").register_forward_hook(without(1))
    blocked = seen(body, "blocks.0.attention", given)
    handle.remove()
    assert torch.allclose(whole - blocked, heads[:, 1] @ weight[:, 6:12].T)


@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_normalising_before_leaves_the_stream_a_sum(norm: Any) -> None:
    """The last state before the final norm is the embedding and what every part added."""
    body = made(replace(BASE, norm=norm, gated=True))
    given = sequence(body, [[5, 6, 7]])
    total = given.embedded + body.positions.weight[:3]
    for layer in range(2):
        for part in ("attention", "mlp"):
            total = total + seen(body, f"blocks.{layer}.{part}", given)
    assert torch.allclose(body.final_norm(total), body(given))


def test_a_gated_mlp_multiplies() -> None:
    body = made(replace(BASE, gated=True, activation="silu"))
    mlp: Any = body.get_submodule("blocks.0.mlp")
    x = torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(0)).double()
    gate = mlp.gate(x)
    expected = mlp.down(gate * gate.sigmoid() * mlp.up(x))
    assert torch.allclose(mlp(x), expected)
