"""What is wrong with a file of settings, where Hydra does not say it or not in which file."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException

from xai_bench.runner.config.catalogue import GROUPS, conf_dir, read_yaml
from xai_bench.runner.config.messages import one_line
from xai_bench.runner.config.yaml_files import yaml_paths

_LONGEST = 60
"""Letters of a value that a sentence shows."""


def mistake(folders: Sequence[Path], names: Collection[str]) -> str:
    """A sentence on the first file of these names, or chosen by one of them, that is no settings.

    Empty where there is none.
    """
    for path in _chosen(yaml_paths(folders), set(names)):
        content = _content(path)
        for look in (_of_tags, _of_header, _of_content, _of_defaults, _of_sections):
            if sentence := look(path, content):
                return f"{path}{sentence}"
    return ""


def _chosen(paths: Sequence[Path], names: set[str]) -> Iterator[Path]:
    """Files of these names, and of those that stand in their defaults lists."""
    chosen = [path for path in paths if path.stem in names]
    yield from chosen
    below = {name for path in chosen for name in _names(_defaults(_content(path)))}
    yield from (path for path in paths if path.stem in below - names)


def _names(entries: object) -> list[str]:
    if isinstance(entries, str):
        return [entries.rpartition("/")[2]]
    inside = entries.values() if isinstance(entries, Mapping) else entries
    is_list = isinstance(entries, (Mapping, list))
    return [name for entry in inside for name in _names(entry)] if is_list else []  # type: ignore[attr-defined]


def _of_header(path: Path, _: object) -> str:
    """Of the lines that say where the settings of a file belong."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError):
        return ""  # answered elsewhere
    for line in lines:
        if re.match(r"#\s*@package\b", line) and not re.fullmatch(r"#\s*@package\s+\S+\s*", line):
            return f": its line {line.strip()!r} names no package: write '# @package _global_'"
    return ""


def _of_content(_: Path, content: object) -> str:
    if isinstance(content, (Mapping, str, type(None))):
        return ""
    return f" holds {_shown(content)}, not settings: write lines of KEY: VALUE"


def _of_defaults(_: Path, content: object) -> str:
    """Of entries that are neither a name, nor a group with a name, with several, or with null."""
    entries = _defaults(content)
    if not isinstance(entries, list):
        return f": its defaults list is {_shown(entries)}, and no list: {_ENTRIES}"
    odd = [entry for entry in entries if not _is_entry(entry)]
    return f": {_shown(odd[0])} stands in its defaults list: {_ENTRIES}" if odd else ""


_ENTRIES = "write entries such as `- override /data: NAME` and `- override /explainer: [a, b]`"


def _defaults(content: object) -> object:
    return content.get("defaults", []) if isinstance(content, Mapping) else []


def _is_entry(entry: object) -> bool:
    if isinstance(entry, str):
        return bool(entry.strip()) and not entry.startswith("override ")
    if not isinstance(entry, Mapping) or len(entry) != 1:
        return False
    [(key, value)] = entry.items()
    names = value if isinstance(value, list) else [value]
    is_empty = value is None or value == []
    return bool(key) and isinstance(key, str) and (is_empty or _are_texts(names))


def _are_texts(names: Sequence[object]) -> bool:
    return all(isinstance(name, str) and name for name in names)


def _of_sections(path: Path, content: object) -> str:
    """Of values where settings or a list belongs, and of what is meant to stand for a value."""
    if not isinstance(content, Mapping) or not _holds_sections(path):
        return ""
    for key, value in content.items():
        if key in GROUPS and not isinstance(value, Mapping):
            return (
                f": {key} is {_shown(value)}, not settings: choose options in its defaults list, "
                f"as `- override /{key}: ...`"
            )
    ours = {**read_yaml(conf_dir() / "config.yaml"), **_HYDRA}
    return next(_misfits(content, ours, ""), "") or _of_interpolations(content)


def _holds_sections(path: Path) -> bool:
    """Whether the keys of a file are those of a whole configuration, not of one option."""
    text = path.read_text(encoding="utf-8", errors="replace")
    is_global = re.search(r"^#\s*@package\s+_global_", text, re.MULTILINE) is not None
    return is_global or path.parent.name not in GROUPS


def _misfits(given: Mapping[Any, Any], ours: Mapping[str, Any], above: str) -> Iterator[str]:
    """Of each value that is no mapping, or no list, where ours is one."""
    for key in (key for key in ours if key in given):
        value, expected, path = given[key], ours[key], f"{above}{key}"
        is_text = isinstance(value, str) and value.startswith("${")
        if isinstance(expected, Mapping) and isinstance(value, Mapping):
            yield from _misfits(value, expected, f"{path}.")
        elif isinstance(expected, Mapping):
            yield f": {path} is {_shown(value)}, not settings: write them below it, or leave it out"
        elif isinstance(expected, list) and not isinstance(value, list) and not is_text:
            yield f": {path} is {_shown(value)}, and no list: write {path.rpartition('.')[2]}: []"


_HYDRA: Mapping[str, Any] = {"hydra": {"run": {}, "sweep": {}, "sweeper": {"params": {}}}}
"""The sections under `hydra` that a configuration may set."""


def _of_interpolations(content: Mapping[Any, Any]) -> str:
    """Of a text that begins like an interpolation and is none."""
    try:
        OmegaConf.create(dict(content))
    except GrammarParseError as error:
        return f": {error.full_key}: {one_line(error)}: write ${{NAME}} for the value of a setting"
    except OmegaConfBaseException:
        return ""  # answered elsewhere
    return ""


def _shown(value: object) -> str:
    text = "null" if value is None else " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _content(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, OSError, RecursionError, *_TAGGED):
        return None  # answered elsewhere


_TAGGED = (ValueError, AttributeError, LookupError, TypeError)
"""What PyYAML raises where a value is not what its tag says, as in `!!timestamp x`."""


def _of_tags(path: Path, _: object) -> str:
    try:
        yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError):
        return ""  # answered elsewhere
    except _TAGGED:
        return ": a value is not what its tag (!!int, !!timestamp or another) says: leave tags out"
    return ""
