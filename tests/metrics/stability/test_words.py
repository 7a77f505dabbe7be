"""Nearby texts and what they do to maps, on a bag of words whose neighbours are planted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.text.test_closed_forms import bag
from xai_bench.certify import toy_worlds
from xai_bench.core.seeds import Seeds
from xai_bench.data.text.corpus import Example, TextOptions
from xai_bench.metrics.probes.word_neighbours import WordNeighbours, _changed
from xai_bench.metrics.stability import words as stability
from xai_bench.metrics.stability.words import WordOverlap, WordStability
from xai_bench.models.base import Explained
from xai_bench.types import Case, Cost, Explanation, Inputs, Model, Unsupported

TEXTS = [
    Example("the film was good , good Good", "yes"),
    Example("the film was fine and great", "yes"),
    Example("a dull flim , truly bad", "no"),
    Example("awful", "no"),
] * 3
OPTIONS = TextOptions(lowercase=False)


@dataclass(frozen=True)
class ByTable:
    """Explains every token by a number of its id, so that swaps change what they should."""

    scores: Tensor

    def __call__(
        self,
        inputs: Inputs,
        *,
        repeat: int = 0,
        model: Model | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        values = self.scores[inputs.x.long().clamp(min=0)]
        return torch.where(inputs.units < 0, 0, values)


@pytest.fixture(scope="module")
def world() -> tuple[Explained, Inputs]:
    bundle = OPTIONS.bundle({"train": TEXTS * 4})
    part = bundle.train
    _, first = np.unique(part.x.numpy(), axis=0, return_index=True)  # each text once
    assert len(first) == 4
    rows = torch.from_numpy(first)
    inputs = Inputs(part.x, part.units, torch.arange(len(part)), bundle.domain(4), part.context)
    return bag(inputs, "sum"), inputs.take(rows)


def case(world: tuple[Explained, Inputs], explain: Any) -> Case:
    model, inputs = world
    with torch.no_grad():
        targets = model.outputs(inputs).argmax(1)
    nothing = torch.zeros(len(inputs), dtype=torch.float64)
    rng = Seeds(0).stream("metric", samples=inputs.index)
    explanation = Explanation(explain(inputs))
    cost = Cost(nothing, nothing, nothing, nothing)
    return Case(model, inputs, targets, explanation, "relevance", rng, explain, cost)


def by_table(world: tuple[Explained, Inputs]) -> Case:
    symbols = world[1].domain.symbols
    assert symbols is not None
    return case(world, ByTable(toy_worlds.normal(len(symbols), seed=3)))


def words(inputs: Inputs, x: Tensor) -> list[str]:
    assert inputs.domain.symbols is not None
    return [inputs.domain.symbols.tokens[int(i)] for i in x if i >= 0]


def exchanged(inputs: Inputs, points: Tensor) -> set[tuple[str, str]]:
    """Every word that stands in the place of another in some neighbour."""
    return {
        pair
        for row in range(len(inputs))
        for point in points[row]
        for pair in zip(words(inputs, inputs.x[row]), words(inputs, point), strict=True)
        if pair[0] != pair[1]
    }


def test_a_table_a_typo_and_a_case_by_hand(world: tuple[Explained, Inputs], tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("good fine\ngood great\n")
    one, inputs = by_table(world), world[1]
    expected = {
        "synonym": {("good", "fine"), ("good", "great"), ("fine", "good"), ("great", "good")},
        "case": {("good", "Good"), ("Good", "good")},
    }
    for kind, allowed in expected.items():
        probe = WordNeighbours(kind, 1.0, 8, table=str(tmp_path / "words.txt"))  # type: ignore[arg-type]
        assert exchanged(inputs, probe.measure(one).points) == allowed, kind
    probe = WordNeighbours("typo", 1.0, 4)
    seen = exchanged(inputs, probe.measure(one).points)
    assert ("film", "flim") in seen, "where the vocabulary has the typo, it is that word"
    assert {new for _, new in seen} <= {"flim", "film", "[UNK]"}
    assert all(len(old) >= 4 for old, _ in seen)


def test_units_stay_and_only_texts_of_the_same_class_count(
    world: tuple[Explained, Inputs],
) -> None:
    one, (model, inputs) = by_table(world), world
    near = WordNeighbours(share=0.5).measure(one)
    outside = inputs.units < 0
    assert (near.points[outside[:, None].expand_as(near.points)] < inputs.x.max() + 1).all()
    for point, accepted in zip(near.points.unbind(1), near.accepted.unbind(1), strict=True):
        assert torch.equal(point[outside], inputs.x[outside])
        with torch.no_grad():
            same = model.outputs(inputs.with_x(point)).argmax(1) == one.targets
        assert torch.equal(accepted, same & (point != inputs.x).any(1))
    again = WordNeighbours(share=0.5).measure(by_table(world))
    assert torch.equal(near.points, again.points), "every explainer gets the same texts"


def test_a_synonym_is_the_nearest_word_of_the_embedding(world: tuple[Explained, Inputs]) -> None:
    one, (model, inputs) = by_table(world), world
    symbols, network = inputs.domain.symbols, model.module
    assert symbols is not None
    vectors = torch.nn.functional.normalize(network.embedding.weight, dim=1)  # type: ignore[union-attr, arg-type]
    is_word = torch.tensor([token.isalpha() for token in symbols.tokens])
    usable = is_word & (symbols.counts > 0) & ~symbols.special
    points = WordNeighbours(share=1.0, n_draws=1, n_nearest=1).measure(one).points[:, 0]
    changed = (points != inputs.x).nonzero().tolist()
    assert changed
    for row, place in changed:
        old, new = int(inputs.x[row, place]), int(points[row, place])
        likeness = torch.where(usable, vectors @ vectors[old], -torch.inf)
        likeness[old] = -torch.inf
        assert new == int(likeness.argmax())


def test_a_map_that_ignores_the_words_is_perfectly_stable(
    world: tuple[Explained, Inputs],
) -> None:
    by_place = case(world, lambda inputs, **_: torch.where(inputs.units < 0, 0, inputs.units))
    stability, overlap = WordStability().score(by_place), WordOverlap().score(by_place)
    scored = stability[~stability.isnan()]
    assert len(scored)
    assert torch.allclose(scored, torch.ones_like(scored))
    assert (overlap[~overlap.isnan()] == 1).all()


def test_stability_is_the_mean_correlation_over_what_is_accepted(
    world: tuple[Explained, Inputs],
) -> None:
    from scipy.stats import spearmanr

    one, inputs = by_table(world), world[1]
    metric = WordStability(share=0.5, n_draws=6)
    near = WordNeighbours(share=0.5, n_draws=6).measure(one)
    scores = metric.score(one)
    for row in range(len(inputs)):
        real = inputs.units[row] >= 0
        own = one.attribution[row, real]
        found = [
            spearmanr(own, one.explain(inputs.with_x(p))[row, real]).statistic
            for p, on in zip(near.points.unbind(1), near.accepted[row], strict=True)
            if on and real.sum() > 1
        ]
        expected = sum(found) / len(found) if found else float("nan")
        assert scores[row].item() == pytest.approx(expected, nan_ok=True)


def test_what_is_no_text_and_a_table_that_is_none() -> None:
    numbers = toy_worlds.linear([1.0, 2.0]).case(torch.ones(3, 2))
    with pytest.raises(Unsupported, match="words have neighbours in texts"):
        WordStability().score(numbers)


def test_a_broken_table_is_one_sentence(world: tuple[Explained, Inputs], tmp_path: Path) -> None:
    one = replace(by_table(world), shared={}, own={})
    (tmp_path / "words.txt").write_text("good fine great\n")
    with pytest.raises(ValueError, match=r"line 1 of .*words.txt has 3 words; expected two"):
        WordStability(table=str(tmp_path / "words.txt")).score(one)
    with pytest.raises(ValueError, match="cannot be read"):
        WordStability(table=str(tmp_path / "none.txt")).score(one)


def test_neighbours_without_a_value_are_left_out_of_the_mean() -> None:
    values = torch.tensor([[torch.nan, 1.0], [2.0, 4.0], [3.0, 5.0]]).double()
    accepted = torch.tensor([[True, True], [True, False], [False, False]])
    found = stability._mean(values, accepted)
    assert found[:2].tolist() == [1, 2]
    assert found[2].isnan()


def test_the_overlap_of_a_map_with_itself_and_with_its_reverse(
    world: tuple[Explained, Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the top stays in the first nearby text, nothing in the second: one half."""
    one = by_table(world)
    n_words = one.inputs.units.amax(1) + 1
    own = torch.arange(int(n_words.max())).double().expand(len(n_words), -1)
    nearby = torch.stack([own, -own], dim=1)
    accepted = torch.ones(len(n_words), 2, dtype=torch.bool)
    monkeypatch.setattr(stability, "_maps", lambda *_: (own, nearby, accepted))
    found = WordOverlap().score(one)
    assert found[n_words > 3].tolist() == [0.5] * 3
    assert found[n_words == 1].isnan().all(), "one word is at the top of every map"
    accepted[:, 1] = False
    assert WordOverlap().score(one)[n_words > 3].tolist() == [1.0] * 3


def test_typos_by_hand() -> None:
    swaps, losses = ["bacd", "acbd", "abdc"], ["acd", "abd", "abc"]
    assert _changed("abcd", "typo") == [*swaps, *losses]


def test_the_first_token_of_a_vocabulary_has_neighbours(world: tuple[Explained, Inputs]) -> None:
    one, symbols = by_table(world), world[1].domain.symbols
    assert symbols is not None
    named = replace(symbols, tokens=("GOOD", *symbols.tokens[1:]))
    first = replace(one, inputs=one.inputs.with_x(torch.zeros_like(one.inputs.x)))
    options = WordNeighbours("case")._options(first, named)[
        0, int((one.inputs.units[0] == 0).int().argmax())
    ]
    assert {named.tokens[i] for i in options.tolist() if i >= 0} == {"good", "Good"}
