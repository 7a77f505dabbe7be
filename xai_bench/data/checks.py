"""The sentences a user reads when a file or a name is not what it should be."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from xai_bench.core import spelling as spelling


def existing(path: str | Path) -> Path:
    """The path, or a sentence on what is missing and what lies beside it."""
    found = Path(path).expanduser()
    if found.exists():
        return found
    beside = [p.name for p in found.parent.iterdir()] if found.parent.is_dir() else []
    place = f"in {found.parent}" if beside else "and its folder does not exist either or is empty"
    raise ValueError(
        f"there is no file {found.name!r} {place}{near(found.name, beside)}; set its place in the "
        f"data node (data.path=... or data.folder=...)"
    )


def known(names: Iterable[str], options: Iterable[str], what: str) -> None:
    """Raise for the first of `names` that is not among `options`."""
    options = [str(option) for option in options]
    for name in names:
        if name not in options:
            raise ValueError(
                f"{what} {name!r} is not among the columns{near(name, options)}; "
                f"the columns are {_shortened(options)}"
            )


def near(name: str, options: Iterable[str]) -> str:
    """` (did you mean ...?)`, or nothing."""
    close = spelling.near(name, options, n=2)
    return f" (did you mean {' or '.join(repr(c) for c in close)}?)" if close else ""


def _shortened(options: list[str], limit: int = 12) -> str:
    more = f" and {len(options) - limit} more" if len(options) > limit else ""
    return ", ".join(options[:limit]) + more
