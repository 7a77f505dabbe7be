"""Attention explainers against weights that are written down, one place after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.explainers.attention.planted import N_HEADS, N_LAYERS, WIDTH, planted, shares
from tests.models.text.test_predictor import model, texts
from xai_bench.core.seeds import Seeds
from xai_bench.core.system.determinism import canonical
from xai_bench.core.tokens import DELETED
from xai_bench.explainers.attention.maps import AttentionMaps, by_token
from xai_bench.explainers.attention.methods import (
    AttentionFlow,
    AttentionGradient,
    AttentionRollout,
    GenericAttention,
    LastLayerAttention,
    MeanAttention,
    rolled_out,
)
from xai_bench.explainers.attention.value_zeroing import ValueZeroing
from xai_bench.models.base import Explained
from xai_bench.types import Inputs, Unsupported

BLIND = [LastLayerAttention(), MeanAttention(), AttentionRollout(), AttentionFlow()]
GRADIENT = [AttentionGradient(), GenericAttention()]
ALL = [*BLIND, *GRADIENT, ValueZeroing()]
by_class = pytest.mark.parametrize("explainer", ALL, ids=lambda e: type(e).__name__)


def explained(explainer: Any, model: Explained, inputs: Inputs, targets: Tensor) -> Tensor:
    rng = Seeds(0).stream("explain", samples=inputs.index)
    found: Tensor = explainer.explain(model, inputs, targets, rng=rng).attribution
    return found.double()


def test_last_layer_and_mean_are_the_rows_of_the_place_that_is_read() -> None:
    given = shares()
    last = explained(LastLayerAttention(), *planted(given))
    mean = explained(MeanAttention(), *planted(given))
    for place in range(WIDTH):
        one = sum(given[1, h, 0, place] for h in range(N_HEADS)) / N_HEADS
        every = sum(given[k, h, 0, place] for k in range(N_LAYERS) for h in range(N_HEADS))
        assert last[:, place].tolist() == pytest.approx([one.item()] * 3)
        assert mean[:, place].tolist() == pytest.approx([every.item() / N_LAYERS / N_HEADS] * 3)


def test_rollout_is_the_product_of_half_attention_and_half_identity() -> None:
    given = shares()
    found = explained(AttentionRollout(), *planted(given))
    first, second = (0.5 * given.mean(1)[k] + 0.5 * torch.eye(WIDTH) for k in range(2))
    assert torch.allclose(found, (second @ first)[0].expand(3, -1))
    assert torch.allclose(found.sum(1), torch.ones(3, dtype=torch.float64))


def test_with_one_layer_the_last_is_the_mean() -> None:
    one, mean = (
        explained(explainer, *planted(shares()[:1]))
        for explainer in (LastLayerAttention(), MeanAttention())
    )
    assert torch.equal(one, mean)


def test_the_whole_product_of_rollout_by_hand() -> None:
    """Half of the identity each: ((1, 0), (1, 1) / 2), then ((1, 1) / 2, (0, 1))."""
    layers = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    weights = layers[:, None, None].expand(2, 3, 1, 2, 2)
    maps = AttentionMaps(weights, torch.zeros_like(weights), torch.ones(3, 2) / 2)
    assert rolled_out(maps).tolist() == [[[0.75, 0.25], [0.5, 0.5]]] * 3


def test_flow_takes_texts_of_as_many_tokens_as_it_says() -> None:
    explained(AttentionFlow(max_tokens=5), *real("mean", [5]))
    with pytest.raises(Unsupported, match="at most 4 tokens, and one has 5"):
        explained(AttentionFlow(max_tokens=4), *real("mean", [5]))


def test_flow_through_two_layers_is_bounded_by_each_way_in_between() -> None:
    """Ways through different places share no edge: the flow is the sum of their narrowest."""
    given = shares()
    found = explained(AttentionFlow(), *planted(given))
    first, second = (0.5 * given.mean(1)[k] + 0.5 * torch.eye(WIDTH) for k in range(2))
    for place in range(WIDTH):
        ways = [min(second[0, k].item(), first[k, place].item()) for k in range(WIDTH)]
        assert found[:, place].tolist() == pytest.approx([sum(ways)] * 3, abs=1e-6)


def test_attention_times_gradient_is_what_each_token_brings() -> None:
    """Where the output is linear in the last weights, it is exactly what each place adds."""
    given = shares()
    explainee, inputs, targets = planted(given, residual=0.0)
    network: Any = explainee.module
    stream = network.layers[0](network.embed(inputs.x.long()))
    worth = torch.einsum("btd,bd->bt", stream, network.head.weight[targets])
    found = explained(AttentionGradient(), explainee, inputs, targets)
    assert torch.allclose(found, given[1].sum(0)[0] * worth)
    outputs = explainee.target_output(inputs, targets)
    assert torch.allclose(found.sum(1), outputs)


def test_generic_attention_by_the_whole_matrix() -> None:
    """R grows layer by layer from the identity, as the paper writes it."""
    explainee, inputs, targets = planted(shares())
    network: Any = explainee.module
    head, found = network.head.weight, explained(GenericAttention(), explainee, inputs, targets)
    first = [layer.weights(layer.given) for layer in network.layers]
    for row in range(3):
        weights = [part.clone().requires_grad_() for part in first]
        stream = network.embed(inputs.x[row].long())
        for part in weights:
            stream = stream + (part @ stream).sum(0)
        slopes = torch.autograd.grad(stream[0] @ head[targets[row]], weights)
        relevance = torch.eye(WIDTH, dtype=torch.float64)
        for part, slope in zip(weights, slopes, strict=True):
            positive = (part * slope).relu().mean(0)
            relevance = relevance + positive @ relevance
        expected = relevance[0] - torch.eye(WIDTH, dtype=torch.float64)[0]
        assert torch.allclose(found[row], expected.detach())
        assert (expected > 0).any()


@by_class
def test_only_gradients_know_what_is_explained(explainer: Any) -> None:
    explainee, inputs, targets = planted(shares())
    one, other = (explained(explainer, explainee, inputs, t) for t in (targets, 1 - targets))
    assert torch.allclose(one, other) == (explainer in BLIND)


LENGTHS = [5, 20, 17, 1, 16, 33, 24, 9]


def real(name: str, lengths: list[int]) -> tuple[Explained, Inputs, Tensor]:
    inputs = texts(lengths)
    if name == "language_model":
        answers = inputs.context["answers"][:, :, :1]
        inputs = replace(inputs, context={**inputs.context, "answers": answers})
    return model(name), inputs, torch.zeros(len(lengths), dtype=torch.long)


@pytest.mark.sample(3)
@by_class
@pytest.mark.parametrize("name", ["first", "mean", "last", "language_model"])
def test_a_row_has_the_same_bits_in_any_batch(name: str, explainer: Any) -> None:
    with canonical():
        explainee, inputs, targets = real(name, LENGTHS)
        whole = explained(explainer, explainee, inputs, targets)
        few = replace(explainee, max_rows=16)
        for rows in torch.arange(len(inputs)).flip(0).split(3):
            part = explained(explainer, few, inputs.take(rows), targets[rows])
            assert torch.equal(part, whole[rows])
    assert (whole[inputs.units < 0] == 0).all()
    assert whole.isfinite().all()
    assert not whole.requires_grad


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("name", ["first", "mean", "last", "language_model"])
@pytest.mark.parametrize("explainer", BLIND[:3], ids=lambda e: type(e).__name__)
def test_all_that_is_read_sums_to_one(name: str, explainer: Any) -> None:
    explainee, inputs, targets = real(name, LENGTHS)
    total = explained(explainer, explainee, inputs, targets).sum(1)
    assert torch.allclose(total, torch.ones_like(total))


@pytest.mark.parametrize("name", ["first", "mean", "last", "language_model"])
def test_what_is_read_is_what_the_output_depends_on(name: str) -> None:
    """In the last layer, only what the places that are read gather makes a difference."""
    explainee, inputs, targets = real(name, [9])
    seen: list[AttentionMaps] = []

    def keep(maps: AttentionMaps) -> Tensor:
        seen.append(maps)
        return maps.reading

    by_token(explainee, inputs, targets, keep, slopes=True)
    depends = (seen[0].slopes[-1].abs().amax(1) > 0).any(2)
    assert torch.equal(depends, seen[0].reading > 0)
    assert seen[0].reading.sum(1).tolist() == pytest.approx([1.0])


@by_class
def test_special_tokens_get_nothing_and_the_others_keep_theirs(explainer: Any) -> None:
    explainee, inputs, targets = real("first", [9, 9])
    without = replace(inputs, units=inputs.units.clone())
    without.units[:, 0] = -1
    found = explained(explainer, explainee, without, targets)
    whole = explained(explainer, explainee, inputs, targets)
    assert (found[:, 0] == 0).all()
    assert torch.equal(found[:, 1:], whole[:, 1:])


@by_class
def test_a_text_with_gaps_is_the_closed_up_text(explainer: Any) -> None:
    explainee, inputs, targets = real("last", [9])
    gaps = inputs.with_x(inputs.x.clone())
    gaps.x[:, [0, 4]] = DELETED
    closed = inputs.with_x(inputs.x.clone())
    closed.x[:, :7] = inputs.x[:, [1, 2, 3, 5, 6, 7, 8]]
    closed.x[:, 7:] = DELETED
    found, expected = (explained(explainer, explainee, i, targets) for i in (gaps, closed))
    assert torch.equal(found[:, [1, 2, 3, 5, 6, 7, 8]], expected[:, :7])
    assert (found[:, [0, 4]] == 0).all()


@pytest.mark.sample(2, others="slow")
@by_class
def test_at_the_embeddings_numbers_add_up_to_the_token(explainer: Any) -> None:
    explainee, inputs, targets = real("mean", LENGTHS)
    there, points = explainee.relaxed(inputs)
    found = explained(explainer, there, points, targets)  # type: ignore[arg-type]
    assert found.shape == points.x.shape
    assert torch.allclose(found.sum(2), explained(explainer, explainee, inputs, targets))


@by_class
def test_what_has_no_attention_says_so(explainer: Any) -> None:
    explainee, inputs, targets = real("bag_mean", [5])
    with pytest.raises(Unsupported, match="transformers that are written out here"):
        explained(explainer, explainee, inputs, targets)


@by_class
def test_answers_of_several_tokens_are_several_calls(explainer: Any) -> None:
    with pytest.raises(Unsupported, match="answers of several tokens"):
        explained(explainer, model("language_model"), texts([5]), torch.zeros(1, dtype=torch.long))


def test_flow_refuses_long_texts() -> None:
    with pytest.raises(Unsupported, match="at most 20 tokens, and one has 33; set max_tokens=33"):
        explained(AttentionFlow(max_tokens=20), *real("first", LENGTHS))


@by_class
def test_no_hook_stays(explainer: Any) -> None:
    explainee, inputs, targets = real("first", [5])
    explained(explainer, explainee, inputs, targets)
    assert explainee.module is not None
    assert not any(part._forward_hooks for part in explainee.module.modules())
