"""Swaps of words: a planted vocabulary in which the shortest way over is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.models.text.test_closed_forms import bag, corpus
from xai_bench.certify import toy_worlds
from xai_bench.core import counterfactuals, model_outputs
from xai_bench.core.seeds import Seeds
from xai_bench.explainers.counterfactual.token_flips import TokenFlips, _shape
from xai_bench.metrics.counterfactual import CounterfactualValidity, EditShare
from xai_bench.models.base import Explained
from xai_bench.results.tracking.counterfactual_table import _swaps
from xai_bench.types import Case, Cost, Explanation, Inputs, Unsupported


def explained(
    explainer: TokenFlips, model: Explained, inputs: Inputs
) -> tuple[Explanation, Tensor]:
    with torch.no_grad():
        targets = model.outputs(inputs).argmax(1)
    rng = Seeds(0).stream("explain", samples=inputs.index)
    return explainer.explain(model, inputs, targets, rng=rng), targets


@pytest.fixture(scope="module")
def world() -> tuple[Explained, Inputs]:
    inputs = corpus()
    return bag(inputs, "sum"), inputs


def test_what_is_found_has_another_class_by_the_model_itself(
    world: tuple[Explained, Inputs],
) -> None:
    model, inputs = world
    found, targets = explained(TokenFlips(), model, inputs)
    assert found.counterfactuals is not None
    points = found.counterfactuals[:, 0]
    assert not points.isnan().any(), "in a bag of words every text can be turned"
    classes = model_outputs.outputs(model, inputs.with_x(points)).argmax(1)
    assert (classes != targets).all()
    changed = points != inputs.x
    assert torch.equal(found.attribution > 0, changed)
    assert not changed[inputs.units < 0].any()
    symbols = inputs.domain.symbols
    assert symbols is not None
    new = points[changed].long()
    assert not symbols.special[new].any()
    assert (symbols.counts[new] > 0).all()


def test_in_a_bag_the_first_swap_is_the_best_one(world: tuple[Explained, Inputs]) -> None:
    """The lead is linear in the embeddings: promise and truth agree, and are found by hand."""
    model, inputs = world
    once, targets = explained(TokenFlips(max_flips=1, n_candidates=1), model, inputs)
    symbols = inputs.domain.symbols
    assert once.counterfactuals is not None
    assert symbols is not None
    usable = ((symbols.counts > 0) & ~symbols.special).nonzero()[:, 0]
    for row in range(len(inputs)):
        part = inputs.take(torch.tensor([row]))
        lowest = torch.inf
        for place in (part.units[0] >= 0).nonzero()[:, 0].tolist():
            here = symbols.tokens[int(part.x[0, place])]
            fit = [i for i in usable.tolist() if _shape(symbols.tokens[i]) == _shape(here)]
            points = part.x.repeat(len(fit), 1)
            points[:, place] = torch.tensor(fit).to(points)
            outputs = model_outputs.outputs_at(model, part, points[None])[0]
            leads = counterfactuals.margin(outputs, targets[row].expand(len(fit)), None)
            lowest = min(lowest, float(leads.min()))
        point = once.counterfactuals[row]
        assert bool(point.isnan().any()) == (lowest >= 0)
        if lowest < 0:
            outputs = model_outputs.outputs(model, part.with_x(point))
            lead = counterfactuals.margin(outputs, targets[[row]], None)
            assert float(lead) == pytest.approx(lowest, abs=1e-9)


def test_flip_rate_and_edit_share(world: tuple[Explained, Inputs]) -> None:
    model, inputs = world
    points = inputs.x[:, None].clone()
    points[0] = torch.nan
    found, targets = explained(TokenFlips(), model, inputs)
    assert found.counterfactuals is not None
    points[1:] = found.counterfactuals[1:]
    nothing = torch.zeros(len(inputs), dtype=torch.float64)
    explanation = replace(found, counterfactuals=points)
    rng = Seeds(0).stream("metric", samples=inputs.index)
    explain = toy_worlds.linear([1.0]).case(torch.ones(3, 1)).explain
    cost = Cost(nothing, nothing, nothing, nothing)
    case = Case(model, inputs, targets, explanation, "relevance", rng, explain, cost)
    assert CounterfactualValidity().score(case).tolist() == [0, *[1] * (len(inputs) - 1)]
    shares = EditShare().score(case)
    assert shares[0].isnan()
    changed = (points[:, 0] != inputs.x).sum(1)  # a token a word
    torch.testing.assert_close(shares[1:], (changed / (inputs.units.amax(1) + 1))[1:].double())


def test_a_table_shows_words() -> None:
    x, point = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 2.0, 2.0])
    assert _swaps(x, point, ["a", "good", "bad"]) == "good → bad"
    assert _swaps(x, x, ["a", "good", "bad"]) == "nothing"
    assert _swaps(x, point * torch.nan, []) == "*not found*"


def test_tables_are_refused() -> None:
    world = toy_worlds.linear([1.0, 2.0])
    with pytest.raises(Unsupported, match="tokens are swapped in texts"):
        world.explain(TokenFlips())
