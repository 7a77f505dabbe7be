"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import functools
import re
import statistics

import pytest

from tests.support import source
from tests.support.paths import PACKAGE
from tests.support.source import FILES

SOURCES = {str(path.relative_to(PACKAGE)): path.read_text() for path in FILES}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def trees() -> dict[str, ast.Module]:
    """File -> its syntax tree."""
    return {name: source.tree(PACKAGE / name) for name in SOURCES}


@functools.cache
def functions() -> list[tuple[str, Function]]:
    return [
        (f"{name}:{node.name}", node)
        for name in SOURCES
        for node in source.nodes(PACKAGE / name)
        if isinstance(node, Function)
    ]


def length(node: Function) -> int:
    """Lines of a function, its docstring included."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.slow
def test_functions_are_short() -> None:
    lengths = sorted(length(node) for _, node in functions())
    assert statistics.median(lengths) <= 15
    assert lengths[int(0.9 * len(lengths))] <= 35


def test_files_are_short() -> None:
    assert {name for name, text in SOURCES.items() if text.count("\n") > 400} == set()


def test_functions_take_few_parameters() -> None:
    # Called by hand, most of their arguments optional.
    friendly = {"api.py:workbench"}
    crowded = [
        name
        for name, node in functions()
        if len([a for a in (*node.args.args, *node.args.kwonlyargs) if a.arg != "self"]) > 6
    ]
    assert set(crowded) <= friendly


def test_arguments_are_never_passed_through_unseen() -> None:
    """Exceptions: Hydra's callbacks (`**_`), modules, called as `module(x, **context)`, and the
    Python door, where the settings of components are keywords and become a mapping at once.
    """
    open_ended = [
        name
        for name, node in functions()
        if node.args.kwarg and node.args.kwarg.arg != "_" and node.name != "forward"
        if not (name.startswith("api.py:") and node.args.kwarg.arg == "settings")
    ]
    assert open_ended == []


def test_everything_is_typed() -> None:
    untyped = [name for name, node in functions() if node.returns is None]
    assert untyped == []


@pytest.mark.sample(3, others="slow")
@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        # One file seeds what other libraries draw from, and puts it back.
        (
            r"\bnp\.random\b|\bnumpy\.random\b(?! import .*Generator)",
            ("core/system/determinism.py",),
        ),
        (r"\btorch\.manual_seed\(", ()),
        (r"^\s*print\(", ()),
        (r"except:", ()),
        (r"except (Exception|BaseException)\b", ("evaluation/failures.py",)),
        (r"filterwarnings\(", ()),
    ],
)
def test_forbidden_words(pattern: str, allowed: tuple[str, ...]) -> None:
    found = [
        f"{name}: {line.strip()}"
        for name, text in SOURCES.items()
        if name not in allowed
        for line in text.splitlines()
        if re.search(pattern, line)
    ]
    assert found == []


def test_every_module_says_what_it_is() -> None:
    modules = {name: tree for name, tree in trees().items() if not name.endswith("__init__.py")}
    assert {name for name, tree in modules.items() if not ast.get_docstring(tree)} == set()


@pytest.mark.parametrize("room", ["explainers", "metrics"])
def test_a_base_is_mathematics_that_the_room_shares(room: str) -> None:
    """There is no framework to inherit from: docs/how-to adds every component without one."""
    allowed = {"ABC", "Protocol", "Generic", "nn.Module"}
    allowed |= {node.name for node in [*classes(f"{room}/"), *classes("core/")]}
    for node in classes(f"{room}/"):
        bases = {ast.unparse(base).partition("[")[0] for base in node.bases}
        assert bases <= allowed or node.name.startswith("_"), node.name


def classes(folder: str) -> list[ast.ClassDef]:
    inside = [tree for name, tree in trees().items() if name.startswith(folder)]
    return [node for tree in inside for node in tree.body if isinstance(node, ast.ClassDef)]
