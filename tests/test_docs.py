"""The pages that `make docs` writes are those of this code: CI compares, a contributor need not."""

from __future__ import annotations

from math import isnan

import pytest

from tests.support.paths import ROOT
from xai_bench import cli
from xai_bench.certify import certificate_page, command
from xai_bench.core.determinism import canonical

pytestmark = pytest.mark.exhaustive


def test_the_page_of_components_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["list", "--markdown"])
    fresh = capsys.readouterr().out
    assert (ROOT / "docs" / "components.md").read_text("utf-8") == fresh, "run `make docs`"


def test_the_page_of_certificates_is_current() -> None:
    """Numbers may differ in their last shown digit where another processor rounds otherwise."""
    written = (ROOT / "docs" / "metrics.md").read_text("utf-8").split()
    with canonical():
        fresh = certificate_page.markdown(command.all_metrics()).split()
    assert len(written) == len(fresh), "docs/metrics.md is old: run `make docs`"
    for old, new in zip(written, fresh, strict=True):
        assert _alike(old, new), f"{old} became {new}: run `make docs`"


def _alike(old: str, new: str) -> bool:
    try:
        values = [float(word.strip(";,")) for word in (old, new)]
    except ValueError:
        return old == new
    return old == new or (
        not any(map(isnan, values)) and values[0] == pytest.approx(values[1], rel=2e-3)
    )
