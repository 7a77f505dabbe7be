"""Content addresses: what changes them, and what must not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from xai_bench import identity


def test_the_order_of_keys_does_not_count_but_every_value_does() -> None:
    assert identity.digest({"a": 1, "b": 2}) == identity.digest({"b": 2, "a": 1})
    assert identity.digest({"a": 1}) != identity.digest({"a": 2})


def test_a_raised_version_is_another_component() -> None:
    config = {"_target_": "xai_bench.explainers.controls.Random"}
    assert identity.component(config, 1) != identity.component(config, 2)


def test_a_users_own_module_counts_with_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine_for_identity.py").write_text("class A: ...\n")
    config = {"_target_": "mine_for_identity.A"}
    before = identity.component(config, 1)
    (tmp_path / "mine_for_identity.py").write_text("class A: pass\n")
    assert identity.component(config, 1) != before


def test_a_wrapper_counts_with_the_version_of_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"_target_": "xai_bench.explainers.shap_library.ShapKernel"}
    before = identity.component(config, 1)
    monkeypatch.setattr(identity, "installed", lambda name: f"{name} 99")
    assert identity.component(config, 1) != before
    ours = {"_target_": "xai_bench.explainers.shapley.KernelSHAP"}
    monkeypatch.undo()
    plain = identity.component(ours, 1)
    monkeypatch.setattr(identity, "installed", lambda name: f"{name} 99")
    assert identity.component(ours, 1) == plain


def test_every_module_that_a_number_passes_through_is_hashed() -> None:
    """Follow the imports of the numeric code: none may lead out of what `code_version` reads."""
    root = identity.PACKAGE
    hashed = [root / name for name in identity.NUMERIC_FILES]
    hashed += [path for name in identity.NUMERIC_FOLDERS for path in (root / name).rglob("*.py")]
    for path in hashed:
        for module in _imports(path):
            parts = module.split(".")
            inside = parts[1] in identity.NUMERIC_FOLDERS or f"{parts[1]}.py" in (
                *identity.NUMERIC_FILES,
                "names.py",
                "outcomes.py",
            )
            assert inside, f"{path.name} imports {module}, which code_version does not read"


def _imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "xai_bench":
            found += [f"xai_bench.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("xai_bench."):
            found.append(str(node.module))
    return found
