"""Large tables and images take no more memory than their bound: `benchmarks/memory.py` says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "benchmarks" / "memory.py"


@pytest.mark.exhaustive
@pytest.mark.parametrize("row", [1, 12, 18])  # columns left out, a curve, images with a way back
def test_a_row_of_the_table_stays_within_its_bound(row: int) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SCRIPT), "--inside", str(row)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["reason"] == ""
    assert found["peak"] < found["bound"]
