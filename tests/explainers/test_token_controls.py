"""Controls for texts, by hand."""

from __future__ import annotations

from math import log

import pytest
import torch

from xai_bench.certify import toy_worlds
from xai_bench.core import units
from xai_bench.core.seeds import Seeds
from xai_bench.data.text.corpus import Example, TextOptions
from xai_bench.explainers.controls import (
    FirstTokens,
    InverseFrequency,
    Punctuation,
    TokenLength,
)
from xai_bench.types import Inputs, Unsupported

TEXT = "good , unbelievable film !"


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return (
        TextOptions()
        .bundle({"train": [Example(TEXT, "a"), Example("bad", "b")] * 5})
        .evaluation(2, 2)
    )


def scores(explainer: object, inputs: Inputs) -> list[float]:
    rng = Seeds(0).stream("explain", samples=inputs.index)
    world = toy_worlds.linear([1.0])
    found = explainer.explain(world.model, inputs, torch.zeros(2).long(), rng=rng)  # type: ignore[attr-defined]
    assert (found.attribution[inputs.units < 0] == 0).all()
    row = int(units.count(inputs.units).argmax())
    return units.pool(found.attribution.double(), inputs.units)[row].tolist()


def test_each_control_by_hand(inputs: Inputs) -> None:
    assert scores(FirstTokens(), inputs) == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    assert scores(Punctuation(), inputs) == [0, 1, 0, 0, 1]
    assert scores(TokenLength(), inputs) == [4, 0, 12, 4, 0]
    rare = scores(InverseFrequency(), inputs)
    assert inputs.domain.symbols is not None
    counts = inputs.domain.symbols.counts[~inputs.domain.symbols.special]
    once = int(counts[counts > 0].min())
    assert rare == pytest.approx([log((1 + int(counts.sum())) / (1 + once))] * 5, rel=1e-6)


def test_tables_have_no_tokens() -> None:
    world = toy_worlds.linear([1.0, 2.0])
    for control in (Punctuation(), TokenLength(), InverseFrequency()):
        with pytest.raises(Unsupported, match="reads the tokens of texts"):
            world.explain(control)
