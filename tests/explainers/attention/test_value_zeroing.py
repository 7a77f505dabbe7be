"""Value zeroing against networks in which it can be done by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from tests.explainers.attention.planted import WIDTH, planted, shares
from tests.explainers.attention.test_attention import explained
from xai_bench.core.cost import Metered
from xai_bench.core.tokens import DELETED
from xai_bench.explainers.attention.value_zeroing import ValueZeroing
from xai_bench.types import Rows


def test_in_one_layer_it_is_what_the_token_is_given_by_attention() -> None:
    """C is the sum over tokens of attention times the worth of the value."""
    given = shares()
    explainee, inputs, targets = planted(given[1:], residual=0.0)
    network: Any = explainee.module
    worth = torch.einsum("btd,bd->bt", network.embed(inputs.x.long()), network.head.weight[targets])
    found = explained(ValueZeroing(), explainee, inputs, targets)
    assert torch.allclose(found, given[1].sum(0)[0] * worth)
    assert torch.allclose(found.sum(1), explainee.target_output(inputs, targets))


def test_in_two_layers_the_values_are_gone_in_both_and_the_state_stays() -> None:
    given = shares()
    explainee, inputs, targets = planted(given)
    network: Any = explainee.module
    found = explained(ValueZeroing(), explainee, inputs, targets)
    whole = explainee.target_output(inputs, targets)
    for place in range(WIDTH):
        there = (torch.arange(WIDTH) != place).double()[:, None]
        stream = network.embed(inputs.x.long())
        for layer in given.sum(1):
            stream = stream + layer @ (there * stream)
        without = (stream[:, 0] * network.head.weight[targets]).sum(1)
        assert torch.allclose(found[:, place], whole - without)


def test_tokens_of_one_word_are_zeroed_together() -> None:
    """In one linear layer that is their sum, shared evenly; what is no unit gets nothing."""
    explainee, inputs, targets = planted(shares()[1:], residual=0.0)
    each = explained(ValueZeroing(), explainee, inputs, targets)
    words = replace(inputs, units=torch.tensor([-1, 0, 0, 1, 2, 2]).expand(3, -1))
    found = explained(ValueZeroing(), explainee, words, targets)
    assert (found[:, 0] == 0).all()
    assert torch.allclose(found[:, 1], (each[:, 1] + each[:, 2]) / 2)
    assert torch.allclose(found[:, 2], found[:, 1])
    assert torch.allclose(found[:, 3], each[:, 3])


def test_it_costs_a_row_a_unit_and_one() -> None:
    explainee, inputs, targets = planted(shares())
    ragged = replace(
        inputs, units=inputs.units.clone(), context={"length": torch.tensor([6, 4, 2])}
    )
    for row, length in enumerate([6, 4, 2]):
        ragged.units[row, length:] = -1
        ragged.x[row, length:] = DELETED
    metered = Metered(explainee)
    explained(ValueZeroing(), metered, ragged, targets)  # type: ignore[arg-type]
    forward, gradient = metered.usage.rows_of(ragged.index)
    assert forward.tolist() == [7.0, 5.0, 3.0]
    assert gradient.tolist() == [0.0] * 3
    assert [ValueZeroing().rows(n) for n in (6, 4, 2)] == [Rows(7), Rows(5), Rows(3)]
