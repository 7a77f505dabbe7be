"""One thread, deterministic algorithms, bits that do not depend on memory: as in every run."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator

import pytest

os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # before torch multiplies its first matrices


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the cases of a test marked `sample(n)` all but every n-th are `others`, exhaustive."""
    n_cases: Counter[str] = Counter()
    for item in items:
        test = item.nodeid.partition("[")[0]
        for mark in list(item.iter_markers("sample")):
            if n_cases[test] % mark.args[0]:
                item.add_marker(mark.kwargs.get("others", "exhaustive"))
        n_cases[test] += 1


@pytest.fixture(autouse=True, scope="session")
def canonical_setting() -> Iterator[None]:
    from xai_bench.core.system.determinism import canonical

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
