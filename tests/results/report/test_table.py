"""Proves that every number of a report follows from the store, and that every gap has a reason."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from tests.results.test_store import add_to_study, cell, contents, explanation, scored
from tests.support.reports import written
from xai_bench.results import ExplainerResult, Outcome
from xai_bench.results.report.formats.console import terminal
from xai_bench.results.report.formats.latex.text import escape
from xai_bench.results.report.page import samples
from xai_bench.results.report.summary import blocks
from xai_bench.results.report.table import measured
from xai_bench.results.report.writer import Report, write
from xai_bench.results.store.store import Store

NAN = math.nan
SKIP = Outcome("skipped", "needs a gradient & 100 % of the_model")
FAIL = Outcome("failed", "ValueError: no")
TRUTH = Outcome("skipped", "no written-down truth")


def everyone(shift: float = 0.0) -> list[ExplainerResult]:
    """`lime` beats `shap` by 0.1 on every sample, `ig` equals `lime`, `old` has no scores."""
    truth = scored("cosine", [], "truth", outcome=TRUTH)

    def one(name: str, values: list[float], rows: float, **changes: object) -> ExplainerResult:
        fidelity = scored("abpc", [v + shift for v in values])
        cost = scored("forward_rows", [rows] * 3, "cost", higher_is_better=False)
        return explanation(name, fidelity, cost, truth, **changes)

    old = explanation(
        "old",
        scored("abpc", [], outcome=SKIP),
        scored("forward_rows", [], "cost", higher_is_better=False, outcome=FAIL),
        truth,
        attribution=None,
        outcome=SKIP,
    )
    return [
        one("lime", [0.5, 0.6, 0.8], 100),
        one("shap", [0.4, 0.5, 0.7], 50),
        one("ig", [0.5, 0.6, 0.8], 32),
        one("gap", [0.1, NAN, 0.3], 32),
        old,
        one("random", [0.0, 0.1, -0.1], 0, category="controls"),
        one("oracle", [1.0, 1.0, 1.0], 0, category="controls"),
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("table"))
    add_to_study(store, "s_1", cell(), everyone(), "xai-bench run seed=0")
    add_to_study(store, "s_1", cell(1), everyone(0.01), "xai-bench run seed=1")
    return store


@pytest.fixture(scope="module")
def report(store: Store) -> Report:
    """With its pictures."""
    return write(store, "s_1")


def test_numbers_are_means_over_samples_and_seeds(store: Store) -> None:
    [block] = blocks(store, "s_1")
    abpc = next(column for column in block.columns if column.metric == "abpc")
    lime = block.numbers["lime", abpc]
    assert lime.mean == pytest.approx((0.5 + 0.6 + 0.8) / 3 + 0.005)
    assert (lime.n_scored, lime.n_samples) == (6, 6)
    assert block.numbers["gap", abpc].n_scored == 4
    assert lime.cells == ("cell0", "cell1")
    assert lime.explanations == ("lime-key",)
    assert block.numbers["shap", abpc].difference == pytest.approx(-0.1)


def test_the_best_method_and_its_equals_are_marked(store: Store) -> None:
    [block] = blocks(store, "s_1")
    marks = {
        (name, c.metric): (number.best, number.tied) for (name, c), number in block.numbers.items()
    }
    assert marks["lime", "abpc"] == marks["ig", "abpc"] == (True, False)
    assert marks["shap", "abpc"] == (False, False)
    assert marks["oracle", "abpc"] == (False, False)
    assert marks["ig", "forward_rows"] == marks["gap", "forward_rows"] == (True, False)
    assert marks["random", "forward_rows"] == (False, False)


def test_controls_are_last_and_define_the_skill(store: Store) -> None:
    [block] = blocks(store, "s_1")
    assert block.explainers == ("gap", "ig", "lime", "old", "shap", "oracle", "random")
    assert block.n_controls == 2
    abpc = next(column for column in block.columns if column.metric == "abpc")
    skill = {number.explainer: number.skill for number in block.of(abpc)}
    assert (skill["random"], skill["oracle"]) == (0, 1)
    assert skill["lime"] == pytest.approx(1.9 / 3)


@pytest.mark.slow
def test_every_number_of_the_csv_can_be_computed_from_the_store(
    store: Store, report: Report
) -> None:
    assert report.folder == store.root / "reports/s_1"
    table = pd.read_csv(report.folder / "report.csv", keep_default_na=False)
    frame = store.frame("s_1")
    scored_rows = table[table["status"] == "ok"]
    assert len(scored_rows) == 12
    for row in scored_rows.to_dict("records"):
        mine = frame[
            frame["cell"].isin(row["cells"].split())
            & frame["explanation"].isin(row["explanations"].split())
            & (frame["metric"] == row["metric"])
        ]
        assert float(row["mean"]) == pytest.approx(mine["score"].mean(), rel=1e-12)


@pytest.mark.slow
def test_the_markdown_has_scores_notes_and_commands(report: Report) -> None:
    text = report.markdown.read_text()
    scores = text.partition("Ranks over metrics")[0]
    rows = {line.split("|")[1].strip(): line for line in scores.splitlines() if line[:1] == "|"}
    assert rows["explainer"] == r"| explainer | fidelity<br>abpc ↑ | cost<br>forward\_rows ↓ |"
    assert "skipped [1]" in rows["old"]
    assert "failed [2]" in rows["old"]
    assert r"- [1] needs a gradient & 100 % of the\_model" in text
    assert "(4)" in rows["gap"]
    assert "**0.638 ±" in rows["ig"]
    assert "**0.638 ±" in rows["lime"]
    assert list(rows).index("*controls*") == list(rows).index("oracle") - 1
    assert "- cosine (digits, cnn): no written-down truth" in text
    assert "accuracy 0.550" in text
    assert "seeds 0, 1" in text
    assert "xai-bench run seed=0\nxai-bench run seed=1" in text
    assert "figures/scores-0-digits-cnn.png" in text


def test_the_latex_is_well_formed(report: Report) -> None:
    text = (report.folder / "tables/full.tex").read_text()
    bare = re.sub(r"\\[\\{}&%$#_]", "", re.sub(r"\\\\", "", text))
    assert bare.count("{") == bare.count("}")
    assert text.isascii()
    assert re.findall(r"\\begin\{(\w+\*?)\}", text).count("tabular") == 1
    for name in ("table", "tabular", "minipage"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    [columns] = re.findall(r"\\begin\{tabular\}\{(\w+)\}", text)
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert columns == "lrr"
    assert all(len(re.findall(r"(?<!\\)&", line)) == 2 for line in body)
    assert r"\cmidrule(lr){2-2}" in text
    assert r"\cmidrule(lr){3-3}" in text
    assert text.index(r"\midrule", text.index("shap &")) < text.index("oracle &")
    assert r"\textbf{0.638 $\pm$" in text
    assert r"100 \% of the\_\allowbreak{}model" in text


@pytest.mark.slow
def test_wide_tables_are_cut_into_panels(tmp_path: Path) -> None:
    store = Store(tmp_path)
    many = [scored(f"m{i}", [1.0, 2.0, 3.0], category) for category in ("a", "b") for i in range(7)]
    many = [replace(one, metric=f"{one.category}{one.metric}") for one in many]
    add_to_study(store, "s", cell(), [explanation("lime", *many)])
    text = (written(store, "s").folder / "tables/full.tex").read_text()
    assert re.findall(r"\\begin\{tabular\}\{(\w+)\}", text) == ["lrrrrrr", "lr", "lrrrrrr", "lr"]


def test_latex_escapes_special_characters() -> None:
    assert escape(r"a_b & 50% {x} \y") == r"a\_b \& 50\% \{x\} \textbackslash{}y"
    assert escape("± †") == r"$\pm$ $^\dagger$"


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (0.12345, 0.0123, "0.123 ± 0.012"),
        (12.345, 0.5, "12.3 ± 0.5"),
        (0.001, 0.3, "0.001 ± 0.300"),
        (4096, 0, "4096"),
        (50, 0, "50"),
        (0, 0, "0"),
        (1234.5, 20, "1234 ± 20"),
        (9.996, 0, "10.0"),
        (999999.0, 2.0, "(1.00 ± 0.00)e6"),
        (9.999e6, 0, "1.00e7"),
        (2.5e7, 1e6, "(2.50 ± 0.10)e7"),
        (1.23e-5, 0, "1.23e-5"),
        (-0.5, math.inf, "-0.500"),
        (NAN, NAN, "–"),
    ],
)
def test_numbers_have_three_significant_digits(mean: float, half: float, text: str) -> None:
    assert measured(mean, half) == text


def test_a_page_holds_no_number_that_json_has_not() -> None:
    block = SimpleNamespace(explainers=("lime", "random"))
    shown = dict(samples._scores(cast(Any, block), np.array([[1.23456, NAN, math.inf], [NAN] * 3])))
    assert shown == {"lime": [1.235, None, None]}


@pytest.mark.slow
def test_the_same_store_gives_the_same_report(store: Store, report: Report, tmp_path: Path) -> None:
    write(store, "s_1", tmp_path)
    assert contents(tmp_path) == contents(report.folder)


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"config": {"model": {"width": 32}, "seed": 1}}, "model.width=32"),
        ({"fingerprint": "beef"}, "data 2"),
        ({"config": {"data": {"n": 9}}, "fingerprint": "beef"}, "data.n=9"),
        ({"environment": {"code_version": "new"}}, "code 2"),
        ({"view": "channels"}, ""),
    ],
)
def test_cells_that_differ_in_more_than_the_seed_never_share_a_mean(
    tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    store = Store(tmp_path)
    environment = {"code_version": "old"}
    first = cell(config={"model": {"width": 16}, "seed": 0}, environment=environment)
    sibling = replace(first, key="other", seed=1, config={**first.config, "seed": 1})
    second = replace(sibling, **changes)  # type: ignore[arg-type]
    for one in (first, second):
        add_to_study(store, "s", one, [explanation("lime", scored("abpc", [1.0, 2.0, 3.0]))])
    found = blocks(store, "s")
    assert [len(block.cells) for block in found] == [1, 1]
    assert any(expected in block.variant for block in found)


@pytest.mark.parametrize("keys", [("a", "b", "c"), ("c", "b", "a")])
def test_labels_and_order_are_those_of_the_settings_and_not_of_addresses(
    tmp_path: Path, keys: tuple[str, str, str]
) -> None:
    store = Store(tmp_path)
    for key, n in zip(keys, (128, 16, 9), strict=True):
        one = cell(key=key, config={"data": {"n": n}, "seed": 0}, fingerprint=f"of {n}")
        add_to_study(store, "s", one, [explanation("lime", scored("abpc", [1.0, 2.0, 3.0]))])
    assert [block.variant for block in blocks(store, "s")] == [
        "data.n=9",
        "data.n=16",
        "data.n=128",
    ]


def test_settings_of_an_explainer_never_share_a_row(tmp_path: Path) -> None:
    store = Store(tmp_path)
    few = explanation("lime", scored("abpc", [1.0, 2.0, 3.0]))
    more = replace(few, key="lime-more", config={**few.config, "n_steps": 8})
    add_to_study(store, "s", cell(), [few])
    add_to_study(store, "s", cell(1), [more])
    [block] = blocks(store, "s")
    assert block.explainers == ("lime (n_steps=4)", "lime (n_steps=8)")
    assert {number.n_scored for number in block.numbers.values()} == {3}


def test_settings_of_a_metric_never_share_a_column(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed, key in ((0, "aaaa1"), (1, "bbbb1")):
        add_to_study(
            store, "s", cell(seed), [explanation("lime", scored("abpc", [1.0, 2.0, 3.0], key=key))]
        )
    [block] = blocks(store, "s")
    assert [column.label for column in block.columns] == ["abpc (1)", "abpc (2)"]
    assert {number.n_scored for number in block.numbers.values()} == {3}


def test_a_partial_failure_is_noted_beside_its_number(tmp_path: Path) -> None:
    """Student's 4.303 at 2 degrees of freedom times a standard error of 1 / sqrt(3)."""
    store = Store(tmp_path)
    add_to_study(store, "s", cell(), [explanation("lime", scored("abpc", [1.0, 2.0, 3.0]))])
    add_to_study(store, "s", cell(1), [explanation("lime", scored("abpc", [], outcome=FAIL))])
    assert "2.00 ± 2.48 (3) [1]" in written(store, "s").markdown.read_text().replace("**", "")


def test_a_study_in_which_nothing_ran_still_has_a_report(tmp_path: Path) -> None:
    store = Store(tmp_path)
    add_to_study(store, "s", cell(outcome=Outcome("skipped", "needs classes")), [])
    assert "- [1] needs classes" in written(store, "s").markdown.read_text()
    assert "needs classes" in shown(terminal(blocks(store, "s")))


def shown(renderable: object, width: int = 120) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A study of 17 metrics and three long names."""
    store = Store(tmp_path_factory.mktemp("wide"))
    names = {
        "truth": ["cosine_to_shapley", "top_k_precision"],
        "fidelity": ["abpc", "deletion", "faithfulness_correlation", "infidelity", "insertion"],
        "stability": ["max_sensitivity", "relative_input_stability", "repeatability"],
        "complexity": ["entropy", "gini"],
        "cost": ["forward_rows", "gradient_rows", "peak_memory", "seconds"],
    }
    scores = [scored(m, [0.123, 0.456, 0.789], c) for c, ms in names.items() for m in ms]
    explainers = ["permutation_importance", "integrated_gradients", "saliency"]
    add_to_study(store, "s", cell(), [explanation(name, *scores) for name in explainers])
    return store


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("full", [False, True])
def test_the_terminal_table_is_never_cut(wide: Store, full: bool, width: int) -> None:
    text = shown(terminal(blocks(wide, "s"), full=full), width)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width
    assert all(name in text for name in ("permutation_importance", "integrated_gradients"))
    assert "0.456" in text
    assert ("relative_" in text) == full
    assert full == ({"deletion", "gini", "peak_"} <= set(text.split()))
    rows = [line.split() for line in text.splitlines() if line.split()[:1] == ["saliency"]]
    assert all(set(row[1:]) <= {"0.456"} for row in rows)
    assert sum(len(row) - 1 for row in rows) == (16 if full else 8)


@pytest.mark.slow
def test_no_width_breaks_a_header_or_a_number(wide: Store) -> None:
    """An arrow stands by its name, and a name on one line."""
    table = terminal(blocks(wide, "s"))
    for width in range(45, 131, 2):
        text = shown(table, width)
        assert not re.search(r"(^|  )↑", text, re.MULTILINE), width
        assert " permutation_importance " in text


def test_the_metrics_of_the_terminal_can_be_chosen(wide: Store) -> None:
    text = shown(terminal(blocks(wide, "s"), metrics=["gini", "deletion"]))
    assert text.index("gini") < text.index("deletion")
    assert "abpc" not in text


def test_equal_bests_are_all_bold(tmp_path: Path) -> None:
    store = Store(tmp_path)
    same = scored("gini", [0.1, 0.2, 0.3])
    add_to_study(store, "s", cell(), [explanation("lime", same), explanation("shap", same)])
    assert "0.200 †" not in shown(terminal(blocks(store, "s")))
