"""Names in any script in a picture, without boxes and warnings."""

from __future__ import annotations

import warnings

import pytest
from matplotlib.figure import Figure

from xai_bench.results.drawing import glyphs
from xai_bench.results.drawing.style import png


def drawn(name: str) -> tuple[bytes, list[str]]:
    """A figure with a name as title and on both axes, and the fonts of the title."""
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    axes.set_title(name)
    axes.set_xticks([0, 1], labels=[name, "b"])
    axes.set_yticks([0, 1], labels=["a", name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return png(figure), axes.title.get_fontfamily()


@pytest.mark.sample(4, others="slow")
@pytest.mark.parametrize(
    "name",
    [
        "年齢",
        "가격",
        "größe",
        "возраст",
        "عمر",
        "אבג",
        "उम्र",
        "🙂",
        "\U000f1234",
        "a$b$c",
        "$\\frac$",
    ],
)
def test_a_name_in_any_script_is_drawn_without_a_warning(name: str) -> None:
    assert drawn(name)[0].startswith(b"\x89PNG")


def test_signs_that_no_font_has_are_written_as_their_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the usual font alone, two signs of Japanese read as twelve of English."""
    from matplotlib.font_manager import fontManager

    usual = [entry for entry in fontManager.ttflist if entry.name == "DejaVu Sans"]
    expected = drawn("\\u5e74\\u9f62 a")[0]
    monkeypatch.setattr(fontManager, "ttflist", usual)
    assert drawn("年齢 a")[0] == expected
    assert glyphs.spelled("年 a", {"年"}) == "\\u5e74 a"


def test_names_that_the_usual_font_has_keep_it() -> None:
    assert drawn("größe")[1] == ["DejaVu Sans"] or drawn("größe")[1] == ["sans-serif"]
