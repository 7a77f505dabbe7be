"""From texts to bundles: ids, units, places, marked evidence, and what is told of bad files."""

from __future__ import annotations

import json
import logging
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.text import corpus
from xai_bench.core.tokens import DELETED
from xai_bench.data.bundle import Bundle
from xai_bench.data.text.corpus import Example, TextOptions
from xai_bench.data.text.files import TextFile
from xai_bench.data.text.rationales import EraserCorpus, HateXplain

TEXTS = ["a good film", "a bad film , sadly", "good", "bad bad bad"] * 3
LABELS = ["up", "down"] * 6


def load(path: Path, **options: Any) -> Bundle:
    return TextFile(path=str(path), **options).load()


def table(path: Path, texts: list[str], labels: list[Any], **columns: list[Any]) -> Path:
    rows = [dict(zip(("text", "label", *columns), row, strict=True))
            for row in zip(texts, labels, *columns.values(), strict=True)]  # fmt: skip
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_what_a_row_is(tmp_path: Path) -> None:
    bundle = load(table(tmp_path / "t.jsonl", TEXTS, LABELS))
    part, symbols = bundle.train, bundle.symbols
    assert symbols is not None
    assert part.texts is not None
    row = part.texts.strings.index("a bad film , sadly")
    ids = part.x[row].long()
    assert part.x.dtype == torch.float32
    assert [symbols.tokens[i] for i in ids[ids >= 0]] == [
        "[CLS]", "a", "bad", "film", ",", "sadly", "[SEP]",
    ]  # fmt: skip
    assert part.units[row].tolist() == [-1, 0, 1, 2, 3, 4, -1, *[-1] * 9]
    assert (part.x[row, 7:] == DELETED).all()
    assert part.context["length"][row] == 7
    assert part.texts.unit_texts(part.units)[row] == ["a", "bad", "film", ",", "sadly"]
    assert (symbols.mask, symbols.unknown, symbols.padding) == (4, 1, 0)
    assert bundle.class_names == ("down", "up")
    domain = bundle.domain(4)
    assert domain.discrete
    assert (domain.scale == 1).all()


def test_csv_and_tsv_say_the_same_as_jsonl(tmp_path: Path) -> None:
    rows = list(zip(TEXTS, LABELS, strict=True))
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(f'"{t}",{y}' for t, y in rows))
    (tmp_path / "t.tsv").write_text("\n".join(f"{t}\t{y}" for t, y in rows))
    expected = load(table(tmp_path / "t.jsonl", TEXTS, LABELS)).fingerprint()
    assert load(tmp_path / "t.csv").fingerprint() == expected
    assert load(tmp_path / "t.tsv", names=["text", "label"], quotes=False).fingerprint() == expected


def test_official_parts_stay_apart(tmp_path: Path) -> None:
    paths = {}
    for part in ("train", "valid", "test"):
        texts = [f"{part} {text}" for text in TEXTS]
        paths[part] = str(table(tmp_path / f"{part}.jsonl", texts, LABELS))
    bundle = TextFile(
        path=paths["train"], valid_path=paths["valid"], test_path=paths["test"]
    ).load()
    for name in ("train", "valid", "test"):
        texts = getattr(bundle, name).texts
        assert len(texts.strings) == 12
        assert all(text.startswith(name) for text in texts.strings)


@pytest.mark.parametrize(
    "mark", ["bad film", [[2, 10]], [0, 1, 1, 0, 0], "[[2, 10]]", "[0, 1, 1, 0, 0]"]
)
def test_evidence_in_any_form_marks_the_same_tokens(tmp_path: Path, mark: Any) -> None:
    marks = [mark if text == "a bad film , sadly" else [] for text in TEXTS]
    bundle = load(table(tmp_path / "t.jsonl", TEXTS, LABELS, why=marks), rationale="why")
    for part in (bundle.train, bundle.valid, bundle.test):
        assert part.texts is not None
        assert part.rationale is not None
        for text, flags in zip(part.texts.strings, part.rationale, strict=True):
            wanted = [2, 3] if text == "a bad film , sadly" else []
            assert flags.nonzero()[:, 0].tolist() == wanted


def test_evidence_inside_a_word_marks_all_of_its_unit(tmp_path: Path) -> None:
    texts = ["so unbelievably bad"] * 6 + ["fine"] * 6
    marks = [[[3, 5]]] * 6 + [[]] * 6
    bundle = load(table(tmp_path / "t.jsonl", texts, [0] * 6 + [1] * 6, why=marks), rationale="why")
    part = bundle.train
    assert part.rationale is not None
    assert part.texts is not None
    row = part.texts.strings.index(texts[0])
    assert part.rationale[row].nonzero()[:, 0].tolist() == [2]


@pytest.mark.parametrize(
    ("texts", "labels", "options", "told"),
    [
        (["a", " "] * 4, [0, 1] * 4, {}, r"row 1 has no text; fill it, or set data\.missing=drop"),
        (["a", "b"] * 4, [0, None] * 4, {}, "row 1 has no label"),
        (["a", "b"] * 4, [0, 1] * 4, {"text": "txt"}, "'txt' is not among the columns"),
        (["a", "b"] * 4, [0, 0] * 4, {}, "has only one value"),
        (["a", "b"] * 4, [0, 1] * 4, {"max_tokens": 2}, "no room for words beside 2 special"),
        (["a", "b"] * 4, [0, 1] * 4, {"template": "Is it good?"}, r"template has no \{text\}"),
        (["a", "b"] * 4, [0, 1] * 4, {"template": "{text}?", "answers": {"0": "no"}},
         "no answer for class '1'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_sentence(
    tmp_path: Path, texts: list[str], labels: list[Any], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        load(table(tmp_path / "t.jsonl", texts, labels), **options)


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        ("worse", "row 0: its rationale is no part of its text"),
        ([[0, 99]], r"lies at characters \[\(0, 99\)\], but its text has 11"),
        ([0, 1], "nor one 0 or 1 for each of its 3 words"),
    ],
)
def test_evidence_that_does_not_fit_is_told(tmp_path: Path, mark: Any, told: str) -> None:
    path = table(tmp_path / "t.jsonl", TEXTS, LABELS, why=[mark] * 12)
    with pytest.raises(ValueError, match=told):
        load(path, rationale="why")


def test_rows_without_text_can_be_dropped(tmp_path: Path) -> None:
    path = table(tmp_path / "t.jsonl", ["a", " ", "b", ""] * 6, [0, 0, 1, 1] * 6)
    bundle = load(path, missing="drop")
    assert sum(len(part) for part in (bundle.train, bundle.valid, bundle.test)) == 12


def test_long_texts_are_cut_and_told(caplog: pytest.LogCaptureFixture) -> None:
    texts = ["one two three four five six", "one"] * 5
    examples = [Example(text, row % 2) for row, text in enumerate(texts)]
    with caplog.at_level(logging.WARNING):
        bundle = TextOptions(max_tokens=6).bundle({"train": examples})
    assert "5 of 10 texts are longer than 6 tokens and were cut" in caplog.text
    assert bundle.train.context["length"].max() == 6
    assert bundle.train.units.max() == 3


def test_unknown_words_only_are_told(caplog: pytest.LogCaptureFixture) -> None:
    examples = [Example(text, row % 2) for row, text in enumerate(["a a", "b b"] * 8)]
    with caplog.at_level(logging.WARNING):
        TextOptions(max_words=1).bundle({"train": examples})
    assert "8 texts hold only words that the tokenizer does not know" in caplog.text


def test_a_template_surrounds_the_text_and_is_never_a_unit() -> None:
    options = TextOptions(template="Is {text} nice ?", answers={"yes": "sure", "no": "never"})
    bundle = corpus(options)
    part, symbols = bundle.train, bundle.symbols
    assert part.texts is not None
    assert symbols is not None
    for text, units, words in zip(
        part.texts.strings, part.units, part.texts.unit_texts(part.units), strict=True
    ):
        assert text.startswith("Is ")
        assert int((units >= 0).sum()) == len(words)
        assert "nice" not in words
    assert part.context["answers"].shape == (len(part), 2, 1)
    assert int((part.x[0] == 3).sum()) == 0  # a prompt has a start, and no [SEP]


def test_a_long_text_in_a_template_is_refused() -> None:
    options = TextOptions(template="Is {text} nice ?", max_tokens=6)
    with pytest.raises(ValueError, match=r"do not fit into data\.max_tokens=6 with their template"):
        corpus(options)


def test_sentences_as_units() -> None:
    examples = [Example("Good. Very good!", "a"), Example("Bad. Or not? No.", "b")] * 6
    bundle = TextOptions(units="sentences").bundle({"train": examples})
    assert bundle.train.texts is not None
    assert {tuple(names) for names in bundle.train.texts.unit_texts(bundle.train.units)} == {
        ("Good.", "Very good!"),
        ("Bad.", "Or not?", "No."),
    }


def test_right_to_left_and_chinese_survive() -> None:
    texts = ["הסרט היה טוב מאוד", "这部电影很糟糕"] * 6
    bundle = TextOptions().bundle({"train": [Example(t, k % 2) for k, t in enumerate(texts)]})
    assert bundle.train.texts is not None
    found = {tuple(names) for names in bundle.train.texts.unit_texts(bundle.train.units)}
    assert found == {("הסרט", "היה", "טוב", "מאוד"), tuple("这部电影很糟糕")}


@pytest.fixture
def eraser(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "docs").mkdir(parents=True)
    for part in ("train", "val", "test"):
        lines = []
        for number in range(4):
            name = f"{part}{number}.txt"
            (folder / "docs" / name).write_text("the plot\nwas rather dull today")
            evidence = [[{"docid": name, "start_token": 2, "end_token": 5, "text": "..."}]]
            lines.append({"annotation_id": name, "classification": "PN"[number % 2],
                          "evidences": evidence if number < 3 else []})  # fmt: skip
        (folder / f"{part}.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return folder


def test_the_layout_of_eraser(eraser: Path, tmp_path: Path) -> None:
    bundle = EraserCorpus(path=str(eraser)).load()
    assert [len(part) for part in (bundle.train, bundle.valid, bundle.test)] == [4, 4, 4]
    assert bundle.test.rationale is not None
    assert bundle.test.rationale.sum(1).sort().values.tolist() == [0, 3, 3, 3]
    marked = bundle.test.rationale[bundle.test.rationale.sum(1).argmax()]
    assert marked.nonzero()[:, 0].tolist() == [3, 4, 5]
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        archive.add(eraser, "movies")
    assert EraserCorpus(path=str(tmp_path / "set.tar.gz")).load().fingerprint() == (
        bundle.fingerprint()
    )


def test_a_folder_that_is_no_eraser_is_told(eraser: Path) -> None:
    (eraser / "val.jsonl").unlink()
    with pytest.raises(ValueError, match=r"has no val\.jsonl; the ERASER layout"):
        EraserCorpus(path=str(eraser)).load()


def test_hatexplain_takes_the_majority(tmp_path: Path) -> None:
    def post(labels: str, rationales: list[list[int]]) -> dict[str, Any]:
        annotators = [{"label": {"n": "normal", "o": "offensive"}[letter]} for letter in labels]
        return {"annotators": annotators, "rationales": rationales,
                "post_tokens": ["some", "words", "here"]}  # fmt: skip

    posts = {
        "1": post("oon", [[0, 1, 0], [0, 1, 1]]), "2": post("nnn", []), "3": post("on", []),
        "4": post("ooo", [[1, 0, 0], [0, 0, 1], [0, 0, 1]]), "5": post("nno", [[1, 1, 1]]),
    }  # fmt: skip
    (tmp_path / "val.json").write_text(json.dumps(posts))
    train = [["some words", "normal"], ["other words", "offensive"]] * 3
    (tmp_path / "train.json").write_text(json.dumps(train))
    bundle = HateXplain(
        train_path=str(tmp_path / "train.json"),
        valid_path=str(tmp_path / "val.json"),
        test_path=str(tmp_path / "val.json"),
    ).load()
    assert (len(bundle.train), len(bundle.test)) == (6, 4)  # a tie has no class
    assert bundle.class_names == ("normal", "offensive")
    assert bundle.test.rationale is not None
    found = {
        (int(y), tuple(marks.nonzero()[:, 0].tolist()))
        for y, marks in zip(bundle.test.y, bundle.test.rationale, strict=True)
    }
    assert found == {(1, (2, 3)), (0, ()), (1, (3,)), (0, (1, 2, 3))}


def test_training_on_fewer_texts_leaves_the_other_parts_alone() -> None:
    whole, small = corpus(), corpus(TextOptions(max_train=5))
    assert torch.equal(small.test.y, whole.test.y)
    assert torch.equal(small.valid.y, whole.valid.y)
    assert len(small.train) == 5
    assert small.train.texts is not None
    assert whole.train.texts is not None
    assert small.train.texts.strings == whole.train.texts.strings[:5]
