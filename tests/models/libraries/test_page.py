"""The page on fitted models is true: what it shows runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import command_line, pages
from tests.support.paths import ROOT
from xai_bench.results.store.store import Store

PAGE = ROOT / "docs" / "fitted-models.md"
SMALL = ("recorder=none", "evaluation.n_samples=8", "metric=[abpc]")


@pytest.mark.exhaustive
def test_what_the_page_shows_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("xgboost")
    [source] = pages.blocks(PAGE, "python")
    [commands] = pages.blocks(PAGE, "sh")
    with command_line.in_folder(tmp_path):
        exec(compile(source, str(PAGE), "exec"), {})
        for program, *arguments in pages.commands(commands):
            assert program == "xai-bench"
            assert command_line.exit_code([*arguments, *SMALL]) == 0, capsys.readouterr().err
    assert set(Store(tmp_path / "results").outcomes("default").status) == {"ok"}
