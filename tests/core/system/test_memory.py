"""Memory that is freed stays at hand, and is not taken for memory in use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from xai_bench.core.system import memory

MEGABYTES = 200


def resident() -> float:
    """Of this process, in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmRSS:"))) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_freed_is_kept_until_it_is_given_back() -> None:
    if memory._glibc() is None:
        pytest.skip("the C library here is not glibc")
    memory.keep()
    memory.give_back()
    before = resident()
    values = torch.ones(MEGABYTES << 18)
    assert resident() - before > 0.9 * MEGABYTES
    del values
    assert resident() - before > 0.9 * MEGABYTES, "kept"
    memory.give_back()
    assert resident() - before < 0.1 * MEGABYTES, "given back"
