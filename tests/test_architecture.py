"""Who may import whom. Read from the source, so that nothing has to run."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import source
from tests.support.paths import PACKAGE
from tests.support.source import FILES

ROOMS: dict[str, set[str]] = {
    "types": set(),
    "core": {"types"},
    "explainers": {"types", "core"},
    "metrics": {"types", "core"},
    "data": {"types", "core"},
    "models": {"types", "core", "data"},
    "results": {"types", "core"},
    "evaluation": {"types", "core", "results"},
    "runner": {"types", "core", "data", "models", "explainers", "evaluation", "results"},
    "certify": {"types", "core", "models", "evaluation", "runner"},
    "adapters": {"types", "core", "data", "models", "results"},
}
"""Room -> what it may import besides itself. The two doors, `api` and `cli`, see every room."""

RUNNER = ["config", "finished", "sweeps", "cells", "commands"]
"""The folders of `runner/`: each imports those before it."""

DOORS = {"__init__", "__main__", "api", "cli"}

LIBRARIES = {
    "hydra": ("runner/",),
    "omegaconf": ("runner/", "certify/"),
    "rich": ("runner/", "results/report/", "cli.py"),
    "mlflow": ("results/tracking/mlflow.py", "results/tracking/shown_runs.py"),
    "captum": ("explainers/wrapped/captum_library.py",),
    "shap": ("explainers/wrapped/shap_library.py",),
    "lime": ("explainers/wrapped/lime_library.py",),
    "dice_ml": ("explainers/wrapped/dice.py",),
    "optuna": ("runner/cells/tuning.py",),
    "transformers": ("data/text/hf_tokenizer.py", "models/transformers/hf.py"),
    "datasets": ("data/text/hf_data.py",),
    "xgboost": ("models/libraries/xgboost.py",),
    "lightgbm": ("models/libraries/lightgbm.py",),
    "catboost": ("models/libraries/catboost.py",),
    "onnxruntime": ("models/libraries/onnx.py",),
}
"""Library -> the only places that may import it."""

EXTRAS = (
    "captum", "shap", "lime", "dice_ml", "optuna", "transformers", "datasets", "xgboost",
    "lightgbm", "catboost", "onnxruntime",
)  # fmt: skip
"""Libraries that are installed by choice, so they are imported when they are asked for."""


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def imports(path: Path, *, top_only: bool = False) -> set[str]:
    """Full names of what a file imports; without type-only imports."""
    nodes = source.tree(path).body if top_only else source.statements(path)
    skipped = {
        inner
        for node in source.statements(path)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in nodes:
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("xai_bench.")}


def id_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_every_folder_has_its_row() -> None:
    assert {room(path) for path in FILES} == {*ROOMS, *DOORS}


def test_every_room_has_its_row_in_the_documentation() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE) == list(ROOMS)


@pytest.mark.slow
def test_imports_go_one_way() -> None:
    rooms = {path: room(path) for path in FILES if room(path) not in DOORS}
    against = {id_of(path): ours(path) - {own} - ROOMS[own] for path, own in rooms.items()}
    assert {name: others for name, others in against.items() if others} == {}


def test_imports_go_one_way_within_the_runner() -> None:
    for path in (PACKAGE / "runner").glob("*/*.py"):
        names = [name.split(".") for name in imports(path) if name.startswith("xai_bench.runner.")]
        allowed = RUNNER[: RUNNER.index(path.parent.name) + 1]
        assert {name[2] for name in names} & set(RUNNER) <= set(allowed), path


def test_a_library_is_imported_where_it_belongs() -> None:
    elsewhere = [
        f"{library} in {id_of(path)}"
        for path in FILES
        for library in {name.split(".")[0] for name in imports(path)} & set(LIBRARIES)
        if not id_of(path).startswith(LIBRARIES[library])
    ]
    assert elsewhere == []


def test_an_optional_library_is_imported_when_it_is_asked() -> None:
    at_once = [
        f"{library} in {file}"
        for library in EXTRAS
        for file in LIBRARIES[library]
        if library in {n.split(".")[0] for n in imports(PACKAGE / file, top_only=True)}
    ]
    assert at_once == []


def test_a_name_is_imported_from_where_it_is_defined() -> None:
    """No re-exports, but for the vocabulary and for what a run yields."""
    exporting = {"types", "results", "xai_bench"}
    files = [path for path in PACKAGE.rglob("__init__.py") if path.parent.name not in exporting]
    assert [id_of(path) for path in files if imports(path)] == []


@pytest.mark.parametrize("group", ["explainers", "metrics"])
def test_the_folder_of_a_component_is_its_category(group: str) -> None:
    """What other libraries explain lies in `wrapped`, under the category of its method."""
    folders = {path.stem for path in (PACKAGE / group).iterdir()} - {"wrapped", "probes"}
    for path in (PACKAGE / group).rglob("*.py"):
        folder = path.relative_to(PACKAGE / group).parts[0].removesuffix(".py")
        categories = set(re.findall(r'category: ClassVar\[str\] = "(.+)"', path.read_text()))
        assert categories <= (folders if folder == "wrapped" else {folder})


def test_the_loop_knows_neither_configuration_nor_files() -> None:
    tops = {name.split(".")[0] for name in imports(PACKAGE / "evaluation/loop.py")}
    assert not tops & {"hydra", "omegaconf", "mlflow", "pathlib", "os", "shutil", "yaml", "rich"}


def test_components_do_not_ask_for_the_modality() -> None:
    asking = [
        id_of(path)
        for path in FILES
        if room(path) in {"explainers", "metrics"}
        and {"modality", "Modality"} & set(names_in(path))
    ]
    assert asking == []


def names_in(path: Path) -> list[str]:
    """Every name and attribute that a module reads or writes."""
    nodes = source.nodes(path)
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    return names + [node.attr for node in nodes if isinstance(node, ast.Attribute)]


LIGHT = ["__init__", "__main__", "cli", "core/spelling"]
LIGHT += ["runner/config/messages", "runner/config/catalogue"]


@pytest.mark.parametrize("name", LIGHT)
def test_the_command_line_starts_light(name: str) -> None:
    tops = {n.split(".")[0] for n in imports(PACKAGE / f"{name}.py", top_only=True)}
    assert tops <= {*sys.stdlib_module_names, "xai_bench"}


@pytest.mark.slow
def test_a_run_imports_nothing_heavy_that_it_does_not_need() -> None:
    """`use_deterministic_algorithms` and weighted `autograd.grad` of torch do, which take seconds;
    so does scikit-learn, whose data are read without it.
    """
    code = (
        "import sys, torch; from xai_bench.core.system import determinism\n"
        "from xai_bench import workbench\n"
        "from xai_bench.data.tables.sklearn import SklearnTable\n"
        "from xai_bench.explainers.wrapped import common\n"
        "with determinism.canonical(), common.undisturbed(None): pass\n"
        "x = SklearnTable('iris').load().train.x\n"
        "workbench(torch.nn.Linear(4, 2), x[:2], background=x).explain('saliency')\n"
        "print({'torch._dynamo', 'sympy', 'sklearn', 'pandas', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    heavy = "torch numpy pandas sklearn mlflow matplotlib hydra rich yaml"
    code = f"import sys, xai_bench.cli; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
