"""Proves what is suggested for a misspelt name: near misses first, else what there is."""

from __future__ import annotations

import pytest

from xai_bench.core.spelling import AT_MOST, listed, suggest


@pytest.mark.parametrize(
    ("word", "options", "sentence"),
    [
        ("LIM", ["lime", "shap"], "did you mean lime?"),
        ("limee", ["lime", "lime_text", "shap"], "did you mean lime or lime_text?"),
        ("zzz", ["shap", "lime"], "choose from lime, shap"),
        ("mean radios", ["mean radius"], "did you mean 'mean radius'?"),
        ("zzz", [], "there is none"),
    ],
)
def test_near_misses_are_named_before_all_options(
    word: str, options: list[str], sentence: str
) -> None:
    assert suggest(word, options) == sentence


def test_a_long_list_is_shortened_and_its_rest_is_counted() -> None:
    names = [f"n{k:02}" for k in range(AT_MOST + 2)]
    assert suggest("zzz", names).endswith(f"n{AT_MOST - 1} and 2 more")
    assert listed(["a", "", "b c"], at_most=3) == "a, '', 'b c'"
