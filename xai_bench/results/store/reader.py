"""Reading files that are as they were written; what is damaged is said once and read as absent."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from safetensors import safe_open
from torch import Tensor

from xai_bench.results.store import digests
from xai_bench.results.store.files import DAMAGED

T = TypeVar("T")
Identity = tuple[int, int, int]
"""Size, time and inode of a file, which change with it."""

_TRIES = 5
"""How often a file is compared with an index that another process keeps changing."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads stored files and remembers which ones it has compared with their digests.

    Attributes:
        checked: file -> size, time and inode when it was as it was written.
        indices: the folder that was read last, and its index, as it was when it was read.
        reported: what a warning was logged of.
        quiet: log nothing.
    """

    checked: dict[Path, Identity] = field(default_factory=dict)
    indices: dict[Path, tuple[Identity, digests.Digests | None]] = field(default_factory=dict)
    reported: set[Path] = field(default_factory=set)
    quiet: bool = False

    def intact(self, path: Path) -> bool:
        """Whether a file is there and as it was written.

        In a folder without an index, every file that is there counts as it is.
        """
        try:
            identity = _identity(path)
            if self.checked.get(path) == identity:
                return True
            problem = self._problem(path)
        except FileNotFoundError:
            # What the index lists has been there; of anything else, nobody says so.
            problem = "it is missing" if path.name in (self.listed(path.parent) or {}) else None
            if problem is None:
                return False
        except OSError as error:
            problem = error.strerror or str(error)
        if problem is None:
            self.checked[path] = identity
            return True
        self.damaged(path, problem)
        return False

    def _problem(self, path: Path) -> str | None:
        """Why a file is not what was written; None where it is, or where nobody listed anything.

        A writer changes the index before and after the file: where it did in between, we look
        again.
        """
        for _ in range(_TRIES):
            listed = self.listed(path.parent)
            if listed is None or digests.of_file(path) in listed.get(path.name, ()):
                return None
            if digests.read(path.parent) == listed:
                break
        return f"its digest is not the one in {digests.NAME}"

    def listed(self, folder: Path) -> digests.Digests | None:
        """The index of a folder, read once for all of its files that are asked for in a row."""
        try:
            identity = _identity(folder / digests.NAME)
        except (FileNotFoundError, NotADirectoryError):
            return None
        known = self.indices.get(folder)
        if known is None or known[0] != identity:
            known = identity, digests.read(folder)
            self.indices.clear()
            self.indices[folder] = known
        return known[1]

    def whole(self, folder: Path) -> bool:
        """Whether all that the index of a folder lists is there as it was written."""
        listed = self.listed(folder) or ()
        return not [name for name in listed if not self.intact(folder / name)]

    def damaged(self, path: Path, problem: object) -> None:
        """Log, once, that a file is read as absent, so that it is computed again."""
        if not self.quiet and path not in self.reported:
            self.reported.add(path)
            log.warning(
                "%s is damaged (%s); it counts as absent until the same command is run again",
                path,
                " ".join(str(problem).split()),
            )

    def decoded(self, path: Path, decode: Callable[[Path], T]) -> T | None:
        """What `decode` makes of a file; None where it is absent or damaged."""
        if not self.intact(path):
            return None
        try:
            return decode(path)
        except DAMAGED as error:
            self.damaged(path, error)
            return None

    def json(self, path: Path, kind: type[T]) -> T | None:
        """The content of a JSON file, a mapping or a list; None where it is absent or damaged."""

        def decode(path: Path) -> T:
            content = json.loads(path.read_bytes())
            if not isinstance(content, kind):
                raise ValueError(f"it holds {type(content).__name__}, not {kind.__name__}")
            return content

        return self.decoded(path, decode)

    def tensors(
        self, path: Path, wanted: Collection[str] | None = None
    ) -> dict[str, Tensor] | None:
        """The tensors of a safetensors file, all or the `wanted` ones; None where it has none."""

        def decode(path: Path) -> dict[str, Tensor]:
            with safe_open(path, "pt") as file:
                stored = [name for name in file.keys() if wanted is None or name in wanted]  # noqa: SIM118
                return {name: file.get_tensor(name) for name in stored}

        return self.decoded(path, decode)

    def names(self, path: Path) -> list[str]:
        """The names in the header of a safetensors file; none where it is absent or damaged."""

        def decode(path: Path) -> list[str]:
            with safe_open(path, "pt") as file:
                return [str(name) for name in json.loads(file.metadata()["names"])]

        return self.decoded(path, decode) or []


def _identity(path: Path) -> Identity:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
