"""From text to ids and back to characters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.text import minilm_folder, needs_transformers
from xai_bench.data.text.corpus import read_tokenizer
from xai_bench.data.text.rows import unit_numbers
from xai_bench.data.text.tokenizers import SPECIAL, WordTokenizer
from xai_bench.data.text.wordpiece import WordPiece

PIECES = [*SPECIAL, "un", "##aff", "##able", "the", "!", "好", "cafe", "##s", "a"]


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return path


def pieces(tokenizer: WordPiece, text: str) -> list[tuple[str, str]]:
    found = tokenizer.encode(text)
    cut = (text[a:b] for a, b in found.spans)
    names = (tokenizer.vocabulary.tokens[number] for number in found.ids)
    return list(zip(names, cut, strict=True))


def test_wordpiece_takes_the_longest_piece_from_the_left(vocabulary: Path) -> None:
    assert pieces(WordPiece.read(vocabulary), "The UNAFFABLE!") == [
        ("the", "The"),
        ("un", "UN"),
        ("##aff", "AFF"),
        ("##able", "ABLE"),
        ("!", "!"),
    ]


def test_wordpiece_keeps_the_places_of_accents_ideographs_and_unknown_words(
    vocabulary: Path,
) -> None:
    assert pieces(WordPiece.read(vocabulary), "Cafés 好好 xyz\u0007") == [
        ("cafe", "Café"),
        ("##s", "s"),
        ("好", "好"),
        ("好", "好"),
        ("[UNK]", "xyz"),
    ]


def test_a_cased_vocabulary_says_so(vocabulary: Path) -> None:
    vocabulary.with_name("tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert pieces(WordPiece.read(vocabulary), "The the") == [("[UNK]", "The"), ("the", "the")]


def test_a_file_that_is_no_vocabulary_is_told(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"has no \[PAD\]; a WordPiece vocabulary"):
        read_tokenizer(str(tmp_path / "vocab.txt"))


def test_a_place_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match="there is no folder or file 'nowhere'"):
        read_tokenizer("nowhere")


def test_words_are_learnt_from_the_most_frequent() -> None:
    tokenizer = WordTokenizer.learned(["b b a", "a b c"], max_words=2)
    assert tokenizer.vocabulary.tokens == (*SPECIAL, "b", "a")
    found = tokenizer.encode("A c b")
    assert [tokenizer.vocabulary.tokens[number] for number in found.ids] == ["a", "[UNK]", "b"]
    assert found.spans == ((0, 1), (2, 3), (4, 5))
    counts = tokenizer.vocabulary.symbols(torch.tensor([[5.0, 5, 6, -1]])).counts
    assert counts.tolist() == [0, 0, 0, 0, 0, 2, 1]


def test_a_word_that_is_written_like_a_special_token_is_none() -> None:
    tokenizer = WordTokenizer.learned(["[MASK] x"])
    assert tokenizer.vocabulary.tokens == (*SPECIAL, "[", "]", "mask", "x")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("words", [0, 0, 1, 2]), ("tokens", [0, 1, 2, 3]), ("sentences", [0, 0, 0, 1])],
)
def test_sub_words_share_the_unit_of_their_word(kind: str, expected: list[int]) -> None:
    text = "unaffable. So"
    spans = [(0, 2), (2, 9), (9, 10), (11, 13)]
    assert unit_numbers(text, spans, kind) == expected  # type: ignore[arg-type]


def test_tokens_outside_the_users_text_have_no_unit() -> None:
    text = "Review: bad film ."
    spans = [(0, 6), (6, 7), (8, 11), (12, 16), (17, 18)]
    assert unit_numbers(text, spans, "words", (8, 16)) == [-1, -1, 0, 1, -1]


STRANGE = [
    "naïve café İstanbul ﬁ", "你好，世界！ラーメン 5€ ©", "שלום עולם", "हिन्दी में", "한국어 테스트",
    "a\u200bb\x07c\ufffdd", "x" * 150 + " y", "don't — “quoted”… ½ ²", "tab\tnew\nline\u00a0nb", "",
]  # fmt: skip


@pytest.mark.sample(6)
@needs_transformers
@pytest.mark.slow
@pytest.mark.parametrize("text", [*STRANGE, "it's a charming and often affecting journey."])
def test_wordpiece_is_that_of_the_original(text: str) -> None:
    from xai_bench.data.text.hf_tokenizer import HuggingFaceTokenizer

    folder = minilm_folder()
    ours, theirs = read_tokenizer(str(folder)), HuggingFaceTokenizer.read(str(folder))
    assert isinstance(ours, WordPiece)
    assert ours.encode(text) == theirs.encode(text)
    assert ours.vocabulary.start == theirs.vocabulary.start == (101,)
    assert ours.vocabulary.end == theirs.vocabulary.end == (102,)
    assert ours.vocabulary.mask == theirs.vocabulary.mask
    assert ours.vocabulary.tokens == theirs.vocabulary.tokens
