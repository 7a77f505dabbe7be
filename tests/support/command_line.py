"""The command line in this process: what it prints, how it ends, and nothing left behind.

A process of its own takes ten seconds to import what it needs. Only tests of what a process alone
can show (a kill, other hash seeds, an import that must not happen) start one.
"""

from __future__ import annotations

import importlib
import io
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from xai_bench import cli

SMALL = {
    "data": "data=iris",
    "model": "model=linear",
    "explainer": "explainer=[random]",
    "metric": "metric=[entropy]",
    "recorder": "recorder=none",
    "evaluation.n_samples": "evaluation.n_samples=4",
    "report.figures": "report.figures=[]",
}


def small_run(*overrides: str) -> list[str]:
    """The arguments of a run of a second, with these overrides in place of its own."""
    keys = {override.lstrip("+~").partition("=")[0] for override in overrides}
    return ["run", *(text for key, text in SMALL.items() if key not in keys), *overrides]


@dataclass(frozen=True)
class Finished:
    """How a command ended.

    Attributes:
        code: the exit code.
        text: what it wrote, to both streams.
    """

    code: int
    text: str


def run(folder: Path, *arguments: str) -> Finished:
    """`xai-bench` with these arguments, started in a folder."""
    text = io.StringIO()
    with in_folder(folder), redirect_stdout(text), redirect_stderr(text):
        code = exit_code(arguments)
    return Finished(code, text.getvalue())


def succeed(folder: Path, *arguments: str) -> str:
    """What the command wrote; that it did not end with exit code 0 fails the test."""
    finished = run(folder, *arguments)
    assert finished.code == 0, finished.text
    return finished.text


def exit_code(arguments: Sequence[str]) -> int:
    """The exit code of `xai-bench` with these arguments, in this process."""
    try:
        cli.main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    """As in a process of its own that is started in a folder: its packages, Hydra, logging."""
    root, argv, path, modules = logging.getLogger(), sys.argv, list(sys.path), set(sys.modules)
    handlers, level = list(root.handlers), root.level
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        try:
            yield
        finally:
            _forget_hydra()
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers[:], root.level, sys.argv, sys.path[:] = handlers, level, argv, path
            for name in set(sys.modules) - modules:
                if str(folder) in str(getattr(sys.modules[name], "__file__", "") or ""):
                    del sys.modules[name]


def _forget_hydra() -> None:
    """Hydra keeps its last configuration for the whole process."""
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
