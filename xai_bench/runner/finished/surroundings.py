"""All that results depend on besides what a command says, as one digest, without importing it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from xai_bench.runner.config.catalogue import conf_dir

_PACKAGE = Path(__file__).resolve().parents[2]
_READ = ("XAI_BENCH_",)
"""Variables of the environment that start like this are part of it."""


def digest(content: Mapping[str, Any]) -> str:
    """32 hex digits of a mapping of plain values."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def surroundings(own: Sequence[Path] = ()) -> str:
    """A digest of code, options, installed packages, Python, environment and current folder.

    `own` are the user's own folders of options.
    """
    return digest(
        {
            "code": _ours(),
            "options": [_of_tree(folder, ".yaml") for folder in own],
            "installed": _installed(sys.path),
            "python": sys.version,
            "environment": {k: v for k, v in os.environ.items() if k.startswith(_READ)},
            "folder": str(Path.cwd()),
        }
    )


def of_path(path: Path) -> str:
    """The digest of a file, or of the names and contents of all files in a folder."""
    return _of_tree(path, "") if path.is_dir() else of_file(path)


def of_file(path: Path) -> str:
    """The SHA-256 digest of a file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


@cache
def _ours() -> str:
    """A digest of this package and of the options that come with it."""
    return _of_tree(_PACKAGE, "") + _of_tree(conf_dir(), ".yaml")


def _of_tree(folder: Path, suffix: str) -> str:
    """A digest of the names and contents of all files with a suffix."""
    total = hashlib.sha256()
    for place, inner, names in os.walk(folder):
        # In place, because `os.walk` goes on with what is in it.
        inner[:] = sorted(name for name in inner if name != "__pycache__")
        for name in sorted(names):
            if name.endswith(suffix):
                file = Path(place, name)
                total.update(f"{file.relative_to(folder).as_posix()}\0".encode())
                total.update(of_file(file).encode())
    return total.hexdigest()


def _installed(folders: Sequence[str]) -> list[str]:
    """The names of all installed packages with their versions, as folders of metadata say them."""
    paths = [path for folder in folders if Path(folder).is_dir() for path in Path(folder).iterdir()]
    return sorted(path.name for path in paths if path.suffix in (".dist-info", ".egg-info"))
