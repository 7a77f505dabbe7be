"""Deletion closes up, widths follow the sample, and each way of removal is the id it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.text import corpus
from xai_bench.core import coalitions
from xai_bench.core.baselines import Background, Blur, Constant, Marginal, Mean, Quantile
from xai_bench.core.imputers import ConditionalGaussian, ConditionalNeighbours
from xai_bench.core.seeds import Seeds
from xai_bench.core.token_removal import MaskedLanguageModel, Operator, TokenRemoval
from xai_bench.core.tokens import (
    DELETED,
    HIDDEN,
    WIDTHS,
    ZEROED,
    TokenNetwork,
    closed_up,
    occupied,
    require_numbers,
    row_widths,
    widths,
)  # fmt: skip
from xai_bench.types import Baseline, Inputs, Rng, Unsupported


@pytest.fixture
def inputs() -> Inputs:
    return corpus().evaluation(4, 8)


def rng_of(inputs: Inputs) -> Rng:
    return Seeds(0).stream("test", samples=inputs.index)


def test_what_is_left_moves_to_the_front_in_its_order() -> None:
    tokens = torch.tensor([[7, -1, 8, -2, -1, 9], [1, 2, 3, -1, -1, -1]])
    embedded = tokens[..., None].float() * torch.tensor([1.0, 10.0])
    found = closed_up(embedded, tokens)
    assert found.tokens.tolist() == [[7, 8, -2, 9, -1, -1], [1, 2, 3, -1, -1, -1]]
    assert found.embedded[0, :, 0].tolist() == [7, 8, -2, 9, -1, -1]
    assert found.lengths.tolist() == [4, 3]
    assert found.visible[0].tolist() == [True, True, False, True, False, False]


def test_nothing_is_copied_where_nothing_is_missing() -> None:
    tokens = torch.tensor([[1, 2, DELETED, DELETED]])
    embedded = torch.ones(1, 4, 3)
    assert closed_up(embedded, tokens).embedded is embedded


def test_widths_are_the_smallest_that_hold_a_sample() -> None:
    lengths = torch.tensor([1, 16, 17, 24, 25, 33, 49, 64, 65])
    assert widths(lengths).tolist() == [16, 16, 24, 24, 32, 48, 64, 64, 96]
    assert list(WIDTHS) == sorted(WIDTHS)
    assert occupied(torch.tensor([[5, -1, 6, -1], [-1, -1, -1, -1]])).tolist() == [3, 0]


@pytest.mark.parametrize(
    ("operator", "code"),
    [
        ("mask", 4), ("unknown", 1), ("padding", 0),
        ("deletion", DELETED), ("attention_mask", HIDDEN), ("zero_embedding", ZEROED),
    ],
)  # fmt: skip
def test_a_removed_word_is_what_the_operator_says(
    inputs: Inputs, operator: Operator, code: int
) -> None:
    kept = torch.ones(4, 1, int(inputs.units.max()) + 1, dtype=torch.bool)
    kept[:, :, 1] = False
    points = coalitions.points(inputs, kept, TokenRemoval(operator), rng=rng_of(inputs))[:, 0, 0]
    removed = inputs.units == 1
    assert (points[removed] == code).all()
    assert torch.equal(points[~removed], inputs.x[~removed])


def test_a_vocabulary_without_the_token_says_what_it_has(inputs: Inputs) -> None:
    assert inputs.domain.symbols is not None
    symbols = replace(inputs.domain.symbols, mask=None)
    domain = replace(inputs.domain, symbols=symbols)
    with pytest.raises(Unsupported, match="no mask token; use baseline unknown_token, padding"):
        TokenRemoval("mask").references(replace(inputs, domain=domain), rng=rng_of(inputs))


def test_data_without_tokens_says_so(inputs: Inputs) -> None:
    domain = replace(inputs.domain, symbols=None)
    with pytest.raises(Unsupported, match="is for tokens, and this data has none"):
        TokenRemoval().references(replace(inputs, domain=domain), rng=rng_of(inputs))


def embedded(inputs: Inputs) -> Inputs:
    table = torch.arange(200.0).view(100, 2)

    def lookup(ids: Tensor) -> Tensor:
        return torch.where((ids < 0)[..., None], 0, table[ids.clamp(min=0)])

    domain = replace(inputs.domain, lookup=lookup)
    x = lookup(inputs.x.long())
    return replace(inputs, x=x, units=inputs.units[..., None].expand(x.shape), domain=domain)


def test_where_x_holds_embeddings_the_reference_is_that_of_the_id(inputs: Inputs) -> None:
    there = embedded(inputs)
    assert not there.domain.discrete
    assert (TokenRemoval("mask").references(there, rng=rng_of(inputs))[..., 0] == 8).all()
    assert (TokenRemoval("zero_embedding").references(there, rng=rng_of(inputs)) == 0).all()
    for operator in ("deletion", "attention_mask"):
        with pytest.raises(Unsupported, match="no embedding that a gradient could start from"):
            TokenRemoval(operator).references(there, rng=rng_of(inputs))


@pytest.mark.parametrize(
    "baseline",
    [Constant(), Mean(), Quantile(), Marginal(), Background(), Blur(), ConditionalGaussian(),
     ConditionalNeighbours()],
    ids=lambda b: type(b).__name__,
)  # fmt: skip
def test_baselines_that_compute_with_numbers_refuse_ids(inputs: Inputs, baseline: Any) -> None:
    kept = torch.ones(4, 1, int(inputs.units.max()) + 1, dtype=torch.bool)
    with pytest.raises(Unsupported):
        coalitions.points(inputs, kept, baseline, rng=rng_of(inputs))


def test_shares_of_a_word_are_refused(inputs: Inputs) -> None:
    kept = torch.full((4, 1, int(inputs.units.max()) + 1), 0.5)
    with pytest.raises(Unsupported, match="keeping a share of a unit computes with the numbers"):
        coalitions.points(inputs, kept, TokenRemoval(), rng=rng_of(inputs))


def test_ids_have_no_difference_from_a_reference(inputs: Inputs) -> None:
    baseline: Baseline = TokenRemoval()
    found = coalitions.difference_from_reference(inputs, baseline, rng=rng_of(inputs))
    assert found is None
    require_numbers(embedded(inputs).domain, "anything")


class _Copycat:
    """Fills every gap with the id that its draw picks: 5 + the whole part of ten times the draw."""

    def sample(self, tokens: Tensor, missing: Tensor, draws: Tensor) -> Tensor:
        return torch.where(missing[:, None], 5 + (10 * draws).long(), tokens[:, None])

    def log_probability(self, tokens: Tensor) -> Tensor:
        return torch.zeros(len(tokens), dtype=torch.float64)


def test_a_masked_language_model_fills_what_is_missing_and_nothing_else(inputs: Inputs) -> None:
    assert inputs.domain.symbols is not None
    symbols = replace(inputs.domain.symbols, infill=_Copycat())
    there = replace(inputs, domain=replace(inputs.domain, symbols=symbols))
    kept = torch.ones(4, 3, int(inputs.units.max()) + 1, dtype=torch.bool)
    kept[:, 1, 0] = kept[:, 2, 0] = kept[:, 2, 1] = False
    found = MaskedLanguageModel(n_draws=5).impute(there, kept, rng=rng_of(inputs))
    assert found.shape == (4, 3, 5, inputs.x.shape[1])
    assert (found[:, 0] == inputs.x[:, None]).all()
    first = (inputs.units == 0)[:, None].expand(-1, 5, -1)
    assert torch.equal(found[:, 1][first], found[:, 2][first])  # the same draws
    assert (found[:, 1][~first] == inputs.x[:, None].expand(-1, 5, -1)[~first]).all()
    with pytest.raises(Unsupported, match="needs a masked language model, and none is there"):
        MaskedLanguageModel().impute(inputs, kept, rng=rng_of(inputs))


class _Counting(TokenNetwork):
    """Embeds an id as one more than itself."""

    def embed(self, ids: Tensor) -> Tensor:
        return ids[..., None] + 1.0


def test_the_first_id_has_an_embedding_and_marks_have_none() -> None:
    found = _Counting().lookup(torch.tensor([0, 1, DELETED, HIDDEN, ZEROED]))
    assert found[:, 0].tolist() == [1, 2, 0, 0, 0]


def test_no_row_is_wider_than_the_data() -> None:
    tokens = torch.full((1, 10), 5)
    assert row_widths(tokens, torch.tensor([3])).tolist() == [10]
    assert row_widths(torch.full((1, 20), 5), None).tolist() == [20]
