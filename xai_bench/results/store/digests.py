"""SHA-256 digests of a folder's files, in its index `SHA256SUMS`, which `sha256sum -c` reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

NAME = "SHA256SUMS"

Digests = Mapping[str, frozenset[str]]
"""File name -> the digests that its content may have: two while it is being replaced."""

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def of(content: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def of_file(path: Path) -> str:
    """The digest of a file, which is never in memory as a whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(folder: Path) -> Digests | None:
    """What the folder's index lists; None where it has none. A damaged line lists nothing."""
    try:
        text = (folder / NAME).read_bytes().decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    listed: dict[str, set[str]] = {}
    for line in filter(None, map(_LINE.fullmatch, text.splitlines())):
        listed.setdefault(line[2], set()).add(line[1])
    return {name: frozenset(of_name) for name, of_name in listed.items()}


def dumps(listed: Digests) -> bytes:
    """The index as bytes, in the order of names."""
    lines = [f"{digest}  {name}\n" for name in sorted(listed) for digest in sorted(listed[name])]
    return "".join(lines).encode()


def of_folder(folder: Path) -> Digests:
    """The digests of the files that lie in a folder itself, as they are."""
    return _of_files(folder, folder.glob("*"))


def of_tree(folder: Path) -> Digests:
    """The digests of the files in a folder and in all below it, as they are."""
    return _of_files(folder, folder.rglob("*"))


def _of_files(folder: Path, paths: Iterable[Path]) -> Digests:
    files = [path for path in paths if path.is_file() and _is_content(path.name)]
    return {path.relative_to(folder).as_posix(): frozenset({of_file(path)}) for path in files}


def _is_content(name: str) -> bool:
    """Whether a file is neither the index, nor a lock, nor the draft of another file."""
    return name != NAME and not name.startswith(".") and not name.endswith(".lock")
