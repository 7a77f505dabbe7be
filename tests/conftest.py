"""One thread, deterministic algorithms, bits that do not depend on memory: as in every run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # before torch multiplies its first matrices


@pytest.fixture(autouse=True, scope="session")
def canonical_setting() -> Iterator[None]:
    from xai_bench.core.determinism import canonical

    with canonical():
        yield
