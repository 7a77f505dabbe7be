"""YAML files of a user that cannot be composed: endless, in no UTF-8, or without settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from textwrap import shorten

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from xai_bench.runner.config.catalogue import GROUPS
from xai_bench.runner.config.messages import UsageError

MOST = 100_000
"""Values of one file: our largest has hundreds."""

_SECTIONS = ("evaluation", "report", "tuning", "recorder")
"""Sections of a configuration beside the groups."""


def check_size(folders: Sequence[Path]) -> None:
    """Raise `UsageError` for a file that a few lines of anchors make endless to compose."""
    for folder in folders:
        for path in sorted(folder.glob("**/*.yaml")):
            if _n_values(path) > MOST:
                raise UsageError(
                    f"{path}: its anchors unfold to more than {MOST:,} values; write what is used"
                )


def not_utf8(folders: Sequence[Path]) -> list[Path]:
    """The files that are in another encoding."""
    return [path for folder in folders for path in sorted(folder.glob("**/*.yaml")) if _odd(path)]


def without_settings(folders: Sequence[Path], names: Collection[str]) -> str:
    """A sentence on the first chosen file, or section of one, that is no settings; else nothing."""
    paths = [path for folder in folders for path in sorted(folder.glob("**/*.yaml"))]
    for path in (path for path in paths if path.stem in names):
        content = _content(path)
        if not isinstance(content, (Mapping, str, type(None))):
            return f"{path} holds {_shown(content)}, not settings: write lines of KEY: VALUE"
        sections = content.items() if isinstance(content, Mapping) else ()
        for key, value in sections:
            if key in (*GROUPS, "hydra", *_SECTIONS) and not isinstance(value, Mapping):
                return f"{path}: {key} is {_shown(value)}, not settings: {_instead(key)}"
    return ""


def _instead(key: str) -> str:
    if key in GROUPS:
        return f"choose options in its defaults list, as `- override /{key}: ...`"
    return "write them below it, or leave it out"


def _shown(value: object) -> str:
    return shorten("null" if value is None else str(value), 60, placeholder=" ...")


def _content(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, OSError, ValueError, RecursionError):
        return None  # answered elsewhere


def _odd(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):
        return True
    return False


def _n_values(path: Path) -> int:
    """Values with every alias written out; 0 of what is no YAML, which is answered elsewhere."""
    try:
        content = path.read_bytes()
        # Reading YAML takes long, and hardly any file has an anchor.
        root = yaml.compose(content, yaml.SafeLoader) if b"&" in content else None
        return 0 if root is None else _unfolded(root, {})
    except (yaml.YAMLError, OSError, ValueError, RecursionError):
        return 0


def _unfolded(node: Node, sizes: dict[int, int]) -> int:
    """The values in a node; each is counted once, so that aliases cost no time."""
    if isinstance(node, ScalarNode):
        return 1
    if id(node) not in sizes:
        sizes[id(node)] = MOST + 1  # of a node that holds itself
        inside: list[Node] = []
        if isinstance(node, SequenceNode):
            inside = list(node.value)
        elif isinstance(node, MappingNode):
            inside = [part for pair in node.value for part in pair]
        sizes[id(node)] = 1 + sum(_unfolded(part, sizes) for part in inside)
    return sizes[id(node)]
