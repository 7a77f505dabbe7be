"""A verdict names each place once, in few words, and lists where its winner does not win."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.results.test_store import add_to_study, cell, explanation, scored
from xai_bench.results.report.options import ReportOptions
from xai_bench.results.report.sections import overview
from xai_bench.results.report.summary import Block, blocks
from xai_bench.results.report.verdict.scope import grouped, place_names, scope, somewhere
from xai_bench.results.report.verdict.standings import comparisons
from xai_bench.results.report.verdict.verdict import Verdict, verdicts
from xai_bench.results.report.writer import write
from xai_bench.results.store.store import Store

LIME, SHAP = [0.5, 0.6, 0.8], [0.4, 0.5, 0.7]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """`lime` is ahead on three data sets under two settings, `shap` on `wine` under one."""
    store = Store(tmp_path)
    for number, data in enumerate(("iris", "digits", "wine")):
        for width in (8, 16):
            turned = data == "wine" and width == 16
            results = [
                explanation("lime", scored("abpc", SHAP if turned else LIME)),
                explanation("shap", scored("abpc", LIME if turned else SHAP)),
            ]
            config = {"data": {"_target_": data}, "model": {"width": width}, "seed": 0}
            key = f"cell{number}-{width}"
            add_to_study(store, "s", cell(key=key, data=data, config=config), results, "run")
    return store


@pytest.fixture
def shown(store: Store) -> list[Block]:
    return blocks(store, "s")


@pytest.fixture
def verdict(shown: list[Block]) -> Verdict:
    [only] = verdicts(comparisons(shown))
    return only


def test_every_place_is_named_once(shown: list[Block]) -> None:
    assert scope(shown) == "digits, iris and wine, in 2 settings each"
    assert scope(shown[:1]) == shown[0].names["data"]
    assert scope([b for b in shown if b.names["data"] == "wine"]) == "wine, in 2 settings"
    assert scope(shown[:-1]) == "digits, iris and wine, in 2 settings"


def test_some_places_are_named_and_many_are_counted(shown: list[Block]) -> None:
    names = place_names(shown)
    assert sorted(names.values())[0] == "digits (model.width=16)"
    assert somewhere(shown, names) == "everywhere"
    assert somewhere(shown[:1], names).startswith("on ")
    assert somewhere(shown[:4], names) == "in 4 of 6 cases"


def test_settings_of_one_method_are_counted() -> None:
    methods = ["lime (budget=8)", "shap", "lime (budget=9)", "ig (n_steps=4)"]
    assert grouped(methods) == ["lime (in 2 settings)", "shap", "ig (n_steps=4)"]


def test_the_winner_and_where_it_does_not_win(verdict: Verdict) -> None:
    assert verdict.winner == "lime"
    assert "over 6 comparisons: 1 metric on digits, iris and wine, in 2 settings" in (
        verdict.paragraph
    )
    assert any(text.startswith("in abpc ↑ shap is ahead on wine") for text in verdict.exceptions)
    assert not any(text in verdict.paragraph for text in verdict.exceptions)


def test_the_picture_shows_the_share_of_rivals_beaten(verdict: Verdict) -> None:
    [(question, dots)] = overview.figure([verdict]).metrics.items()
    assert question == verdict.question.asked
    assert {dot.name: dot.mean for dot in dots} == pytest.approx({"lime": 500 / 6, "shap": 100 / 6})
    assert [dot.standing for dot in dots if dot.name == "lime"] == ["best"]


@pytest.mark.slow
def test_the_report_and_the_page_open_with_the_picture(store: Store) -> None:
    report = write(store, "s", options=ReportOptions(figures=("png",), pictures=1))
    text, page = report.markdown.read_text(), report.page.read_text()
    assert text.index("![verdict](figures/verdict.png)") < text.index("### ")
    assert text.count("verdict.png") == 1
    assert page.count(overview.CAPTION) == 2  # of the picture, and read aloud
    assert "<li>in abpc ↑ shap is ahead on wine" in page
