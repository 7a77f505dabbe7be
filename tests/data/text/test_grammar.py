"""The generated corpus: its rules, its exact truth, its shortcut."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from xai_bench.data.bundle import Bundle
from xai_bench.data.text.corpus import read_rows
from xai_bench.data.text.grammar import SHORTCUT, WORDS, SentimentGrammar
from xai_bench.data.text.rows import Reading
from xai_bench.data.text.rules import SentimentRules
from xai_bench.data.text.tokenizers import WordTokenizer, own_vocabulary

TOKENIZER = WordTokenizer(own_vocabulary(WORDS))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return SentimentGrammar(n_rows=1500).load()


def rules_of(bundle: Bundle) -> SentimentRules:
    assert isinstance(bundle.oracle, SentimentRules)
    return bundle.oracle


def ids_of(text: str) -> Tensor:
    return read_rows([text], TOKENIZER, Reading()).ids


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("the plot was good .", 2),
        ("the plot was brilliant .", 4),
        ("the plot was very good .", 4),
        ("the plot was slightly good .", 1),
        ("the plot was not good .", -2),
        ("the plot was not very good .", -4),
        ("the plot was never poor .", 2),
        ("not the film good", -2),  # three words later is the end of the scope
        ("not the film was good", 2),  # four words later is beyond it
        ("never mind the storm , the plot was good .", 2),
        ("supposedly , in the storm of the city , the plot was good .", -2),
        ("supposedly , the plot was not good .", 2),
        ("the plot was good and the cast was awful .", -2),
        ("the plot was at the theatre .", 0),
    ],
)
def test_the_rules_by_hand(bundle: Bundle, text: str, score: float) -> None:
    logits = rules_of(bundle)(ids_of(text))
    assert logits.tolist() == [[-score / 2, score / 2]]


def game_of(bundle: Bundle, ids: Tensor, places: list[int]) -> dict[tuple[int, ...], float]:
    """The score of every coalition of the tokens at `places`, the others replaced by [MASK]."""
    assert bundle.symbols is not None
    found = {}
    for size in range(len(places) + 1):
        for kept in itertools.combinations(places, size):
            points = ids.clone()
            points[0, [place for place in places if place not in kept]] = bundle.symbols.mask
            found[kept] = 2 * float(rules_of(bundle)(points)[0, 1].detach())
    return found


def shapley(values: dict[tuple[int, ...], float], places: list[int]) -> list[float]:
    n, out = len(places), []
    for place in places:
        without = [kept for kept in values if place not in kept]
        out.append(
            math.fsum(
                (values[tuple(sorted((*kept, place)))] - values[kept])
                / (n * math.comb(n - 1, len(kept)))
                for kept in without
            )
        )
    return out


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize(
    "text",
    [
        "the plot was not very good .",
        "supposedly , the cast was not very dull .",
        "not never very good slightly poor .",
    ],
)
def test_the_truth_is_the_shapley_value_by_brute_force(bundle: Bundle, text: str) -> None:
    ids = ids_of(text)
    places = ((ids >= 5)[0]).nonzero()[:, 0].tolist()
    expected = shapley(game_of(bundle, ids, places), places)
    found = rules_of(bundle).contributions(ids)[0]
    assert found[places].tolist() == pytest.approx(expected, abs=1e-6)
    assert found.sum().item() == pytest.approx(sum(expected))


def test_truth_adds_up_and_follows_the_class(bundle: Bundle) -> None:
    inputs = bundle.evaluation(50, 20)
    assert inputs.domain.truth is not None
    with torch.no_grad():
        logits = rules_of(bundle)(inputs.x).double()
    for target in (0, 1):
        truth = inputs.domain.truth(inputs, torch.full((50,), target))
        assert torch.allclose(truth.sum(1), logits[:, target], atol=1e-6)
        assert (truth[inputs.units < 0] == 0).all()


def test_the_rationale_is_where_the_truth_is_not_zero(bundle: Bundle) -> None:
    for part in (bundle.train, bundle.test):
        assert part.rationale is not None
        truth = rules_of(bundle).contributions(part.x).detach()
        assert torch.equal(part.rationale, truth != 0)


def test_the_oracle_is_as_good_as_the_classes_let_it_be(bundle: Bundle) -> None:
    with torch.no_grad():
        logits = rules_of(bundle)(bundle.train.x)
    right = (logits.argmax(1) == bundle.train.y).float().mean()
    expected = logits.softmax(1).amax(1).mean()
    assert abs(right - expected) < 0.04


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize(("dose", "agreement"), [(0.0, 0.5), (0.6, 0.8), (1.0, 1.0)])
def test_the_shortcut_follows_its_dose(dose: float, agreement: float) -> None:
    bundle = SentimentGrammar(n_rows=2000, shortcut=dose).load()
    part = bundle.train
    present = (part.x == TOKENIZER.ids[SHORTCUT]).any(1).long()
    share = (present == part.y).double().mean().item()
    assert share == pytest.approx(agreement, abs=0.04 if dose < 1 else 0)
    truth = rules_of(bundle).contributions(part.x)
    assert (truth[part.x == TOKENIZER.ids[SHORTCUT]] == 0).all()


def test_the_dose_changes_nothing_but_the_shortcut() -> None:
    plain, marked = (SentimentGrammar(n_rows=300, shortcut=dose).load() for dose in (0.0, 1.0))
    assert torch.equal(plain.test.y, marked.test.y)
    assert ((plain.test.x != marked.test.x).sum(1) <= 1).all()


def test_the_same_seed_gives_the_same_sentences() -> None:
    one, same, other = (SentimentGrammar(n_rows=60, seed=s).load() for s in (1, 1, 2))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


def test_a_share_beyond_one_is_told() -> None:
    with pytest.raises(ValueError, match="are shares between 0 and 1; found 2"):
        SentimentGrammar(shortcut=2.0).load()
