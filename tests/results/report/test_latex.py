"""LaTeX: what is written compiles, and nothing runs off the paper."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.support.reports import NO_FIGURES
from xai_bench.results.report.cards import Card
from xai_bench.results.report.formats.latex import bibliography, text
from xai_bench.results.report.writer import write
from xai_bench.results.store.store import Store

PDFLATEX, BIBTEX = shutil.which("pdflatex"), shutil.which("bibtex")
NAMES = ("integrated_gradients", "kernel_shap", "a & b_$%#^{}~\\", "Größe_年齢", *"abcdefghij")
PAPER = "Sundararajan+ 2017, arXiv:1703.01365"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 30 metrics in three categories and 14 explainers, some with hostile names."""
    store = Store(tmp_path_factory.mktemp("latex"))
    metrics = [
        scored(f"relative_input_stability_{i}", [1e-9 * i, 2.0, 3e7], category)
        for i, category in enumerate(["fidelity"] * 14 + ["stability"] * 10 + ["cost"] * 6)
    ]
    add_to_study(store, "s_1", cell(), [explanation(name, *metrics) for name in NAMES])
    cards = {"integrated_gradients": Card("integrated_gradients", "explainer", "x", PAPER)}
    return write(store, "s_1", options=NO_FIGURES, cards=cards).folder


@pytest.mark.slow
@pytest.mark.skipif(PDFLATEX is None or BIBTEX is None, reason="pdflatex is not installed")
def test_the_document_compiles_and_nothing_is_too_large(folder: Path) -> None:
    for command in ([PDFLATEX], [BIBTEX], [PDFLATEX], [PDFLATEX]):
        flags = ["-interaction=nonstopmode", "-halt-on-error"] if command == [PDFLATEX] else []
        ran = subprocess.run(
            [*map(str, command), *flags, "report"], cwd=folder, capture_output=True, timeout=120
        )
        assert ran.returncode == 0, ran.stdout.decode(errors="replace")[-1500:]
    log = (folder / "report.log").read_text(errors="replace")
    assert re.findall(r"Overfull \\[hv]box.*|Float too large.*|undefined citations?", log) == []
    assert (folder / "report.pdf").stat().st_size > 10_000


@pytest.mark.slow
def test_every_metric_is_in_some_table(folder: Path) -> None:
    full = (folder / "tables/full.tex").read_text()
    heads = full.replace(r"\_\\", r"\_").replace(r"\\", " ")
    assert all(rf"{i} $\uparrow$" in heads for i in range(30))


@pytest.mark.slow
def test_a_paper_becomes_an_entry_that_is_cited(folder: Path) -> None:
    entries = (folder / "references.bib").read_text()
    [key] = re.findall(r"@misc\{(.*),", entries)
    assert "arXiv" in entries
    assert rf"\cite{{{key}}}" in (folder / "report.tex").read_text()


def test_papers_are_read_as_components_state_them() -> None:
    first, second = bibliography.references("Lundberg & Lee 2017, arXiv:1705.07874; Shapley 1953")
    assert (first.year, first.arxiv) == ("2017", "1705.07874")
    assert (second.authors, second.year) == ("Shapley", "1953")
    assert bibliography.references("nobody knows") == []


def test_letters_that_latex_lacks_become_their_codes() -> None:
    assert text.escape("年") == "U+5E74"
    assert text.escape("é α ö") == r"\'{e} $\alpha$ \"{o}"
    assert text.breakable("a_b") == r"a\_\allowbreak{}b"
