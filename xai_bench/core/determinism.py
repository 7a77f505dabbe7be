"""The setting in which the same command gives the same bits: one thread, fixed algorithms."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import torch

from xai_bench.core import memory


@contextmanager
def deterministic() -> Iterator[None]:
    """One thread and deterministic algorithms inside the block; as before after it.

    Memory that is about to be written is not filled first, which torch does to find bugs.
    """
    # torch replaces this module by an object that its annotations do not describe.
    debugging: Any = import_module("torch.utils.deterministic")
    threads, filled = torch.get_num_threads(), debugging.fill_uninitialized_memory
    mode = torch.get_deterministic_debug_mode()
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports the compiler
    debugging.fill_uninitialized_memory = False
    try:
        yield
    finally:
        debugging.fill_uninitialized_memory = filled
        torch.set_deterministic_debug_mode(mode)
        torch.set_num_threads(threads)


@contextmanager
def canonical() -> Iterator[None]:
    """The setting in which the same command gives the same bits.

    One thread and deterministic algorithms; and the Intel library, where torch uses it, is set to
    round alike wherever a row lies in memory. It reads its setting before its first product only,
    so a process that has multiplied matrices already keeps what it had. Freed memory stays at
    hand, which changes speed only.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    memory.keep()
    with deterministic():
        yield


@contextmanager
def generators_as_before(seed: int | None = None) -> Iterator[None]:
    """The global generators of Python, NumPy and torch are after the block what they were; inside,
    they start from `seed` where there is one.
    """
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002
    on_device = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices=list(on_device)):
            if seed is not None:
                random.seed(seed)
                np.random.seed(seed)  # noqa: NPY002
                torch.random.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002


@contextmanager
def computing(*, exact: bool, threads: int | None) -> Iterator[None]:
    """The setting of a caller's process: as many threads, or the canonical one where it is to be
    exact; as before after it.
    """
    before = torch.get_num_threads()
    try:
        with ExitStack() as stack:
            if exact:
                stack.enter_context(canonical())
            elif threads is not None and threads != before:
                torch.set_num_threads(threads)
            yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def require_threads(threads: object, *, exact: bool) -> int | None:
    """Raises ValueError for what is no number of threads, and for several that are to be exact."""
    if threads is None:
        return 1 if exact else None
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads={threads!r}; expected a whole number, 1 or more")
    if exact and threads > 1:
        raise ValueError(
            f"threads={threads} with exact=True: several threads add up in another order; leave "
            "out one of the two"
        )
    return threads
