"""Proves that every public name has an example that runs, and types that hold in a user's file."""

from __future__ import annotations

import doctest
import importlib
import logging
import subprocess
import sys
from pathlib import Path

import pytest

import xai_bench
from tests.support.paths import ROOT

WITH_EXAMPLES = sorted(set(dir(xai_bench)) - {"Unsupported", "load"})
USER = """
import numpy as np
import torch
from torch import nn

import xai_bench


def gini_of(bench: xai_bench.Workbench) -> float:
    found: xai_bench.NamedExplanation = bench.explain("kernel_shap", budget=32)
    values = found.numpy().sum(axis=1)
    errors = found.standard_error
    table: xai_bench.Comparison = bench.compare({"mine": values}, ["gini"], budget=16)
    scores = bench.score(found, "gini")
    if errors is not None and table.low.empty:
        raise xai_bench.Unsupported("nothing")
    return float(scores["gini"].mean()) + float(np.sum(values))


bench = xai_bench.workbench(
    nn.Linear(16, 3), torch.ones(4, 16), units=xai_bench.patches(4, 4, 2).flatten(), target=1
)
answer: float = gini_of(bench)
wrong: str = bench.explain("lime").numpy()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_example_of_a_public_name_runs(name: str) -> None:
    logging.getLogger("xai_bench").setLevel(logging.ERROR)
    member = getattr(xai_bench, name)
    module = importlib.import_module(member.__module__)
    found = doctest.DocTestFinder(recurse=False).find(member, name, module)
    assert sum(len(test.examples) for test in found) > 0
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert sum(runner.run(test).failed for test in found) == 0


@pytest.mark.exhaustive
def test_types_hold_in_a_users_file(tmp_path: Path) -> None:
    """All but the line that is wrong."""
    path = tmp_path / "user.py"
    path.write_text(USER)
    command = [sys.executable, "-m", "mypy", "--strict", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    lines = [line for line in done.stdout.splitlines() if "user.py" in line]
    assert len(lines) == 1, done.stdout
    assert "wrong" in USER.splitlines()[int(lines[0].split(":")[1]) - 1]
