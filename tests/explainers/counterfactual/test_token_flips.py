"""Swaps of words: a planted vocabulary in which the shortest way over is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.models.text.test_closed_forms import bag, corpus
from xai_bench.certify import toy_worlds
from xai_bench.core import counterfactuals
from xai_bench.core.calls import model_outputs
from xai_bench.core.cost import Metered
from xai_bench.core.seeds import Seeds
from xai_bench.explainers.counterfactual.masked_infill import MaskedInfill
from xai_bench.explainers.counterfactual.swap_search import SwapSearch
from xai_bench.explainers.counterfactual.token_flips import TokenFlips, _shape
from xai_bench.metrics.counterfactual import CounterfactualValidity, EditShare, Fluency
from xai_bench.models.base import Explained
from xai_bench.results.tracking.counterfactual_table import _swaps
from xai_bench.types import Case, Cost, Explainer, Explanation, Inputs, Unsupported


def explained(explainer: Explainer, model: Explained, inputs: Inputs) -> tuple[Explanation, Tensor]:
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


def test_a_token_that_never_occurred_does_not_come_in(world: tuple[Explained, Inputs]) -> None:
    model, inputs = world
    found, _ = explained(TokenFlips(), model, inputs)
    symbols = inputs.domain.symbols
    assert found.counterfactuals is not None
    assert symbols is not None
    point = found.counterfactuals[0, 0]
    best = int(point[point != inputs.x[0]][0])
    counts = symbols.counts.clone()
    counts[best] = 0
    domain = replace(inputs.domain, symbols=replace(symbols, counts=counts))
    without, _ = explained(TokenFlips(), model, replace(inputs, domain=domain))
    assert without.counterfactuals is not None
    swapped = without.counterfactuals[0, 0]
    assert not (swapped[swapped != inputs.x[0]] == best).any()


def test_a_word_stands_for_a_word_and_a_piece_for_a_piece() -> None:
    shapes = {_shape(token) for token in ("good", "##ing", "!", "##!", "Ġgood")}
    assert len(shapes) == 5
    assert _shape("good") == _shape("bad1")


class _ByHand(SwapSearch):
    """Counts the texts that are tried."""

    n_rows = 0

    def candidates(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        raise AssertionError("nothing is swapped here")

    def _leads(self, rows: Tensor, points: Tensor) -> Tensor:
        self.n_rows += len(rows) * points.shape[1]
        return super()._leads(rows, points)


def test_only_what_was_swapped_is_undone_and_never_the_last_swap(
    world: tuple[Explained, Inputs],
) -> None:
    """Two tokens of the first text are others: at most two are put back. Of a text with one swap,
    none is tried.
    """
    model, inputs = world
    found, targets = explained(TokenFlips(), model, inputs)
    assert found.counterfactuals is not None
    search = _ByHand(model, inputs, targets)
    search.x = found.counterfactuals[:, 0].clone()
    place = (search.x == inputs.x) & (inputs.units >= 0)
    row = int(place.any(1).nonzero()[0])
    spare = int(place[row].nonzero()[0])
    search.x[row, spare] = inputs.x[row, spare] + 1
    search.has_flipped[:] = True
    n_swaps = (search.x != inputs.x).sum(1)
    search.n_rows = 0
    search.undo()
    assert search.n_rows <= int(n_swaps[n_swaps > 1].sum())
    assert (search.x != inputs.x).any(1).all()


def case_of(model: Explained, inputs: Inputs, targets: Tensor, explanation: Explanation) -> Case:
    nothing = torch.zeros(len(inputs), dtype=torch.float64)
    rng = Seeds(0).stream("metric", samples=inputs.index)
    explain = toy_worlds.linear([1.0]).case(torch.ones(3, 1)).explain
    cost = Cost(nothing, nothing, nothing, nothing)
    return Case(model, inputs, targets, explanation, "relevance", rng, explain, cost)


def test_flip_rate_and_edit_share(world: tuple[Explained, Inputs]) -> None:
    model, inputs = world
    n_words = inputs.units.amax(1) + 1
    none = n_words == n_words.amin()
    assert len(set(n_words.tolist())) > 1, "a share of one word would be a number of words"
    found, targets = explained(TokenFlips(), model, inputs)
    assert found.counterfactuals is not None
    points = found.counterfactuals.clone()
    points[none] = torch.nan
    case = case_of(model, inputs, targets, replace(found, counterfactuals=points))
    assert CounterfactualValidity().score(case).tolist() == (~none).double().tolist()
    shares = EditShare().score(case)
    assert shares[none].isnan().all()
    changed = (points[:, 0] != inputs.x).sum(1)  # a token a word
    torch.testing.assert_close(shares[~none], (changed / n_words)[~none].double())


class _Known:
    """Fills every gap with one token; a text is the less likely the more of it there are."""

    def __init__(self, token: int) -> None:
        self.token = token

    def sample(self, tokens: Tensor, missing: Tensor, draws: Tensor) -> Tensor:
        return torch.where(missing, self.token, tokens)[:, None].expand(*draws.shape)

    def log_probability(self, tokens: Tensor) -> Tensor:
        return -2.0 - (tokens == self.token).sum(1).double()


def knowing(inputs: Inputs, token: int) -> Inputs:
    assert inputs.domain.symbols is not None
    symbols = replace(inputs.domain.symbols, infill=_Known(token))
    return replace(inputs, domain=replace(inputs.domain, symbols=symbols))


@pytest.mark.parametrize("token", range(5, 9))
def test_what_is_filled_in_is_checked_by_the_model(
    world: tuple[Explained, Inputs], token: int
) -> None:
    """With one token to fill in, one step finds a text exactly where one swap to it is enough."""
    model, inputs = world[0], knowing(world[1], token)
    found, targets = explained(MaskedInfill(max_flips=1), model, inputs)
    assert found.counterfactuals is not None
    for row in range(len(inputs)):
        part = inputs.take(torch.tensor([row]))
        places = (part.units[0] >= 0).nonzero()[:, 0]
        points = part.x.repeat(len(places), 1)
        points[torch.arange(len(places)), places] = float(token)
        outputs = model_outputs.outputs_at(model, part, points[None])[0]
        leads = counterfactuals.margin(outputs, targets[row].expand(len(places)), None)
        point = found.counterfactuals[row, 0]
        assert bool(point.isnan().any()) == bool(leads.min() >= 0)
        if leads.min() < 0:
            assert torch.equal(point, points[leads.argmin()])


class _Counted(_Known):
    """Counts the texts whose gaps it fills."""

    n_rows = 0

    def sample(self, tokens: Tensor, missing: Tensor, draws: Tensor) -> Tensor:
        assert (missing.sum(1) == 1).all()
        self.n_rows += len(tokens)
        return super().sample(tokens, missing, draws)


def test_gaps_are_made_and_tried_at_words_alone(
    world: tuple[Explained, Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of a text of `U` words: `U` gaps are filled, and `R U` swaps tried."""
    model, inputs = world[0], knowing(world[1], 5)
    assert inputs.domain.symbols is not None
    counted = _Counted(5)
    symbols = replace(inputs.domain.symbols, infill=counted)
    inputs = replace(inputs, domain=replace(inputs.domain, symbols=symbols))
    asked = []

    def outputs_at(given: Explained, of: Inputs, points: Tensor) -> Tensor:
        asked.append(points.shape[0] * points.shape[1])
        return given.outputs(of.stacked(points)).view(*points.shape[:2], -1)

    monkeypatch.setattr(model_outputs, "outputs_at", outputs_at)
    explained(MaskedInfill(max_flips=1, n_draws=3), model, inputs)
    n_words = int((inputs.units >= 0).sum())
    assert n_words < inputs.x.numel(), "there is padding, and special tokens"
    # The text itself, then its swaps; one swap needs no undoing.
    assert asked == [len(inputs), 3 * n_words]
    assert counted.n_rows == n_words


class _Same(_Known):
    """Puts back what was there."""

    def sample(self, tokens: Tensor, missing: Tensor, draws: Tensor) -> Tensor:
        return tokens[:, None].expand(*draws.shape)


def test_a_search_gives_up_where_no_draw_helps(world: tuple[Explained, Inputs]) -> None:
    """One step, in which every swap leaves the text as it was; a second would do the same."""
    model, inputs = world
    assert inputs.domain.symbols is not None
    symbols = replace(inputs.domain.symbols, infill=_Same(5))
    inputs = replace(inputs, domain=replace(inputs.domain, symbols=symbols))
    metered = Metered(model)
    found, _ = explained(MaskedInfill(max_flips=4, n_draws=2), metered, inputs)  # type: ignore[arg-type]
    assert found.counterfactuals is not None
    assert found.counterfactuals.isnan().all()
    rows, _ = metered.usage.rows_of(inputs.index)
    # The class, the text itself, and two draws for each word.
    assert torch.equal(rows, 2 + 2 * (inputs.units >= 0).sum(1).double())


def test_fluency_is_the_ratio_of_losses(world: tuple[Explained, Inputs]) -> None:
    model, inputs = world
    found, targets = explained(TokenFlips(), model, inputs)
    assert found.counterfactuals is not None
    token = int(found.counterfactuals[0, 0][found.counterfactuals[0, 0] != inputs.x[0]][0])
    known = knowing(inputs, token)
    counts = [2 + (x == token).sum(1).double() for x in (found.counterfactuals[:, 0], inputs.x)]
    assert counts[0][0] > counts[1][0]
    case = case_of(model, known, targets, found)
    torch.testing.assert_close(Fluency().score(case), counts[0] / counts[1])
    with pytest.raises(Unsupported, match="fluency needs a masked language model"):
        Fluency().score(case_of(model, inputs, targets, found))
    with pytest.raises(Unsupported, match="masked_infill needs a masked language model"):
        explained(MaskedInfill(), model, inputs)


def test_a_table_shows_words() -> None:
    x, point = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 2.0, 2.0])
    assert _swaps(x, point, ["a", "good", "bad"]) == "good → bad"
    assert _swaps(x, x, ["a", "good", "bad"]) == "nothing"
    assert _swaps(x, point * torch.nan, []) == "*not found*"


def test_tables_are_refused() -> None:
    world = toy_worlds.linear([1.0, 2.0])
    with pytest.raises(Unsupported, match="tokens are swapped in texts"):
        world.explain(TokenFlips())
