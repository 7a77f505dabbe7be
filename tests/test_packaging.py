"""What is installed is what was meant: metadata, pins, and the files that make and CI rely on."""

from __future__ import annotations

import os
import re
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT
from xai_bench.runner.config.catalogue import conf_dir

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "#"]


def requirements() -> list[Requirement]:
    extras = [r for group in PROJECT["optional-dependencies"].values() for r in group]
    return [Requirement(line) for line in (*PROJECT["dependencies"], *extras)]


def test_every_pin_is_exact_and_names_no_machine() -> None:
    for pin in PINS:
        assert re.fullmatch(r"[\w.-]+==[\w.!]+", pin), pin


def test_every_dependency_is_pinned_within_its_range() -> None:
    pins = {canonicalize_name(name): v for name, _, v in (pin.partition("==") for pin in PINS)}
    for requirement in requirements():
        pin = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin), requirement


def test_the_installed_package_is_this_one() -> None:
    assert version("xai-bench") == PROJECT["version"]


def test_conf_is_found_beside_the_package_or_in_it() -> None:
    assert conf_dir().is_absolute()
    assert (conf_dir() / "config.yaml").is_file()


def test_ci_can_be_started() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert (ROOT / ".ci" / "run").read_text().startswith("#!")


@pytest.mark.parametrize("target", ["test-fast", "test", "test-all"])
def test_each_way_of_testing_leaves_out_what_it_says(target: str) -> None:
    text = (ROOT / "Makefile").read_text()
    command = re.search(rf"^{target}:.*\n\t(.*)", text, re.MULTILINE)
    assert command is not None
    left_out = set(re.findall(r"not (\w+)", command[1]))
    more = {"test-fast": {"slow", "exhaustive"}, "test": {"exhaustive"}, "test-all": set()}
    assert left_out == {"gpu", "network"} | more[target]


def test_ci_runs_every_test() -> None:
    assert "make test-all\n" in (ROOT / ".ci" / "run").read_text()


def test_nothing_that_is_shared_names_a_machine() -> None:
    """Nor a registry: the user's own settings may be handed on, an address is not written here."""
    shared = ["Makefile", ".ci/run", "constraints.txt", "pyproject.toml", ".pre-commit-config.yaml"]
    for name in shared:
        text = (ROOT / name).read_text()
        assert not re.search(r"/(home|root|work|opt|Users)/|https?://", text), name
        assert not re.search(r"(index-url|find-links)[ =]+[\"']?[^\s\"'$]", text), name


@pytest.mark.slow
def test_the_wheel_holds_code_and_configuration(tmp_path: Path) -> None:
    """Built in this process: no network and no isolated environment."""
    hatchling = pytest.importorskip("hatchling.builders.wheel")
    (built,) = hatchling.WheelBuilder(str(ROOT)).build(directory=str(tmp_path))
    names = set(zipfile.ZipFile(built).namelist())
    for path in (*(ROOT / "xai_bench").rglob("*.py"), *(ROOT / "conf").rglob("*.yaml")):
        inside = path.relative_to(ROOT)
        assert str(inside if inside.parts[0] != "conf" else "xai_bench" / inside) in names
    assert "xai_bench/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "results/"))]
