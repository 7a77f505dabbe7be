"""Proves what changes a content address, and that every file that can change a number is hashed."""

from __future__ import annotations

import ast
import io
import shutil
import tokenize
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import source
from tests.support.paths import PACKAGE
from xai_bench.runner.cells import provenance


def test_the_address_depends_on_every_value_and_not_on_the_order_of_keys() -> None:
    assert provenance.digest({"a": 1, "b": 2}) == provenance.digest({"b": 2, "a": 1})
    assert provenance.digest({"a": 1}) != provenance.digest({"a": 2})


def test_a_raised_version_changes_the_address() -> None:
    config = {"_target_": "xai_bench.explainers.controls.Random"}
    assert provenance.component(config, 1) != provenance.component(config, 2)


def test_the_address_of_a_users_component_depends_on_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine_for_identity.py").write_text("class A: ...\n")
    config = {"_target_": "mine_for_identity.A"}
    before = provenance.component(config, 1)
    (tmp_path / "mine_for_identity.py").write_text("class A: pass\n")
    assert provenance.component(config, 1) != before


def test_the_address_of_a_wrapper_depends_on_the_version_of_its_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = {"_target_": "xai_bench.explainers.wrapped.shap_library.ShapKernel"}
    before = provenance.component(config, 1)
    monkeypatch.setattr(provenance, "installed", lambda name: f"{name} 99")
    assert provenance.component(config, 1) != before
    ours = {"_target_": "xai_bench.explainers.removal.shapley.KernelSHAP"}
    monkeypatch.undo()
    plain = provenance.component(ours, 1)
    monkeypatch.setattr(provenance, "installed", lambda name: f"{name} 99")
    assert provenance.component(ours, 1) == plain


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package that may be edited."""
    copy = tmp_path_factory.mktemp("tree") / "xai_bench"
    shutil.copytree(provenance.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def names(package: Path, paths: Iterable[Path]) -> set[str]:
    return {path.relative_to(package).as_posix() for path in paths}


@contextmanager
def constant_changed(path: Path) -> Iterator[None]:
    """Another value in the place of the first constant; a new constant where there is none."""
    before = path.read_text()
    path.write_text(_with_another_constant(before))
    yield
    path.write_text(before)


def _with_another_constant(text: str) -> str:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NUMBER:
            lines = text.splitlines(keepends=True)
            (row, start), (_, end) = token.start, token.end
            lines[row - 1] = f"{lines[row - 1][:start]}{token.string}1{lines[row - 1][end:]}"
            return "".join(lines)
    return text + "NEW = 1\n"


@pytest.mark.parametrize(
    "part",
    [pytest.param(i, marks=pytest.mark.exhaustive if i else pytest.mark.slow) for i in range(8)],
)
def test_a_constant_changed_in_any_hashed_file_changes_the_address(
    package: Path, part: int
) -> None:
    code_version = provenance.code_version.__wrapped__
    before = code_version(package)
    for path in provenance.sources(package)[part::8]:
        with constant_changed(path):
            assert code_version(package) != before, path
    assert code_version(package) == before


def test_every_file_is_hashed_unless_it_is_listed(package: Path) -> None:
    """So a new file counts by itself, and a list that names what is gone is a mistake."""
    everything = names(package, package.rglob("*.py"))
    left_out = everything - names(package, provenance.sources(package))
    assert all((package / name).exists() for name in provenance.WITHOUT_EFFECT)
    assert all(name.startswith(provenance.WITHOUT_EFFECT) for name in left_out)


@pytest.mark.slow
def test_numeric_rooms_import_no_file_that_is_not_hashed() -> None:
    """Else a number could pass through code that no address knows of."""
    hashed = provenance.sources(PACKAGE)
    left_out = {
        f"xai_bench.{name.removesuffix('.py').replace('/', '.')}"
        for name in provenance.WITHOUT_EFFECT
    }
    numeric = [path for path in hashed if path.parts[len(PACKAGE.parts)] in NUMERIC]
    assert len(numeric) > 100
    for path in numeric:
        for module in _imports(path):
            assert not any(f"{module}.".startswith(f"{one}.") for one in left_out), (path, module)


NUMERIC = {"types", "core", "data", "models", "explainers", "metrics", "evaluation"}
"""Rooms that only compute; above them, those who also show progress and write reports."""


def _imports(path: Path) -> list[str]:
    found = []
    for node in source.statements(path):
        if isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found
