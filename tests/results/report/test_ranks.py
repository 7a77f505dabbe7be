"""The section of ranks: planted winners, ties, and one data set after the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.support.reports import written
from xai_bench.results.report.sections import critical_differences, ranks
from xai_bench.results.report.summary import blocks
from xai_bench.results.report.verdict.standings import comparisons
from xai_bench.results.store.store import Store

WORTH = {"ig": 3.0, "lime": 2.0, "rise": 1.0}


def study(path: Path, n: int, worth: dict[str, float] = WORTH) -> Store:
    """`n` data sets of other units."""
    store = Store(path)
    for d in range(n):
        one = replace(cell(), key=f"cell{d}", data=f"d{d}", config={"data": d})
        results = [
            explanation(
                name,
                scored("abpc", [10**d * v, 10**d * v, 10**d * v]),
                scored("entropy", [v, v, v], "complexity"),
                scored("seconds", [-v, -v, -v], "cost"),
            )
            for name, v in worth.items()
        ]
        add_to_study(store, "s", one, results)
    return store


def test_a_planted_winner_is_first_whatever_is_left_out(tmp_path: Path) -> None:
    store = study(tmp_path, 3)
    [everything, fidelity, complexity] = ranks.standings(blocks(store, "s"))
    assert (everything.category, len(everything.scores)) == ("", 6)
    assert (fidelity.category, complexity.category) == ("fidelity", "complexity")
    told = ranks.change(everything, everything.robustness())
    assert told == "all metrics: ig is first whichever metrics and data sets are left out"


def test_the_report_has_the_table_and_the_csv(tmp_path: Path) -> None:
    report = written(study(tmp_path, 3), "s")
    text = report.markdown.read_text()
    assert "Ranks over metrics and data sets" in text
    folder = report.markdown.parent
    table = pd.read_csv(folder / "ranks.csv")
    mine = table[table["category"] == "all"].set_index("explainer")
    assert mine["mean_rank"].to_dict() == {"ig": 1, "lime": 2, "rise": 3}
    assert mine["kemeny_place"].to_dict() == {"ig": 1, "lime": 2, "rise": 3}
    assert mine["on_pareto_front"].to_dict() == {"ig": True, "lime": False, "rise": False}


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize(("n", "drawn"), [(1, False), (2, False), (3, True)])
def test_a_diagram_needs_three_data_sets(tmp_path: Path, n: int, drawn: bool) -> None:
    found = critical_differences.section(comparisons(blocks(study(tmp_path, n), "s")))
    assert ("ranks-faithful" in found.figures) == drawn


def test_a_tie_is_told_as_a_tie(tmp_path: Path) -> None:
    store = study(tmp_path, 1, {"ig": 1.0, "lime": 1.0})
    one = ranks.standings(blocks(store, "s"))[0]
    assert ranks.change(one, one.robustness()) == "all metrics: ig and lime share the first place"


def test_one_method_has_no_ranks(tmp_path: Path) -> None:
    assert ranks.standings(blocks(study(tmp_path, 1, {"ig": 1.0}), "s")) == []
