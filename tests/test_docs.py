"""The pages that `make docs` writes are those of this code: CI compares, a contributor need not."""

from __future__ import annotations

import re
from math import isnan

import pytest

from tests.support import certificates
from tests.support.components import component, options
from tests.support.paths import ROOT
from xai_bench import cli
from xai_bench.certify import certificate_page, command

pytestmark = pytest.mark.exhaustive

METRICS = (ROOT / "docs" / "metrics.md").read_text("utf-8")
CATEGORIES = sorted({component("metric", name).category for name in options("metric")})


def test_the_page_of_components_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["list", "--markdown"])
    fresh = capsys.readouterr().out
    assert (ROOT / "docs" / "components.md").read_text("utf-8") == fresh, "run `make docs`"


def test_the_page_of_certificates_has_a_section_per_category_and_metric() -> None:
    assert METRICS.startswith(certificate_page.HEAD)
    assert re.findall("^## (.*)", METRICS, re.MULTILINE) == [c.capitalize() for c in CATEGORIES]
    assert sorted(re.findall("^### (.*)", METRICS, re.MULTILINE)) == options("metric")


@pytest.mark.parametrize("category", CATEGORIES)
def test_certificates_have_no_fault_and_their_page_is_current(category: str) -> None:
    """Numbers may differ in their last shown digit where another processor rounds otherwise."""
    names = [name for name in options("metric") if component("metric", name).category == category]
    made = command.certified([f"metric=[{','.join(names)}]"], None)
    assert sorted(one.name for one in made) == names
    for one in made:
        assert one.metric is not None
        certificates.keeps_what_it_states(one.metric, one.results)
    part = METRICS.partition(f"## {category.capitalize()}\n")[2].partition("\n## ")[0]
    fresh = certificate_page.markdown(made).partition(f"## {category.capitalize()}\n")[2]
    written, fresh_words = part.split(), fresh.split()
    assert len(written) == len(fresh_words), "docs/metrics.md is old: run `make docs`"
    for old, new in zip(written, fresh_words, strict=True):
        assert _alike(old, new), f"{old} became {new}: run `make docs`"


def _alike(old: str, new: str) -> bool:
    try:
        values = [float(word.strip(";,")) for word in (old, new)]
    except ValueError:
        return old == new
    return old == new or (
        not any(map(isnan, values)) and values[0] == pytest.approx(values[1], rel=2e-3)
    )
