"""Names that are code in some format come out as text in all, and make no file elsewhere."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.results.tracking.test_mlflow import runs
from xai_bench.results import Predictions
from xai_bench.results.escape import code, html, markdown
from xai_bench.results.report.options import ReportOptions
from xai_bench.results.report.writer import write
from xai_bench.results.store.store import Store
from xai_bench.results.tracking.mlflow import MlflowRecorder
from xai_bench.types import Domain, Element, Inputs

HOSTILE = [
    "<script>document.title='broken'</script>", "a|b", "back\\slash\\", "$x^2$ \\frac{",
    "\\input{/etc/passwd}", "../../up/../", "new\nline\r\n## head", "\u202eabc\u202c\u200f",
    "x" * 300, "🙂 👩‍👩‍👧", "[l](javascript:alert(1))", "**b** _i_ `c` # h", "%c & {b } ~ ^^41 #1",
    "\"q' onmouseover=alert(1) x=\"", "]]>--><img src=x onerror=alert(1)>", "${seed} {0} %s",
    "[bold red]rich[/]", "中文 العربية", "C:\\con\\nul", "```\n<b>", "</summary><b>",
    "\x00\x1b[31m",
]  # fmt: skip
ALLOWED = {
    "script", "meta", "html", "head", "title", "style", "body", "a", "header", "h1", "nav", "ul",
    "li", "main", "section", "h2", "h3", "p", "div", "table", "caption", "thead", "tr", "th", "td",
    "tbody", "button", "strong", "sup", "label", "input", "select", "option", "span", "details",
    "summary", "dl", "dt", "dd", "pre", "figure", "img", "figcaption", "ol", "wbr",
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every name that a user may choose is hostile: of data, methods, columns, classes, groups."""
    root = tmp_path_factory.mktemp("hostile") / "res <b>&$x$ [red] %s"
    store, n = Store(root), len(HOSTILE)
    x, units = torch.randn(3, n, generator=torch.manual_seed(0)), torch.arange(n).expand(3, n)
    domain = Domain(torch.zeros(1, n), torch.ones(n))
    elements = [Element(0.0, 1.0, label=name if i % 2 else "") for i, name in enumerate(HOSTILE)]
    store.write_inputs("cell0", Inputs(x, units, torch.arange(3), domain), HOSTILE, elements)
    outputs, rows = torch.randn(3, n, generator=torch.manual_seed(1)), torch.arange(3)
    store.write_predictions("cell0", Predictions(outputs, rows, rows, tuple(HOSTILE)))
    groups = {name: torch.tensor([0, 1, 0]) for name in HOSTILE[:4]}
    one = cell(
        data=HOSTILE[0], model=HOSTILE[4], groups=groups,
        group_names={name: tuple(HOSTILE[:2]) for name in groups},
        config={"data": {"_target_": "a.B", "target": HOSTILE[6]}, "model": {"b": HOSTILE[10]}},
    )  # fmt: skip
    results = [
        explanation(
            name,
            scored("abpc", [0.1 + i, 0.2, 0.3]),
            scored("gini", [0.5, 0.1 * i, 0.3], "complexity"),
            attribution=torch.randn(3, n, generator=torch.manual_seed(i)),
            stated={"counterfactuals": x[:, None] + torch.randn(3, 1, n)},
            key=f"key{i}",
        )
        for i, name in enumerate(HOSTILE)
        if "/" not in name and len(name) < 100 and "\x00" not in name
    ]
    add_to_study(store, "s", one, results, f"xai-bench run '{HOSTILE[0]}' '{HOSTILE[19]}'")
    return root


def report(root: Path, options: ReportOptions) -> Path:
    return write(Store(root), "s", options=options).folder


class Tags(HTMLParser):
    """The tags and attributes of a document, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def html_outside_code(text: str) -> Iterator[str]:
    """The tags that a reader of Markdown takes for HTML, outside of fenced blocks."""
    fence = ""
    for line in text.split("\n"):
        ticks = re.match("`{3,}", line)
        if ticks and (not fence or line == fence):
            fence = "" if fence else ticks[0]
        elif not fence:
            yield from re.findall(r"(?<!\\)<[^>]*>", line)


def test_one_escape_for_each_format() -> None:
    for name in HOSTILE:
        assert "\n" not in markdown(name)
        assert not re.search(r"(?<!\\)(?:\\\\)*[<|`\[$*]", markdown(name))
        assert not re.search('[<>"\u202e\x00\x1b]', html(name))
        first, *inside, last = code(name).split("\n")
        assert first == last
        assert first not in inside


@pytest.mark.slow
def test_page_and_tables_hold_no_tag_of_a_name(root: Path) -> None:
    folder = report(root, ReportOptions(figures=()))
    for path in folder.rglob("*.html"):
        for tag, attributes in Tags(path.read_text()).seen:
            assert tag in ALLOWED, path
            assert not [name for name in attributes if name.startswith("on")], path
    text = (folder / "report.html").read_text()
    assert text.count("<script") == text.count("</script>") == 2
    known = {"<br>", "<details>", "<summary>", "</summary>", "</details>"}
    assert set(html_outside_code((folder / "report.md").read_text())) <= known
    for path in folder.rglob("*.csv"):
        with path.open(newline="") as file:
            assert len({len(row) for row in csv.reader(file)}) == 1, path


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_and_reads_only_its_own_files(root: Path) -> None:
    folder = report(root, ReportOptions(figures=()))
    ran = subprocess.run(
        ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-recorder", "-halt-on-error",
         "report"], cwd=folder, capture_output=True, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout.decode(errors="replace")[-1500:]
    assert "/etc/passwd" not in (folder / "report.fls").read_text()


@pytest.mark.exhaustive
def test_pictures_and_mlflow_take_any_name(root: Path) -> None:
    before = {path for path in root.parent.rglob("*") if root not in path.parents}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # such as of a sign that no font has
        folder = report(root, ReportOptions(figures=("svg", "png"), samples=1))
        MlflowRecorder().record(Store(root), "s", "cell0")
    for path in folder.rglob("*.svg"):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()}
        assert not tags & {"script", "a", "foreignObject"}
    shown = runs(Store(root))
    assert len(shown) == len(Store(root).explanations("s", "cell0")) + 1
    assert {path for path in root.parent.rglob("*") if root not in path.parents} == before
    for path in root.rglob("counterfactuals.md"):
        assert not set(html_outside_code(path.read_text()))
        assert {line.count(" | ") for line in path.read_text().splitlines()} == {1}
