"""What a page of documentation shows, taken out and run: files, and commands of a terminal.

A code block whose first line is a comment with a path, `# my_package/explainers.py`, is that file.
A block marked `sh` is a command per line.
"""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_PATH = re.compile(r"# ([\w/-]+\.\w+)\n")


def blocks(page: Path, language: str = "") -> list[str]:
    """The code blocks in one language, or those of none."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for spoken, text in found if spoken == language]


def files(page: Path) -> dict[str, str]:
    """Path -> content of every file that the page shows whole."""
    texts = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return {path[1]: text[path.end() :] for _, text in texts if (path := _PATH.match(text))}


def write(page: Path, folder: Path) -> list[Path]:
    """Write the files of a page into a folder."""
    written = []
    for name, text in files(page).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def commands(text: str) -> list[list[str]]:
    """The commands of a script or a code block, as argument lists; comments are left out."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run_tests(path: Path, folder: Path) -> int:
    """Call every test function of a module; how many there were."""
    name = ".".join(path.relative_to(folder).with_suffix("").parts)
    module = importlib.import_module(name)
    tests = [value for key, value in vars(module).items() if key.startswith("test_")]
    for test in tests:
        test()
    return len(tests)
