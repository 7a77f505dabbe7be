"""Coloured words and attention in a report: escaped, in any script, from the store alone."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.support.reports import NO_FIGURES
from tests.support.text_boxes import faults
from xai_bench.results.drawing import token_html
from xai_bench.results.drawing.attention import AttentionSheet, RolloutSheet
from xai_bench.results.drawing.tokens import TokenSheet, pieces
from xai_bench.results.report.options import ReportOptions
from xai_bench.results.report.sheets.gallery import sheets
from xai_bench.results.report.study import study_report
from xai_bench.results.report.writer import write
from xai_bench.results.store import text_samples
from xai_bench.results.store.store import Store
from xai_bench.results.tracking.token_sheet import token_sheet
from xai_bench.results.values import Attention, TextUnits
from xai_bench.types import Domain, Inputs

HOSTILE = "<script>alert(1)</script>"
WORDS = (("a", "bad", HOSTILE), ("زه", "سرط", "نفلا"), ("这", "部", "电"))
MARKED = ((False, True, False), (False,) * 3, (True, False, False))
X = torch.arange(9.0).view(3, 3)
INPUTS = Inputs(X, torch.arange(3).expand(3, 3), torch.arange(3), Domain(X, torch.ones(3)))
MAPS = torch.softmax(torch.arange(2 * 2 * 9.0).view(2, 2, 3, 3) % 5, -1)
ATTENTION = Attention(("[cls]", "a", "bad"), MAPS, MAPS.mean((0, 1)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two methods on three texts, and the attention of one."""
    store = Store(tmp_path)
    results = [
        explanation(name, scored("abpc", [0.1, 0.2, 0.3]), attribution=sign * (X - 3))
        for name, sign in {"lime": 1, "shap": -1}.items()
    ]
    add_to_study(store, "s", cell(), results, "xai-bench run")
    store.write_inputs("cell0", INPUTS)
    text_samples.write(store, "cell0", TextUnits(WORDS, MARKED), [ATTENTION])
    return store


def test_the_words_and_the_attention_come_back_as_they_were(store: Store) -> None:
    assert text_samples.texts(store, "cell0") == TextUnits(WORDS, MARKED)
    [one] = text_samples.attention(store, "cell0")
    assert one.tokens == ATTENTION.tokens
    assert torch.equal(one.weights, MAPS)
    assert torch.equal(one.rollout, ATTENTION.rollout)
    assert text_samples.texts(store, "other") is None
    assert text_samples.attention(store, "other") == ()


@pytest.mark.slow
def test_a_sheet_shows_what_people_marked_and_then_every_method(store: Store) -> None:
    found = sheets(store, study_report(store, "s", ReportOptions(), {}), 3)
    texts = {name[-1]: one for name, one in found.items() if isinstance(one, TokenSheet)}
    assert [line.title for line in texts["0"].lines] == ["marked as evidence", "lime", "shap"]
    assert [line.title for line in texts["1"].lines] == ["lime", "shap"]
    assert [line.values.tolist() for line in texts["0"].lines] == [
        [0, 1, 0],
        [-3, -2, -1],
        [3, 2, 1],
    ]
    assert {type(one) for one in found.values()} == {TokenSheet, AttentionSheet, RolloutSheet}
    for one in found.values():
        assert faults(one.draw()) == []


def test_the_page_escapes_words_and_says_their_direction(store: Store) -> None:
    page = write(store, "s", options=replace(NO_FIGURES, samples=3)).page.read_text("utf-8")
    assert HOSTILE not in page
    assert escape(HOSTILE) in page
    assert page.count('<dd dir="rtl">') == 2  # lime and shap of the second text
    assert page.count('<dl class="tokens"') == 3


def test_colours_are_signed_and_what_lowers_the_output_is_underlined() -> None:
    html = token_html.document(
        [TokenSheet.of("", ["up", "no", "down"], ["m"], np.array([[2.0, 0, -2]]))]
    )
    up, no, down = html.split("<span")[1:]
    assert "background:#b2182b" in up
    assert "background:#ffffff" in no
    assert "background:#2166ac" in down
    assert [part.count("decoration:underline") for part in (up, no, down)] == [0, 0, 1]
    assert 'title="-2"' in down


def test_a_run_shows_its_first_texts(store: Store) -> None:
    """A line per sample, which MLflow shows beside that of other runs."""
    one = explanation("lime", attribution=X)
    sheet = token_sheet(one, store.read_inputs("cell0"), TextUnits(WORDS))
    assert sheet is not None
    assert [line.tokens for line in sheet.lines] == list(WORDS)
    assert [line.values.tolist() for line in sheet.lines] == X.tolist()
    assert token_sheet(one, store.read_inputs("cell0"), None) is None
    assert token_sheet(replace(one, explanation=None), None, TextUnits(WORDS)) is None


def test_a_unit_of_several_words_is_written_word_by_word() -> None:
    words, values = pieces(["a good film .", "no"], np.array([[1.0, -1.0]]))
    assert words == ("a", "good", "film", ".", "no")
    assert values.tolist() == [[1, 1, 1, 1, -1]]


def test_plausibility_has_a_section_of_its_own(store: Store) -> None:
    """Texts 0 and 2 have one marked unit of three: one unit is predicted. lime ranks the last
    first, shap the first, which is right in text 2.
    """
    page = write(store, "s", options=NO_FIGURES)
    assert "What is plausible is not therefore faithful" in page.page.read_text("utf-8")
    table = pd.read_csv(page.folder / "plausibility.csv").set_index("explainer")
    assert table.token_f1.to_dict() == {"lime": 0, "shap": 0.5}
    assert table.iou_f1_micro.to_dict() == {"lime": 0, "shap": 0.5}
