"""ALTI: its parts add up to what the layer computes, for every layout of norms and heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.explainers.attention.planted import planted, shares
from tests.explainers.attention.test_attention import explained
from tests.models.text.test_predictor import network, texts
from xai_bench.core.tokens import DELETED, TokenNetwork, TransformerLayer
from xai_bench.explainers.attention.alti import ALTI, _normalised, _shares, recorded
from xai_bench.models.base import Explained
from xai_bench.models.targets import PredictedLogit
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.types import Inputs, Unsupported


def looked_at(made: TokenNetwork, ids: Tensor) -> tuple[list[Any], list[Tensor]]:
    """What each layer's parts are made of, and what attention gave there."""
    layers = [m for m in made.modules() if isinstance(m, TransformerLayer)]
    outs: list[Tensor] = []
    handles = [
        layer.attention.register_forward_hook(lambda m, a, out: outs.append(out))
        for layer in layers
    ]
    with recorded(layers) as steps, torch.no_grad():
        made(ids.float())
    for handle in handles:
        handle.remove()
    return steps, outs


@pytest.mark.parametrize("name", ["first", "mean", "last"])
def test_parts_add_up_to_the_layer(name: str) -> None:
    """LayerNorm before, LayerNorm after, and RMSNorm with rotary places and grouped queries."""
    made = network(name).double()
    for parameter in made.parameters():
        with torch.no_grad():
            parameter += 0.1 * torch.ones_like(parameter)
    ids = torch.tensor([[3, 5, 7, 9, 4]])
    steps, outs = looked_at(made, ids)
    for step, out in zip(steps, outs, strict=True):
        total = step.stream[0][0].double() + out[0]
        if not step.layer.norm_first:
            total = step.layer.attention_norm(total) - step.layer.attention_norm.bias
        torch.testing.assert_close(step.parts(0).sum(1), total.detach())
        assert torch.allclose(step.shares(1).sum(2), torch.ones(1, 5, dtype=torch.float64))


def test_shares_by_hand() -> None:
    """The sum is (3, 1): without the first part (1, 1) is 2 away, of 4; without the second 2; the
    third brings it further away.
    """
    parts = torch.tensor([[[2.0, 0.0], [2.0, 0.0], [-1.0, 1.0]]], dtype=torch.float64)
    [[one, other, third]] = _shares(parts).tolist()
    assert (one, other, third) == (0.5, 0.5, 0)


def test_a_token_that_nobody_can_see_has_no_part() -> None:
    made = network("last").double()
    steps, _ = looked_at(made, torch.tensor([[3, 5, 7, 9, 4]]))
    for step in steps:
        assert torch.equal(step.shares(1)[0].triu(1), torch.zeros(5, 5, dtype=torch.float64))


def test_scores_are_shares_of_what_is_read() -> None:
    inputs: Inputs = texts([5, 20, 9])
    model = Explained(TokenPredictor(network("mean"), 3), PredictedLogit())
    found = explained(ALTI(), model, inputs, torch.zeros(len(inputs)).long())
    assert (found >= 0).all()
    assert (found.sum(1) <= 1 + 1e-6).all()
    assert (found[inputs.units < 0] == 0).all()


def test_a_network_without_residual_connections_is_refused() -> None:
    with pytest.raises(Unsupported, match="ALTI needs transformer layers"):
        explained(ALTI(), *planted(shares()))


def test_a_text_with_a_gap_is_the_closed_up_text() -> None:
    inputs = texts([5])
    model = Explained(TokenPredictor(network("first"), 3), PredictedLogit())
    gap, closed = (inputs.with_x(inputs.x.clone()) for _ in range(2))
    gap.x[0, 1] = DELETED
    closed.x[0, :5] = torch.tensor([*inputs.x[0, [0, 2, 3, 4]], DELETED])
    found, expected = (explained(ALTI(), model, i, torch.zeros(1).long()) for i in (gap, closed))
    assert torch.equal(found[0, [0, 2, 3, 4]], expected[0, :4])
    assert found[0, 1] == 0


def test_a_norm_without_an_epsilon_divides_by_the_root_mean_square() -> None:
    """The sum is (3, 4), the mean of whose squares is 12.5."""
    parts = torch.tensor([[[1.0, 2.0], [2.0, 2.0]]], dtype=torch.float64)
    found = _normalised(parts, nn.RMSNorm(2, eps=None).double())
    torch.testing.assert_close(found, parts / 12.5**0.5)
