"""Prompts with continuations and counterfactual pairs: what a row is, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from xai_bench.core.tokens import DELETED
from xai_bench.data.bundle import Bundle
from xai_bench.data.text.continuations import answers_to
from xai_bench.data.text.families import Family, PromptFamily
from xai_bench.data.text.prompts import PromptFile
from xai_bench.data.text.tokenizers import Encoded, WordTokenizer

ROW = {
    "prompt": "Tom met Ann . Ann saw",
    "continuation": " Tom",
    "foil": " Ann",
    "counterfactual": "Tom met Ann . Tom saw",
    "rationale": [[14, 17]],
}


def load(tmp_path: Path, *rows: dict[str, Any] | str, **options: Any) -> Bundle:
    path = tmp_path / "prompts.jsonl"
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines), encoding="utf-8")
    return PromptFile(path=str(path), **options).load()


def text_of(bundle: Bundle, ids: torch.Tensor) -> str:
    assert bundle.symbols is not None
    return " ".join(bundle.symbols.tokens[i] for i in ids.long().tolist() if i >= 0)


def test_what_a_row_is(tmp_path: Path) -> None:
    bundle = load(tmp_path, *[ROW] * 6)
    part = bundle.train
    assert text_of(bundle, part.x[0]) == "[CLS] Tom met Ann . Ann saw"
    assert text_of(bundle, part.context["counterfactual"][0]) == "[CLS] Tom met Ann . Tom saw"
    assert part.context["answers"].shape == (len(part), 2, 1)
    assert text_of(bundle, part.context["answers"][0, 0]) == "Tom"
    assert text_of(bundle, part.context["answers"][0, 1]) == "Ann"
    assert part.units[0].tolist() == [-1, 0, 1, 2, 3, 4, 5, *[-1] * 9]
    assert part.rationale is not None
    assert part.rationale[0].nonzero()[:, 0].tolist() == [5]
    assert (part.y == 0).all()
    assert bundle.class_names == ("continuation", "foil")


def test_a_continuation_may_be_longer_and_alone(tmp_path: Path) -> None:
    rows = [{"prompt": "one two", "continuation": "three"},
            {"prompt": "two one", "continuation": "four five six"}] * 3  # fmt: skip
    bundle = load(tmp_path, *rows)
    assert bundle.class_names == ("continuation",)
    lengths = {int((ids != DELETED).sum()) for ids in bundle.train.context["answers"]}
    assert lengths == {1, 3}
    assert bundle.train.rationale is None


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({**ROW, "counterfactual": "Tom met Ann . saw"},
         "prompt 0 has 6 tokens and its counterfactual 5; expected other words in the same places"),
        ({**ROW, "counterfactual": ROW["prompt"]}, "prompt 0 and its counterfactual are the same"),
        ({**ROW, "foil": " Tom"}, "prompt 0: its continuation and its foil are the same"),
        ({**ROW, "continuation": " "}, "an answer to the prompt 'Tom met Ann"),
        ({**ROW, "prompt": "  ", "rationale": []}, "prompt 0 is empty"),
        ({"prompt": "Tom"}, "line 1 of prompts.jsonl has no prompt and continuation"),
        ({**ROW, "fool": "x"}, "has a field 'fool'; expected prompt, continuation"),
        ({**ROW, "foil": 3}, "has a field that is no text"),
        ("{", "line 1 of prompts.jsonl is no JSON"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_sentence(
    tmp_path: Path, row: dict[str, Any] | str, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        load(tmp_path, row, ROW)


def test_a_prompt_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"6 prompts, the first of them row 0, are longer than"):
        load(tmp_path, *[ROW] * 6, max_tokens=5)


def test_an_answer_that_shares_a_token_with_the_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="share a token"):
        answers_to(_Merging(WordTokenizer.learned(["ab"])), "ab", ["c"])


class _Merging:
    """A tokenizer that reads `ab c` as other tokens than `ab` and `c`."""

    def __init__(self, inner: WordTokenizer) -> None:
        self.vocabulary = inner.vocabulary

    def encode(self, text: str) -> Encoded:
        return Encoded((len(text),), ((0, len(text)),))


FAMILIES: list[Family] = ["name_mover", "agreement", "induction", "gated_lookup"]


@pytest.mark.sample(4, others="slow")
@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_aligned_and_their_foil_follows_from_the_counterfactual(
    family: Family,
) -> None:
    bundle = PromptFamily(family=family, n_rows=200).load()
    part = bundle.train
    other = part.context["counterfactual"]
    assert ((part.x == DELETED) == (other == DELETED)).all()
    changed = (part.x != other).sum(1)
    assert (changed == 1).all()
    assert part.rationale is not None
    assert (part.rationale & (part.x != other)).any(1).all()  # what is swapped is evidence
    assert (part.rationale & (part.units < 0)).sum() == 0
    right, foil = part.context["answers"][:, :, 0].unbind(1)
    assert (right != foil).all()
    rows = {(tuple(x.tolist()), int(a)) for x, a in zip(part.x, right, strict=True)}
    for x, swapped, wrong in zip(part.x, other, foil, strict=True):
        answers = {a for seen, a in rows if seen == tuple(swapped.tolist())}
        assert answers <= {int(wrong)}, (x, swapped)


@pytest.mark.slow
def test_the_rule_of_induction_holds() -> None:
    bundle = PromptFamily(family="induction", swapped="query").load()
    for x, answers, other in zip(
        bundle.train.x, bundle.train.context["answers"],
        bundle.train.context["counterfactual"], strict=True,
    ):  # fmt: skip
        for prompt, answer in ((x, answers[0, 0]), (other, answers[1, 0])):
            ids = prompt[prompt >= 0].long().tolist()
            assert ids[ids.index(ids[-1]) + 1] == answer


@pytest.mark.slow
def test_a_swapped_key_leaves_nothing_to_follow() -> None:
    bundle = PromptFamily(family="induction", swapped="key").load()
    other = bundle.train.context["counterfactual"]
    lengths = bundle.train.context["length"]
    query = other.gather(1, lengths[:, None] - 1)
    assert ((other == query).sum(1) == 1).all()


def test_both_answers_are_as_likely_in_agreement() -> None:
    bundle = PromptFamily(family="agreement", n_rows=1000).load()
    assert bundle.symbols is not None
    names = [bundle.symbols.tokens[i] for i in bundle.train.context["answers"][:, 0, 0]]
    share = sum(name in ("are", "were") for name in names) / len(names)
    assert 0.4 < share < 0.6


def test_an_impossible_number_of_pairs_is_told() -> None:
    with pytest.raises(ValueError, match=r"data\.n_pairs=9 must be between 2 and 7"):
        PromptFamily(family="induction", n_pairs=9).load()
