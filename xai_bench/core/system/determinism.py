"""The setting in which the same command gives the same bits: one thread, fixed algorithms."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from importlib import import_module
from typing import Any

import numpy as np
import torch

from xai_bench.core.system import memory


@contextmanager
def deterministic(device: torch.device | None = None) -> Iterator[None]:
    """One thread and deterministic algorithms inside the block; as before after it.

    On a `device` other than the CPU some operations have no such algorithm, which is warned of, and
    products are never rounded to fewer digits (TF32), so that scores are those of the CPU but for
    the last digits.

    Memory that is about to be written is not filled first, which torch does to find bugs.
    """
    # torch replaces this module by an object that its annotations do not describe.
    debugging: Any = import_module("torch.utils.deterministic")
    threads, filled = torch.get_num_threads(), debugging.fill_uninitialized_memory
    mode = torch.get_deterministic_debug_mode()
    torch.set_num_threads(1)
    on_cpu = device is None or device.type == "cpu"
    # use_deterministic_algorithms imports the compiler
    torch.set_deterministic_debug_mode("error" if on_cpu else "warn")
    debugging.fill_uninitialized_memory = False
    try:
        with nullcontext() if on_cpu else _all_digits():
            yield
    finally:
        debugging.fill_uninitialized_memory = filled
        torch.set_deterministic_debug_mode(mode)
        torch.set_num_threads(threads)


@contextmanager
def _all_digits() -> Iterator[None]:
    """CUDA multiplies with all digits of float32 inside the block."""
    # Read before the first product; with it, the library of products repeats itself.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    backends: Any = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


@contextmanager
def canonical(device: torch.device | None = None) -> Iterator[None]:
    """The setting in which the same command gives the same bits.

    One thread and deterministic algorithms; and the Intel library, where torch uses it, is set to
    round alike wherever a row lies in memory. It reads its setting before its first product only,
    so a process that has multiplied matrices already keeps what it had. Freed memory stays at
    hand, which changes speed only.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    memory.keep()
    with deterministic(device):
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
def computing(
    *, exact: bool, threads: int | None, device: torch.device | None = None
) -> Iterator[None]:
    """The setting of a caller's process: as many threads, or the canonical one where it is to be
    exact, and on a `device` other than the CPU all digits; as before after it.
    """
    before = torch.get_num_threads()
    try:
        with ExitStack() as stack:
            if exact:
                stack.enter_context(canonical(device))
            elif threads is not None and threads != before:
                torch.set_num_threads(threads)
            if device is not None and device.type != "cpu":
                stack.enter_context(_all_digits())
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
