"""The source of the package as syntax trees, each file parsed once for all tests of the house."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from tests.support.paths import PACKAGE

FILES = sorted(PACKAGE.rglob("*.py"))


@functools.cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a file."""
    return tuple(ast.walk(tree(path)))
