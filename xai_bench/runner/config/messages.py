"""One sentence for every mistake in a command line: what was found, expected, and to do."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from xai_bench.core.spelling import suggest


class UsageError(Exception):
    """A user's mistake in one sentence, shown without a traceback; exit code 2."""


def no_folder(place: Path) -> str:
    """Why a place is no folder, as a sentence that begins with it; empty where it is one."""
    try:
        if place.is_dir():
            may_read = os.access(place, os.R_OK | os.X_OK)
            return "" if may_read else f"{place} cannot be read; ask its owner, or copy it"
        if place.exists():
            return f"{place} is a file, not a folder"
        if place.is_symlink():
            return f"{place} is a link to a place that does not exist"
    except OSError as error:
        return f"{place} cannot be looked at ({error.strerror})"
    return "there is no such folder; `xai-bench run` makes one"


def reason(error: OSError | ValueError) -> str:
    """Why a path cannot be used, in a few words."""
    if isinstance(error, UnicodeError):
        return "its name is not UTF-8"
    return str(error.strerror if isinstance(error, OSError) else error)


def no_option(group: str, name: str, options: Iterable[str]) -> str:
    """A group has no such option."""
    return f"{group}={name}: there is no {group} '{name}'; {suggest(name, options)}"


def no_key(key: str, siblings: Iterable[str]) -> str:
    """There is no such setting; `siblings` are the keys beside it."""
    parent, _, last = key.rpartition(".")
    names = [sibling for sibling in siblings if not sibling.startswith("_")]
    if parent in names:
        return f"a file says '{key}: ...', with a dot: write '{parent}:' and below it '{last}: ...'"
    if parent and not names:
        return f"unknown setting '{key}': {parent} has no settings"
    return f"unknown setting '{key}': {f'under {parent}, ' if parent else ''}{suggest(last, names)}"


def not_selected(
    key: str, group: str, name: str, selected: Sequence[str], options: Collection[str]
) -> str:
    """A field of a component is set that is not part of the run."""
    if name not in options:
        return f"{key}: there is no {group} '{name}'; {suggest(name, options)}"
    choice = ",".join([*selected, name])
    return f"{key}: '{name}' is not part of this run; select it too: '{group}=[{choice}]'"


def not_understood(override: str) -> str:
    """An override with a syntax error."""
    return (
        f"{override!r} is not understood: write key=value, in quotes where it holds brackets, "
        "commas or spaces, e.g. 'explainer=[saliency,lime]', and in quotes of its own where a "
        "value among several holds letters outside ASCII or quotes"
    )


def no_names(overrides: Sequence[str], error: BaseException) -> str:
    """Something that Hydra cannot compose; `overrides` are those that may be to blame."""
    what = " and ".join(overrides) or "the configuration"
    return f"{what} cannot be composed ({one_line(error)}): choose by name, several as [a,b]"


def several_values(override: str, *, sets: Collection[str]) -> str:
    """Comma-separated values without a sweep; `sets` are the groups that take several at once."""
    key, _, values = override.partition("=")
    together = f", or write '{key}=[{values}]' to have them in one run" if key in sets else ""
    return f"{override} names several values: add -m to run them one after the other{together}"


def no_values(override: str) -> str:
    """An interval, of which only other sweepers than ours choose values."""
    return f"{override} is an interval: write the values to run, as in seed=0,1,2"


def twice(key: str, override: str) -> str:
    """`+` on something that exists."""
    return f"{override}: {key} is set already, so leave out the '+'"


def nothing_to_leave_out(key: str) -> str:
    """`~` on something that does not exist."""
    return f"~{key}: there is no '{key}' to leave out"


def no_utf8(paths: Sequence[object], error: UnicodeDecodeError) -> str:
    """A YAML file is in another encoding; `paths` are those that are."""
    which = ", ".join(map(str, paths)) or "a YAML file"
    byte = error.object[error.start]
    return f"{which}: byte {byte:#x} at {error.start} is not UTF-8; save it in UTF-8"


def one_line(error: BaseException) -> str:
    """The first paragraph of an error's text, on one line."""
    text = re.split(r"\n\s*(?:Config search path|full_key|object_type|See https)", str(error))[0]
    text = " ".join(text.split())
    for pattern, replacement in _PLAINER.items():
        text = re.sub(pattern, replacement, text)
    within = error.__cause__ or error.__context__
    return text or (one_line(within) if within else type(error).__name__)


_PLAINER = {
    r"^In '(.+?)': \w+ raised while composing config: ": r"\1: ",
    r"Merge error: \w+ is not a subclass of \w+\. value: (.*)": r"\1 stands where settings belong",
    r"Cannot merge DictConfig with ListConfig": (
        "settings stand where a list belongs, or a list where settings do"
    ),
}
"""Hydra's and OmegaConf's words -> ours."""
