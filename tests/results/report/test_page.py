"""`report.html`: hostile names are text, nothing is loaded, and a browser sorts and filters it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.results.test_store import add_to_study, cell, explanation, scored
from tests.support.reports import NO_FIGURES
from xai_bench.results.report.writer import write
from xai_bench.results.store.store import Store

HOSTILE = "<script>document.title='broken'</script>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

DRIVER = """
const seen = {title: document.title, names: []};
const table = document.querySelector("table.sortable");
const names = () => [...table.tBodies[0].rows].filter((row) => !row.hidden)
  .map((row) => row.cells[0].textContent);
const click = (text) => [...table.querySelectorAll("th button")]
  .find((one) => one.textContent.startsWith(text)).click();
click("abpc"); seen.best = names();
seen.sort = table.querySelector("[aria-sort]").getAttribute("aria-sort");
click("abpc"); seen.worst = names();
click("explainer"); seen.byName = names();
const type = (id, value) => {
  const field = document.getElementById(id);
  field.value = value; field.dispatchEvent(new Event("input"));
};
type("filter-name", "SHA"); seen.filtered = names();
type("filter-name", "");
document.getElementById("filter-controls").checked = false;
type("filter-name", ""); seen.methods = names();
const metric = document.getElementById("explore-metric");
seen.metrics = [...metric.options].map((one) => one.textContent);
const sample = document.getElementById("explore-sample");
sample.value = "2"; sample.dispatchEvent(new Event("change"));
seen.bars = [...document.getElementById("explore-rows").rows]
  .map((row) => [row.cells[0].textContent, row.cells[1].textContent]);
seen.heading = document.querySelector(".board caption").textContent;
seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
"""


AUDIT = """
const audit = async () => (await axe.run(document)).violations
  .map((one) => `${one.impact}: ${one.id}`);
"""

SCRIPT = """
(async () => {
  AUDIT
  const violations = await audit();
  DRIVER
  seen.dark = matchMedia("(prefers-color-scheme: dark)").matches;
  seen.violations = violations;
  const image = document.createElement("img");
  image.src = "data:,";
  document.querySelector("main").prepend(image);
  seen.worse = await audit();
  const out = document.createElement("pre");
  out.id = "seen"; out.textContent = JSON.stringify(seen);
  document.body.append(out);
})();
"""
"""The page is audited as it is loaded, used, and audited again with a picture without words."""


def seen_by_a_browser(page: Path, width: int, scheme: str) -> dict[str, Any]:
    """What the script left in the element `seen`, as JSON, and no message on the console."""
    axe = pytest.importorskip("axe_core_python")
    engine = files(axe).joinpath("axe.min.js").read_text(encoding="utf-8")
    script = engine + SCRIPT.replace("AUDIT", AUDIT).replace("DRIVER", DRIVER)
    driven = page.with_name("driven.html")
    driven.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    ran = subprocess.run(
        [
            str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
            "--enable-logging=stderr", "--virtual-time-budget=20000",
            f"--window-size={width},900",
            f"--blink-settings=preferredColorScheme={['dark', 'light'].index(scheme)}",
            f"--user-data-dir={page.parent / 'profile'}", driven.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in ran.stderr
    found = re.search(r'<pre id="seen">(.*?)</pre>', ran.stdout, re.DOTALL)
    assert found is not None
    return dict(json.loads(unescape(found[1])))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods and a control on a data set with a hostile name."""
    store = Store(tmp_path_factory.mktemp("page"))
    results = [
        explanation(name, scored("abpc", values), scored("gini", values[::-1], "complexity"))
        for name, values in {
            "lime": [0.1, 0.2, 0.3],
            "shap": [0.7, 0.8, 0.9],
            "ig": [0.4, 0.5, 0.6],
        }.items()
    ]
    control = explanation("random", scored("abpc", [0.0, 0.1, -0.1]), category="controls")
    add_to_study(store, "s", cell(data=HOSTILE), [*results, control], f"xai-bench run {HOSTILE}")
    return write(store, "s", options=NO_FIGURES).page


def test_data_sets_may_have_other_methods_and_metrics(tmp_path: Path) -> None:
    """As when one study is run twice, with other explainers: what did not run has no card there."""
    store = Store(tmp_path)
    cost = scored("forward_rows", [3.0, 3.0, 3.0], "cost", higher_is_better=False)
    here = [explanation(name, scored("abpc", [0.1, 0.2, 0.3]), cost) for name in ("lime", "shap")]
    there = [explanation("wachter", scored("validity", [1.0, 1.0, 0.0], "counterfactual"))]
    add_to_study(store, "s", cell(key="a", data="iris"), here)
    add_to_study(store, "s", cell(key="b", data="wine", config={"seed": 0}), there)
    text = write(store, "s", options=NO_FIGURES).page.read_text()
    assert text.count("cost on iris, cnn") == 2
    assert "cost on wine" not in text


def test_a_name_that_is_code_is_shown_as_text(page: Path) -> None:
    text = page.read_text()
    assert HOSTILE not in text
    assert "&lt;script&gt;document.title" in text
    assert text.count("<script") == text.count("</script>") == 2


def test_the_page_loads_nothing_and_says_so(page: Path) -> None:
    text = page.read_text()
    assert "default-src 'none'" in text
    assert not re.findall(r'(?:src|href)="(?!#|data:)', text)
    assert not re.findall(r"@import|url\(", text)


def test_the_same_store_gives_the_same_page(page: Path) -> None:
    store = Store(page.parents[2])
    again = write(store, "s", page.parent / "again", NO_FIGURES)
    assert again.page.read_bytes() == page.read_bytes()


def test_every_part_of_the_page_has_a_heading_and_a_link(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r'<section id="(\w+)"', text):
        assert f'href="#{name}"' in text
        assert f'<h2 id="{name}-head">' in text
    assert '<html lang="en">' in text
    assert text.count("<h1>") == 1


@pytest.fixture(scope="module", params=[(1280, "dark"), (390, "light")], ids=str)
def seen(request: pytest.FixtureRequest, page: Path) -> dict[str, Any]:
    """What a browser saw of the page, in a window and a colour scheme."""
    width, scheme = request.param
    found = seen_by_a_browser(page, width, scheme)
    assert found["dark"] == (scheme == "dark")
    return found


@pytest.mark.slow
@in_chromium
def test_a_browser_sorts_filters_and_explores(seen: dict[str, Any]) -> None:
    assert seen["title"].startswith("s:")
    assert seen["heading"].startswith(HOSTILE)
    assert seen["best"] == ["shap", "ig", "lime", "random"]
    assert seen["sort"] == "descending"
    assert seen["worst"] == ["random", "lime", "ig", "shap"]
    assert seen["byName"] == ["ig", "lime", "random", "shap"]
    assert seen["filtered"] == ["shap"]
    assert seen["methods"] == ["ig", "lime", "shap"]
    assert seen["metrics"] == ["abpc ↑", "gini ↑"]
    assert ["lime", "0.3"] in seen["bars"]
    assert seen["wide"] <= 0, "the page itself does not scroll sideways"


@pytest.mark.slow
@in_chromium
def test_an_audit_finds_nothing_that_keeps_anybody_out(seen: dict[str, Any]) -> None:
    """axe-core: names, roles, contrast and order of headings; a picture without words is found."""
    assert seen["violations"] == []
    assert seen["worse"] == ["critical: image-alt"]
