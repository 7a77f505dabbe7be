"""Words and sentences are cut by the text alone, in any script."""

from __future__ import annotations

import pytest

from xai_bench.data.text.segmentation import sentences, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("don't stop-gap, it 's", ["don't", "stop-gap", ",", "it", "'s"]),
        ("it 's café 's, Je’S ’s", ["it", "'s", "café", "'s", ",", "Je’S", "’s"]),
        ("'set été 'S' 't", ["'", "set", "été", "'S", "'", "'t"]),
        ("a -- b... 'c'", ["a", "-", "-", "b", ".", ".", ".", "'", "c", "'"]),
        ("你好，世界 ok", ["你", "好", "，", "世", "界", "ok"]),
        ("ラーメン 5€", ["ラーメン", "5", "€"]),
        ("שלום, עולם", ["שלום", ",", "עולם"]),
        ("مرحبًا بالعالم", ["مرحبًا", "بالعالم"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("naïve l'été co-op", ["naïve", "l'été", "co-op"]),
        ("a 👍🏽 b", ["a", "👍", "🏽", "b"]),
        ("می‌خواهم", ["می‌خواهم"]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert [text[a:b] for a, b in words(text)] == expected


def test_plain_and_other_text_are_cut_alike() -> None:
    """The fast way for ASCII and the careful one agree."""
    plain = "Well-known people don't (always) say: a_b, 3.5% -- or so! It 's 'set', I 'd-x 's"
    assert words(plain) == [span for span in words(f"{plain} é") if span[0] < len(plain)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("First one. Second! 'Third?' Rest", ["First one.", "Second!", "'Third?'", "Rest"]),
        ("It costs 3.50 today. No.", ["It costs 3.50 today.", "No."]),
        ("第一。第二！ 第三", ["第一。", "第二！", "第三"]),
        ("no stop", ["no stop"]),
        ("  ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert [text[a:b] for a, b in sentences(text)] == expected
