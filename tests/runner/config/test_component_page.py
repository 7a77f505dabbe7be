"""`xai-bench show NAME` and the settings of `xai-bench report`."""

from __future__ import annotations

import pytest

from xai_bench.results.drawing.style import FORMATS
from xai_bench.runner.commands import report
from xai_bench.runner.config import component_page
from xai_bench.runner.config.catalogue import conf_dir
from xai_bench.runner.config.messages import UsageError


def test_a_component_has_its_settings_its_paper_and_commands() -> None:
    text = component_page.text("integrated_gradients", [conf_dir()])
    assert text.startswith("integrated_gradients (explainer, gradient)\n")
    assert "Sundararajan+ 2017" in text
    assert "  explainer.integrated_gradients.budget=32" in text
    assert "  xai-bench check explainer=integrated_gradients" in text


def test_a_metric_says_which_scores_are_better() -> None:
    assert component_page.text("abpc", [conf_dir()]).startswith("abpc ↑ (metric, fidelity)")


def test_a_misspelt_component_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"show digitz: .* did you mean digits"):
        component_page.text("digitz", [conf_dir()])


def test_a_report_that_is_asked_for_draws_the_kinds_of_files_that_are_named() -> None:
    assert report.options_of([]).figures == ("png",)
    assert report.options_of([f"report.figures=[{','.join(FORMATS)}]"]).figures == FORMATS
    chosen = report.options_of(["report.metrics=[abpc,seconds]", "report.figures=[png]"])
    assert (chosen.metrics, chosen.figures) == (("abpc", "seconds"), ("png",))


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("report.tables=[mian]", "report.tables: there is no 'mian'; did you mean main"),
        ("report.figures=png", "report.figures=png: write a list"),
        ("report.samples=-1", "report.samples=-1: it must be a whole number"),
        ("report.colour=red", "report.colour: there is no such setting"),
        ("abpc", "report abpc: write --study abpc for one study, or a setting, such as"),
        ("metrics=[abpc]", "report metrics=[abpc]: write a setting, such as"),
        ("report.metrics=[abpc", "report.metrics=[abpc: this cannot be read"),
    ],
)
def test_a_wrong_setting_of_a_report_is_one_sentence(typed: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        report.options_of([typed])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
