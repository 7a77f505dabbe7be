"""Proves that every block of docs/bring-your-own.md runs, one after the other."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import pytest

from tests.support import pages
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "bring-your-own.md"
NEEDED = ("xgboost", "lightgbm", "catboost", "onnxruntime", "skl2onnx")


@pytest.mark.slow
def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in NEEDED:
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    logging.getLogger("xai_bench").setLevel(logging.ERROR)
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, text in enumerate(pages.blocks(PAGE, "python")):
            exec(compile(text, f"{PAGE.name}, block {number}", "exec"), names)
