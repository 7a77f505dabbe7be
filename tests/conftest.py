"""One thread, deterministic algorithms, bits that do not depend on memory: as in every run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # before torch multiplies its first matrices


@pytest.fixture(autouse=True, scope="session")
def canonical_setting() -> Iterator[None]:
    from xai_bench.core.determinism import canonical

    with canonical():
        yield


@pytest.fixture(autouse=True)
def messages_are_heard() -> None:
    """Commands that run in this process set up logging as in one of their own."""
    logging.disable(logging.NOTSET)
    logging.getLogger().setLevel(logging.WARNING)
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("xai_bench") and isinstance(logger, logging.Logger):
            logger.disabled, logger.propagate = False, True
            logger.setLevel(logging.NOTSET)
