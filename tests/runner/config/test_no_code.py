"""No configuration runs code: every way in is tried with a file that would be made."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import small_run
from xai_bench import cli
from xai_bench.runner import components
from xai_bench.runner.cells import job
from xai_bench.runner.commands import exit_summary

pytestmark = pytest.mark.slow  # whole commands, or a whole folder of results

MARK = "executed"
TOUCH = f"{{_target_: pathlib.Path.touch, _args_: [{{_target_: pathlib.Path, _args_: [{MARK}]}}]}}"
SYSTEM = f"{{_target_: os.system, command: touch {MARK}}}"
MODULE = f"from pathlib import Path\nPath('{MARK}').touch()\n"

OUTSIDE = "lies outside xai_bench; if you trust it, add 'allow=["
NO_COMPONENT = "is no component"
BY_NAME = "a component takes its fields by name"
OF_HYDRA = "cannot be set: of hydra, a configuration may set mode"

OVERRIDES: dict[str, tuple[str, list[str]]] = {
    "a foreign function": (
        OUTSIDE,
        ["+explainer.x._target_=os.system", f"+explainer.x.command=touch {MARK}"],
    ),
    "a function of ours": (
        NO_COMPONENT,
        [
            "recorder._target_=xai_bench.runner.commands.ui.start",
            f"+recorder.command=[touch,{MARK}]",
            "+recorder.environment={}",
        ],
    ),
    "a public function of ours": (
        NO_COMPONENT,
        ["recorder._target_=xai_bench.cli.main", "+recorder.arguments=[--version]"],
    ),
    "a function beside components of ours": (
        NO_COMPONENT,
        ["model._target_=xai_bench.models.fitting.cache.trained"],
    ),
    "a method of a class of ours": (
        "there is no module",
        ["model._target_=xai_bench.models.networks.MLP.train"],
    ),
    "a class of ours that is no component": (
        NO_COMPONENT,
        ["recorder._target_=xai_bench.results.store.store.Store", f"+recorder.root={MARK}"],
    ),
    "a name that a module of ours imports": (
        NO_COMPONENT,
        ["model._target_=xai_bench.models.checkpoint.Path", f"+model.args={MARK}"],
    ),
    "a component of another group": (
        "NoRecorder has no 'load', so it is no data",
        ["data._target_=xai_bench.results.tracking.recorder.NoRecorder"],
    ),
    "a module that runs when it is imported": (
        NO_COMPONENT,
        ["recorder._target_=xai_bench.__main__.main"],
    ),
    "positional arguments": (BY_NAME, [f"+explainer.random._args_=[{TOUCH}]"]),
    "a partial": (BY_NAME, ["+explainer.random._partial_=true"]),
    "a node in a list": ("is not a list", ["model=mlp", f"model.hidden=[{SYSTEM}]"]),
    "a node in the place of a component": (
        OUTSIDE,
        ["model=mlp", "model.training._target_=os.system", f"+model.training.command=touch {MARK}"],
    ),
    "a node deep in a mapping": (
        OUTSIDE,
        [
            "model=checkpoint",
            "model.factory=xai_bench.api:workbench",
            "model.weights=x.pt",
            f"model.kwargs={{a: [{{b: {SYSTEM}}}]}}",
        ],
    ),
    "a callback": ("hydra.callbacks.x", [f"+hydra.callbacks.x={SYSTEM}"]),
    "our callback replaced": (
        "hydra.callbacks.ending",
        ["hydra.callbacks.ending._target_=os.system"],
    ),
    "a log handler": (
        "hydra.job_logging.handlers.x",
        ["+hydra.job_logging.handlers.x={'()': os.system, command: touch executed}"],
    ),
    "a log handler by class": (
        "hydra.job_logging.handlers.console.class",
        ["hydra.job_logging.handlers.console.class=os.system"],
    ),
    "a log file elsewhere": (
        "hydra.job_logging.handlers.file.filename",
        [f"hydra.job_logging.handlers.file.filename={MARK}"],
    ),
    "Hydra's own log": (
        "hydra.hydra_logging.handlers.x",
        ["+hydra.hydra_logging.handlers.x={'()': os.system, command: touch x}"],
    ),
    "a launcher": (
        "hydra.launcher._target_",
        ["hydra.launcher._target_=os.system", f"+hydra.launcher.command=touch {MARK}"],
    ),
    "a sweeper": (
        "hydra.sweeper._target_",
        ["-m", "hydra.sweeper._target_=os.system", f"+hydra.sweeper.command=touch {MARK}"],
    ),
    "a sweep of hydra": ("hydra.callbacks.x", ["-m", f"+hydra.callbacks.x={{}},{SYSTEM}"]),
    "a variable of the environment": ("hydra.job.env_set", ["+hydra.job.env_set={PATH: .}"]),
    "a package to search": (OUTSIDE, ["hydra.searchpath=[pkg://evil]"]),
    "a package to search by interpolation": (
        "is no folder",
        ["hydra.searchpath=['${oc.decode:pkg://evil}']"],
    ),
    "a factory in the current folder": (
        OUTSIDE,
        ["model=checkpoint", "model.factory=evil:build", "model.weights=x.pt"],
    ),
    "a class in the current folder": (OUTSIDE, ["+explainer.x._target_=evil.build"]),
    "a pickle": (
        "add 'allow=[pickle]'",
        ["model=sklearn", "model.path=model.pkl", "model.allow_pickle_to_run_code=true"],
    ),
    "trust in a package": (
        OUTSIDE,
        ["model=sklearn", "model.path=model.skops", "model.trust=[os.system]"],
    ),
}

FILES: dict[str, tuple[str, str]] = {
    "allow in a file": (
        "no file can trust itself",
        "allow: [os]\nexplainer: {x: {_target_: os.system, command: touch x}}",
    ),
    "allow in the sweep of a file": (
        "no file can trust itself",
        "hydra: {mode: MULTIRUN, sweeper: {params: {allow: '[os],[os,sys]'}}}\n"
        "explainer: {x: {_target_: os.system, command: touch x}}",
    ),
    "allow in a file, as a text": (
        "is not a list of packages",
        "allow: os\nexplainer: {x: {_target_: o.system}}",
    ),
    "allow in a file, as a mapping": (
        "allow is {'os': 1}, and no list: write allow: []",
        "allow: {os: 1}\nexplainer: {x: {_target_: os.system, command: touch x}}",
    ),
    "allow in a file, by interpolation": (
        "is not a list of packages",
        "allow: ['${oc.decode:os}']\nexplainer: {x: {_target_: os.system, command: touch x}}",
    ),
    "a callback in a file": ("hydra.callbacks.x", f"hydra: {{callbacks: {{x: {SYSTEM}}}}}"),
    "a log formatter in a file": (
        "hydra.job_logging.formatters.simple",
        "hydra: {job_logging: {formatters: {simple: {'()': os.system}}}}",
    ),
    "a node in a file": (OUTSIDE, f"data: {{data: {SYSTEM}, name: {SYSTEM}}}"),
    "a node made by a resolver": (
        OUTSIDE,
        "model: {kwargs: '${oc.create:\"{_target_: os.system, command: touch executed}\"}'}",
    ),
    "Python in a file": (
        "a YAML file cannot be read",
        f"seed: !!python/object/apply:os.system ['touch {MARK}']",
    ),
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(sys, "argv", ["xai-bench"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


def attempt(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code, and what was written to standard error."""
    with pytest.raises(SystemExit) as stop:
        cli.main(small_run(*arguments))
    return int(stop.value.code or 0), capsys.readouterr().err


def refused(sentence: str, code: int, error: str) -> None:
    """That sentence, without a traceback, and nothing made."""
    assert sentence in error
    assert code == 2
    assert "Traceback" not in error
    assert all(line.startswith("xai-bench: ") for line in error.splitlines())
    assert not list(Path().rglob(MARK))
    assert not Path("results").exists()


@pytest.mark.sample(5)
@pytest.mark.parametrize(("sentence", "overrides"), OVERRIDES.values(), ids=OVERRIDES)
def test_no_override_runs_code(
    sentence: str, overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("evil.py").write_text(MODULE)
    refused(sentence, *attempt(overrides, capsys))


@pytest.mark.sample(4)
@pytest.mark.parametrize(("sentence", "text"), FILES.values(), ids=FILES)
def test_no_file_runs_code(sentence: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("own", "experiment")
    folder.mkdir(parents=True)
    (folder / "evil.yaml").write_text(f"# @package _global_\n{text}\n")
    refused(sentence, *attempt(["--config-dir", "own", "experiment=evil"], capsys))


def test_nothing_else_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else all of the above could be answered by one mistake of ours."""
    monkeypatch.setattr(job, "job", lambda cfg: "ok")
    monkeypatch.setattr(exit_summary, "finish", lambda *_: 0)
    free = ["-m", "seed=0,1", "hydra.sweep.dir=elsewhere", "hydra.verbose=false"]
    assert attempt(free, capsys) == (0, "")


def test_a_plugin_of_hydra_in_the_current_folder_is_not_imported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("hydra_plugins").mkdir()
    Path("hydra_plugins", "evil.py").write_text(MODULE)
    attempt(["explainer=[nothing]"], capsys)
    assert not Path(MARK).exists()


def test_what_is_allowed_is_built_by_name_alone(tmp_path: Path) -> None:
    Path("mine_to_build.py").write_text("def make(n): return [n]\n")
    node = {"_target_": "mine_to_build.make", "n": {"_target_": "mine_to_build.make", "n": 3}}
    assert components.build(node, ["mine_to_build"]) == [[3]]
    with pytest.raises(ImportError, match="lies outside"):
        components.build(node, ["mine"])
    with pytest.raises(ValueError, match="takes its fields by name"):
        components.build({**node, "_args_": [3]}, ["mine_to_build"])


@pytest.mark.parametrize(
    "target", [None, 3, "", "x", "a..b", "os.system ", "a.b:c", "xai_bench", "xai_bench.cli.main"]
)
def test_what_is_no_path_of_a_component_is_refused(target: object) -> None:
    with pytest.raises((ValueError, ImportError)):
        components.build({"_target_": target}, [])
