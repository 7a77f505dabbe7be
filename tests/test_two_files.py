"""One class and one YAML add a component: in a copy of the tree, and without any other edit."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import pages
from tests.support.paths import ROOT

HOW_TO = ROOT / "docs" / "how-to"
PAGES = sorted(path for path in HOW_TO.glob("*.md") if path.stem != "README")
COPIED = ("xai_bench", "conf", "tests", "experiments", "docs", "examples")

READS_THE_FOLDERS = re.compile(r"\b(CONF|conf_dir|PACKAGE|options\(|entries\()")
"""What a test module mentions that finds components by looking."""

WHOLE_TREE = (
    "test_architecture.py", "test_certificate.py", "test_configs.py", "test_promises.py",
    "test_style.py", "test_tuning.py",
)  # fmt: skip
"""Modules whose tests without a parameter look at all components, or at all files, at once."""

CONCERNED = """
def pytest_collection_modifyitems(config, items):
    names = {names!r}
    def concerned(item):
        named = any(name in item.name for name in names)
        slow = {{"slow", "exhaustive"}} & {{mark.name for mark in item.iter_markers()}}
        whole = "[" not in item.name and item.path.name in {modules!r}
        return named or (whole and not slow)
    config.hook.pytest_deselected(items=[item for item in items if not concerned(item)])
    items[:] = [item for item in items if concerned(item)]
"""


def copied(folder: Path) -> Path:
    """The tree as it would be cloned, without what was built or computed in it."""
    left_out = shutil.ignore_patterns("__pycache__", "*.png")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    for path in ROOT.glob("*.*"):
        if path.is_file():
            shutil.copy(path, folder)
    for name in ("Makefile", ".ci/run"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def add(page: Path, tree: Path) -> str:
    """Put class and YAML of a page where it says that they go; the name of the option."""
    says = r"The class goes to\s+(?:a file of its own in\s+)?`(xai_bench/[\w/.]+)`"
    place = re.search(says, page.read_text(encoding="utf-8"))
    assert place is not None, page
    room = tree / place[1]
    module = (room.parent if room.suffix else room) / f"added_{page.stem}.py"
    shown = pages.files(page)
    [code] = [name for name in shown if name.endswith(".py") and "/test_" not in name]
    [yaml] = [name for name in shown if name.endswith(".yaml")]
    module.write_text(shown[code], encoding="utf-8")
    old, new = (".".join(Path(p).with_suffix("").parts) for p in (code, module.relative_to(tree)))
    option = tree / yaml.replace("my_conf", "conf")
    option.write_text(shown[yaml].replace(old, new), encoding="utf-8")
    return option.stem


def run_concerned(tree: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    """The tests that find components by looking: those of `names`, and fast ones of all at once."""
    plugin = CONCERNED.format(names=names, modules=WHOLE_TREE)
    (tree.parent / "concerned.py").write_text(plugin, encoding="utf-8")
    modules = [
        str(path.relative_to(tree))
        for path in sorted((tree / "tests").rglob("test_*.py"))
        if READS_THE_FOLDERS.search(path.read_text(encoding="utf-8"))
    ]
    options = ["-v", "-p", "no:cacheprovider", "-p", "concerned"]
    here = ["-m", "not gpu and not network"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *here, *modules],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), str(tree.parent)])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.exhaustive
def test_two_files_are_enough_for_everything_that_can_be_added(tmp_path: Path) -> None:
    """In a copy: all tests that concern them pass, each has one, no other file was edited."""
    tree = copied(tmp_path / "tree")
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    added = [add(page, tree) for page in PAGES]
    done = run_concerned(tree, added)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.findall(r"^tests\S+ PASSED", done.stdout, re.MULTILINE)
    assert [name for name in added if not any(name in line for line in passed)] == []
    assert any("test_style.py::test_every_module_says_what_it_is" in line for line in passed)
    assert all(path.read_bytes() == content for path, content in before.items())
