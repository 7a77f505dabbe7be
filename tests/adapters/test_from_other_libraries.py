"""Proves the pages for users of captum, shap and Quantus: what stands side by side is the same."""

from __future__ import annotations

import importlib.util
import logging
import warnings

import pytest

from tests.support import pages
from tests.support.paths import ROOT


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("library", ["captum", "shap", "quantus"])
def test_every_block_runs(library: str) -> None:
    """A block that imports the library runs where it is installed; the others always."""
    logging.getLogger("xai_bench").setLevel(logging.ERROR)
    page = ROOT / "docs" / f"from-{library}.md"
    there = importlib.util.find_spec(library) is not None
    texts = pages.blocks(page, "python")
    if not there and f"import {library}" in texts[0]:
        pytest.skip(f"{library} is not installed")
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, text in enumerate(texts):
            if there or f"import {library}" not in text:
                exec(compile(text, f"{page.name}, block {number}", "exec"), names)
