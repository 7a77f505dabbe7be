"""YAML files of a user that cannot be composed: endless, in no UTF-8, or with a mark."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from xai_bench.runner.config.messages import UsageError

MOST = 100_000
"""Values of one file: our largest has hundreds."""


def check_size(folders: Sequence[Path]) -> None:
    """Raise `UsageError` for a file that a few lines of anchors make endless to compose."""
    for path in yaml_paths(folders):
        if _n_values(path) > MOST:
            raise UsageError(
                f"{path}: its anchors unfold to more than {MOST:,} values; write what is used"
            )


def not_utf8(folders: Sequence[Path]) -> list[Path]:
    """The files that are in another encoding."""
    return [path for path in yaml_paths(folders) if _odd(path)]


def check_marks(folders: Sequence[Path], names: Collection[str]) -> None:
    """Raise `UsageError` for a file of these names whose first line Hydra does not see."""
    for path in yaml_paths(folders):
        if path.stem in names and is_marked(path):
            raise UsageError(
                f"{path} begins with a byte order mark; save it in UTF-8 without one (in editors "
                "'UTF-8', not 'UTF-8 with BOM')"
            )


def is_marked(path: Path) -> bool:
    """Whether a file begins with a byte order mark, as some editors write it."""
    try:
        return path.read_bytes()[:3] == b"\xef\xbb\xbf"
    except OSError:
        return False


def yaml_paths(folders: Sequence[Path]) -> list[Path]:
    """The YAML files in these folders, at any depth."""
    return [path for folder in folders for path in sorted(folder.glob("**/*.yaml"))]


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
