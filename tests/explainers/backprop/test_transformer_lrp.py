"""LRP for transformers against relevance that is passed on step by step, as the papers write it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.text.test_predictor import LLAMA, SMALL, V, model, texts
from tests.support import toy_worlds
from xai_bench.core.seeds import Seeds
from xai_bench.core.system.determinism import canonical
from xai_bench.evaluation.context import ConfiguredExplainer
from xai_bench.evaluation.embeddings import at_embeddings
from xai_bench.explainers.backprop.transformer_lrp import AttnLRP, ConservativeLRP
from xai_bench.models.base import Explained
from xai_bench.models.targets import TrueLabel
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.models.training import initialise
from xai_bench.models.transformers.explicit import Transformer
from xai_bench.models.transformers.readers import Classifier
from xai_bench.types import Inputs, Unsupported

BOTH = pytest.mark.parametrize("explainer", [AttnLRP(), ConservativeLRP()])
BERT = replace(SMALL, norm_first=False, embedding_norm=True)


def explained(explainer: Any, explainee: Explained, inputs: Inputs, targets: Tensor) -> Tensor:
    """By the way of the loop: at the embeddings, summed over their numbers."""
    configured: Any = at_embeddings(ConfiguredExplainer("it", explainer), inputs).explainer
    rng = Seeds(0).stream("explain", samples=inputs.index)
    found: Tensor = configured.explain(explainee, inputs, targets, rng=rng).attribution
    return found.double()


def made(architecture: Any, seed: int = 0, **head: Any) -> tuple[Any, Explained]:
    network = Classifier(Transformer(replace(architecture, n_symbols=V)), 3, **head).double()
    initialise(network, seed=seed)
    return network, Explained(TokenPredictor(network, 3), TrueLabel())


def add(stays: Tensor, goes: Tensor, steps: list[Any], found: Tensor) -> Tensor:
    """A sum gives each part its share; that of what was added goes on through its steps."""
    through = goes * found
    for step in reversed(steps):
        through = step(through)
    return stays * found + through


class ByHand:
    """The relevance of each token of one text, by messages between the steps of every block."""

    def __init__(self, network: Any, ids: Tensor, *, attn: bool) -> None:
        self.network, self.attn, self.undo = network, attn, []
        body = network.body
        embedded = body.embedding(ids)
        stream = embedded + body.positions.weight[: len(ids)]
        self.of_embedding = embedded / stream
        for block in body.blocks:
            stream = self.block(block, stream)
        self.state = self.norm(body.final_norm, stream)

    def relevance(self, target: int) -> Tensor:
        """`[T]`."""
        weight = self.network.head.weight[target]
        found = torch.zeros_like(self.state)
        found[0] = self.state[0] * weight
        for step in reversed(self.undo):
            found = step(found)
        return (found * self.of_embedding).sum(1)

    def block(self, block: Any, stream: Tensor) -> Tensor:
        for norm, part in (
            (block.attention_norm, lambda x: self.attention(block.attention, x)),
            (block.mlp_norm, lambda x: self.mlp(block.mlp, x)),
        ):
            before, self.undo = self.undo, []
            added = part(self.norm(norm, stream))
            inner, self.undo = self.undo, before
            total = stream + added
            self.undo.append(partial(add, stream / total, added / total, inner))
            stream = total
        return stream

    def linear(self, layer: Any, x: Tensor) -> tuple[Tensor, Any]:
        y = layer(x)
        return y, lambda found: x * ((found / y) @ layer.weight)

    def norm(self, layer: Any, x: Tensor) -> Tensor:
        y, n = layer(x), x.shape[1]
        size = (x.var(1, correction=0, keepdim=True) + layer.eps).sqrt()
        centre = torch.eye(n) - torch.ones(n, n) / n

        def step(found: Tensor) -> Tensor:
            return x * ((found / y * layer.weight / size) @ centre.double())

        self.undo.append(step)
        return y

    def mlp(self, layer: Any, x: Tensor) -> Tensor:
        hidden, up = self.linear(layer.up, x)
        out, down = self.linear(layer.down, layer.activation(hidden))
        self.undo += [up, down]  # the activation passes all on
        return out

    def attention(self, layer: Any, x: Tensor) -> Tensor:
        a = layer.architecture
        (q, to_q), (k, to_k), (v, to_v) = (
            self.linear(part, x) for part in (layer.query, layer.key, layer.value)
        )
        heads, parts = [], []
        for h in range(a.n_heads):
            own = slice(h * a.head_size, (h + 1) * a.head_size)
            shared_h = h // (a.n_heads // a.n_kv_heads)
            shared = slice(shared_h * a.head_size, (shared_h + 1) * a.head_size)
            scores = q[:, own] @ k[:, shared].T / math.sqrt(a.head_size)
            weights = scores.softmax(1)
            heads.append(weights @ v[:, shared])
            parts.append((own, shared, scores, weights))
        gathered = torch.cat(heads, 1)
        out, to_gathered = self.linear(layer.output, gathered)

        def step(found: Tensor) -> Tensor:
            found = to_gathered(found)
            r_q, r_k, r_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
            for own, shared, scores, weights in parts:
                # messages[i, j, d]: from what i gathered to weight i, j and value j, d
                share = found[:, own] / gathered[:, own]
                messages = weights[:, :, None] * v[None, :, shared] * share[:, None]
                r_v[:, shared] += messages.sum(0) / (2 if self.attn else 1)
                if not self.attn:
                    continue
                r_a = messages.sum(2) / 2
                r_s = scores * (r_a - weights * r_a.sum(1, keepdim=True))
                pairs = q[:, None, own] * k[None, :, shared] / math.sqrt(a.head_size)
                pairs = pairs * (r_s / scores)[:, :, None] / 2
                r_q[:, own] += pairs.sum(1)
                r_k[:, shared] += pairs.sum(0)
            return to_q(r_q) + to_k(r_k) + to_v(r_v)

        self.undo.append(step)
        return out


@BOTH
def test_relevance_is_that_of_the_rules_step_by_step(explainer: Any) -> None:
    network, explainee = made(SMALL)
    inputs, targets = texts([4, 7, 5], width=7), torch.tensor([0, 1, 2])
    found = explained(explainer, explainee, inputs, targets)
    for row, length in enumerate([4, 7, 5]):
        by_hand = ByHand(network, inputs.x[row, :length].long(), attn=type(explainer) is AttnLRP)
        expected = by_hand.relevance(int(targets[row])).detach()
        assert torch.allclose(found[row, :length], expected, rtol=1e-4)
        assert (found[row, length:] == 0).all()


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
def test_cp_lrp_adds_up_to_the_output_without_biases_and_positions(
    norm: Any, gated: bool, norm_first: bool
) -> None:
    architecture = replace(LLAMA, norm=norm, gated=gated, activation="gelu", norm_first=norm_first)
    network, explainee = made(architecture, pooling="mean", bias=False)
    for layer in network.modules():
        if isinstance(layer, torch.nn.LayerNorm):
            layer.bias.data.zero_()
    inputs, targets = texts([4, 7, 5], width=7), torch.tensor([0, 1, 2])
    found = explained(ConservativeLRP(), explainee, inputs, targets)
    assert torch.allclose(found.sum(1), explainee.target_output(inputs, targets))


def test_attn_lrp_halves_what_a_product_gives() -> None:
    """One token and no attention: a gated product, halved, is again of degree one."""
    architecture = replace(LLAMA, n_layers=1, activation="relu", norm_first=True)
    network, explainee = made(architecture, pooling="mean", bias=False)
    block = network.body.blocks[0]
    block.attention.output.weight.data.zero_()
    inputs, targets = texts([1], width=4), torch.tensor([0])
    found = explained(AttnLRP(), explainee, inputs, targets)
    assert torch.allclose(found.sum(1), explainee.target_output(inputs, targets))


@pytest.mark.sample(2)
@pytest.mark.sample(8, others="slow")
@BOTH
@pytest.mark.parametrize("name", ["first", "mean", "last", "language_model"])
def test_a_row_has_the_same_bits_in_any_batch(name: str, explainer: Any) -> None:
    lengths = [5, 20, 17, 1, 16, 33]
    explainee, inputs = model(name), texts(lengths)
    targets = torch.zeros(len(lengths), dtype=torch.long)
    with canonical():
        whole = explained(explainer, explainee, inputs, targets)
        for rows in torch.arange(len(lengths)).flip(0).split(2):
            part = explained(explainer, explainee, inputs.take(rows), targets[rows])
            assert torch.equal(part, whole[rows])
    assert whole.isfinite().all()
    assert not whole.requires_grad


@BOTH
def test_the_output_stays_what_it_is_and_no_hook_stays(explainer: Any) -> None:
    network, explainee = made(BERT, pooler=True)
    inputs, targets = texts([5, 3]), torch.tensor([0, 1])
    before = explainee.target_output(inputs, targets)
    explained(explainer, explainee, inputs, targets)
    assert torch.equal(explainee.target_output(inputs, targets), before)
    assert not any(part._forward_hooks for part in network.modules())


@BOTH
def test_other_networks_are_refused(explainer: Any) -> None:
    inputs, targets = texts([5]), torch.tensor([0])
    with pytest.raises(Unsupported, match="other networks take lrp_epsilon"):
        explained(explainer, model("bag_sum"), inputs, targets)
    with pytest.raises(Unsupported, match="other networks take lrp_epsilon"):
        toy_worlds.tabular().explain(explainer)
