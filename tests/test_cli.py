"""Proves the command line: lists, help, mistakes, runs and their exit codes."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from xai_bench import cli
from xai_bench.runner.cells import job
from xai_bench.runner.commands import exit_summary
from xai_bench.runner.commands.ui import free_port
from xai_bench.runner.config.catalogue import GROUPS, components, conf_dir, options

SMALL = ["explainer=random", "metric=entropy", "recorder=none", "model=linear"]


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Hydra reads `sys.argv` and configures logging; runs write to the current folder."""
    monkeypatch.setattr(sys, "argv", ["xai-bench"])
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


class Invoke:
    """What a command wrote and how it ended."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        try:
            cli.main(arguments)
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *self.capsys.readouterr()


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str]) -> Invoke:
    return Invoke(capsys)


# Mistakes: one sentence, exit code 2, no traceback


def own_folder(folder: Path) -> Path:
    """A user's conf folder in which everything is wrong."""
    gradient = "xai_bench.explainers.gradient.methods"
    integrated = "xai_bench.explainers.gradient.integrated.IntegratedGradients"
    files = {
        "explainer/bad_class.yaml": f"bad_class: {{_target_: {gradient}.Salienc}}",
        "explainer/bad_module.yaml": "bad_module: {_target_: xai_bench.explainer.gradient.X}",
        "explainer/bad_argument.yaml": f"bad_argument: {{_target_: {gradient}.Saliency, n: 3}}",
        "explainer/bad_package.yaml": "bad_package: {_target_: no_such_package.X}",
        "explainer/outside.yaml": "outside: {_target_: os.system, command: ls}",
        "explainer/dangling.yaml": "dangling: {_target_: a.B, baseline: '${baselin.explain}'}",
        "explainer/missing.yaml": f"missing: {{_target_: {gradient}.Saliency, baseline: '???'}}",
        "explainer/empty.yaml": f"empty: {{_target_: {integrated}}}",
        "explainer/broken.yaml": "broken: [1\n a: b: c",
        "explainer/set_with_typo.yaml": "defaults: [salency]",
        "experiment/sweep.yaml": (
            "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {data: 'iris,win'}}}"
        ),
        "experiment/typo.yaml": "# @package _global_\nseeed: 3",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


@pytest.mark.sample(6)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["explainer=salency"],
            "there is no explainer 'salency'; did you mean saliency or captum_saliency?",
        ),
        (["data=digts"], "there is no data 'digts'; did you mean digits"),
        (
            ["-m", "explainer=random,limee"],
            "there is no explainer 'limee'; did you mean lime or lime_text or lime_image?",
        ),
        (["baseline@baseline.explain=zro"], "there is no baseline 'zro'; did you mean zero?"),
        (["baseline=zero"], "there are two baselines: write baseline@baseline.explain="),
        (["baseline.explain=mean"], "write baseline@baseline.explain=NAME"),
        (["explainer=a b"], "there is no explainer 'a b'"),
        (["evaluation.n_sample=3"], "under evaluation, did you mean n_samples?"),
        (["datset=wine"], "unknown setting 'datset': did you mean data?"),
        (["+nonsense=3"], "unknown setting 'nonsense'"),
        (["+seed=3"], "seed is set already, so leave out the '+'"),
        (["~nothing"], "there is no 'nothing' to leave out"),
        (["experiment=typo"], "unknown setting 'seeed': did you mean seed?"),
        (["seed=[1"], "'seed=[1' is not understood: write key=value"),
        (["nonsense"], "'nonsense' is not understood: write key=value"),
        (["seed=1,2"], "names several values: add -m"),
        (["explainer=saliency,lime"], "or write 'explainer=[saliency,lime]'"),
        (["explainer=null"], "explainer=null chooses nothing"),
        (["explainer=[]"], "no explainer is chosen"),
        (["+explainer.foo.n=3"], "explainer.foo has no _target_"),
        (["explainer.lime.budget=3"], "select it too: 'explainer=[random,lime]'"),
        (
            ["explainer.limee.budget=3"],
            "there is no explainer 'limee'; did you mean lime or lime_text or lime_image?",
        ),
        (["explainer.random.n=3"], "explainer.random.n"),
        (["seed=abc"], "seed='abc' is not a whole number"),
        (["seed=1.5"], "seed=1.5 is not a whole number"),
        (["strict=1"], "strict=1 is not true or false"),
        (["seed=true"], "seed=True is not a whole number"),
        (["-m", "seed=1,x"], "seed='x' is not a whole number"),
        (["study=???"], "study has no value: write study=..."),
        (["study=a/b"], "study='a/b' names a folder"),
        (["results=own/experiment/typo.yaml/x"], "typo.yaml is a file, not a folder"),
        (["evaluation.n_samples=0"], "evaluation.n_samples=0 must be 1 or more"),
        (["budget=0"], "budget=0 must be 1 or more"),
        (["budget=abc"], "budget='abc' is not a whole number"),
        (["-m", "budget=10,1.5"], "budget=1.5 is not a whole number"),
        (["budget=10,100"], "names several values: add -m"),
        (["anytime=32"], "anytime=32 is not a list of rising budgets"),
        (["anytime=[128,32]"], "anytime=[128, 32] is not a list of rising budgets"),
        (["anytime=[a]"], "write e.g. 'anytime=[32,128,512]'"),
        (["budget=8", "anytime=[8]"], "are both set: leave one of them out"),
        (["tune=1"], "tune=1 is not true or false"),
        (["tuning.n_trials=0"], "tuning.n_trials=0 must be 1 or more"),
        (["tuning.n_trial=3"], "did you mean n_trials?"),
        (["tune=true", "tuning.metric=abpcc"], "there is no such metric; did you mean abpc"),
        (["seed=${oc.env:NO_SUCH_VARIABLE}"], "it reads NO_SUCH_VARIABLE from the environment"),
        (["explainer=bad_class"], "has no 'Salienc'; did you mean Saliency?"),
        (["explainer=bad_module"], "no module xai_bench.explainer; did you mean explainers"),
        (["explainer=bad_argument"], "unknown setting 'explainer.bad_argument.n'"),
        (["explainer=bad_package", "allow=[no_such_package]"], "no package 'no_such_package'"),
        (["explainer=outside"], "os.system lies outside xai_bench"),
        (["explainer=dangling"], "'baselin.explain' not found"),
        (["explainer=missing"], "explainer.missing.baseline has no value"),
        (["explainer=empty"], "explainer.empty.baseline has no value"),
        (["explainer=broken"], "a YAML file cannot be read"),
        (
            ["explainer=set_with_typo"],
            "there is no explainer 'salency'; did you mean saliency or captum_saliency?",
        ),
        (["explainer=smoothgrad", "explainer.smoothgrad.budget=x"], "is not a whole number"),
        (["experiment=sweep"], "there is no data 'win'; did you mean wine?"),
        (["--confg"], "unrecognized arguments: --confg"),
        (["--config-name", "conf"], "did you mean config?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    invoke: Invoke, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    keys = {argument.partition("=")[0] for argument in arguments}
    small = [] if "--config-name" in keys else [s for s in SMALL if s.partition("=")[0] not in keys]
    folder = own_folder(tmp_path / "own")
    code, out, err = invoke("run", "--config-dir", str(folder), *small, *arguments)
    assert code == 2
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("xai-bench: ")
    assert sentence in lines[0]
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lst"], "there is no command 'lst'; did you mean list?"),
        (["list", "explaners"], "did you mean explainers"),
        (["list", "--jsn"], "unrecognized arguments: --jsn"),
        (["report"], "--results results: there is no such folder"),
        (["ui", "--port", "abc"], "invalid int value: 'abc'"),
        (["run", "--config-dir", "nowhere"], "--config-dir nowhere: there is no such folder"),
    ],
)
def test_mistakes_in_other_commands_are_one_sentence(
    invoke: Invoke, arguments: list[str], sentence: str
) -> None:
    code, out, err = invoke(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert sentence in err


@pytest.mark.slow
def test_all_mistakes_are_shown_at_once(invoke: Invoke) -> None:
    _, _, err = invoke("run", *SMALL, "seed=abc", "evaluation.n_samples=0")
    assert err.count("\n") == 2


@pytest.mark.slow
def test_an_option_of_ours_cannot_be_hidden(invoke: Invoke, tmp_path: Path) -> None:
    """Hydra would silently take ours, and the table would show a name with other content."""
    (tmp_path / "own" / "data").mkdir(parents=True)
    shutil.copy(conf_dir() / "data" / "wine.yaml", tmp_path / "own" / "data" / "wine.yaml")
    code, _, err = invoke("run", *SMALL, "--config-dir", str(tmp_path / "own"))
    assert code == 2
    assert "hidden by an option of the same name" in err


# Lists and help


@pytest.mark.slow
def test_list_shows_every_option(invoke: Invoke) -> None:
    code, out, _ = invoke("list", "--json")
    names = {(entry["group"], entry["name"]) for entry in json.loads(out)}
    assert code == 0
    for group in ("explainer", "metric", "data", "model", "baseline"):
        assert {(group, name) for name in options(group, [conf_dir()])} <= names


def test_list_reads_traits_from_the_source(invoke: Invoke) -> None:
    _, out, _ = invoke("list", "explainer", "metrics", "--json")
    found = {entry["name"]: entry for entry in json.loads(out)}
    assert found["integrated_gradients"]["traits"]["kind"] == "contribution"
    assert found["integrated_gradients"]["traits"]["needs"] == ["gradient"]
    assert found["deletion"]["traits"]["higher_is_better"] is False
    assert found["deletion"]["summary"]


def test_list_shows_the_direction_of_metrics_and_the_members_of_sets(invoke: Invoke) -> None:
    _, out, _ = invoke("list", "metrics")
    assert "deletion ↓" in out
    assert "insertion ↑" in out
    assert "fidelity = deletion, insertion" in out
    assert "all = every metric there is" in out


def test_list_shows_the_grade_of_a_metric_and_none_of_a_users_own(
    invoke: Invoke, tmp_path: Path
) -> None:
    """A class of the user's that has the name of ours is not graded."""
    (tmp_path / "metric").mkdir()
    (tmp_path / "metric" / "mine.yaml").write_text("mine:\n  _target_: own.Metric\n")
    code, out, _ = invoke("list", "metrics", "--json")
    grades = {entry["name"]: entry.get("grade", "") for entry in json.loads(out)}
    assert grades["auprc"] == "A"
    assert grades["entropy"] == "B gameable"
    assert not grades["seconds"]
    code, out, _ = invoke("list", "metrics", "--config-dir", str(tmp_path))
    assert code == 0
    assert "never looks at the model" in out.replace("\n", " ")


def test_list_shows_a_users_own_options(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "own" / "data").mkdir(parents=True)
    (tmp_path / "own" / "data" / "mine.yaml").write_text("# My rows. And more.\n_target_: a.B\n")
    _, out, _ = invoke("list", "data", "--config-dir", "own", "--json")
    mine = next(entry for entry in json.loads(out) if entry["name"] == "mine")
    assert mine["summary"] == "My rows"


def test_help_lists_groups_settings_and_examples(invoke: Invoke) -> None:
    code, out, _ = invoke("run", "--help")
    assert code == 0
    for wanted in (
        "breast_cancer",
        "integrated_gradients",
        "n_samples: 64",
        "xai-bench run -m",
        "budget: null",
        "anytime: []",
        "tune: false",
    ):
        assert wanted in out
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["list"], ["run", "--help"]], ids=" ".join)
def test_lists_and_help_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from xai_bench import cli; cli.main(sys.argv[1:]);"
        "sys.exit(bool({'torch', 'mlflow', 'pandas', 'sklearn', 'hydra'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=True)
    assert done.stdout


def test_without_arguments_the_commands_are_shown(invoke: Invoke) -> None:
    code, out, _ = invoke()
    assert code == 0
    assert all(command in out for command in cli.COMMANDS)


@pytest.mark.slow
def test_the_composed_configuration_can_be_shown(invoke: Invoke) -> None:
    code, out, err = invoke("run", "seed=7", "--cfg", "job", *SMALL)
    assert (code, err) == (0, "")
    assert "\nseed: 7\n" in out


# Runs, with the work replaced


BUGS = {"raise": RuntimeError, "raise a value": ValueError}


class Jobs:
    """Stands in for `xai_bench.runner.cells.job`: each job does the next of `deeds`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *deeds: str) -> None:
        self.deeds, self.configs, self.ended = list(deeds), [], []
        monkeypatch.setattr(job, "job", self.job)
        monkeypatch.setattr(exit_summary, "finish", self.finish)

    def job(self, cfg, **_) -> str:
        self.configs.append(cfg)
        deed = self.deeds.pop(0)
        if deed in BUGS:
            raise BUGS[deed]("a bug")
        return deed

    def finish(self, results: Path, study: str, statuses: list[str], _settings: object) -> int:
        self.ended.append((results, study, sorted(statuses)))
        return int("failed" in statuses)


@pytest.mark.slow
def test_a_run_ends_with_the_exit_code_of_its_status(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for status, expected in (("ok", 0), ("skipped", 0), ("failed", 1)):
        jobs = Jobs(monkeypatch, status)
        code, _, _ = invoke("run", *SMALL, "study=mine")
        assert code == expected
        assert jobs.ended == [(tmp_path / "results", "mine", [status])]
        assert jobs.configs[0].results == str(tmp_path / "results")


@pytest.mark.slow
def test_a_sweep_does_all_jobs_though_one_has_a_bug(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs = Jobs(monkeypatch, "ok", "raise", "ok")
    code, _, err = invoke(
        "run", "seed=1,2,3", "-m", "n_jobs=1", *SMALL
    )  # a flag may stand anywhere
    assert code == 1
    assert [cfg.seed for cfg in jobs.configs] == [1, 2, 3]
    assert jobs.ended == [(tmp_path / "results", "default", ["failed", "ok", "ok"])]
    logs = sorted((tmp_path / "results" / "runs" / "default").glob("*/*/run.log"))
    assert ["RuntimeError: a bug" in log.read_text() for log in logs] == [False, True, False]
    assert "RuntimeError: a bug" in err


@pytest.mark.slow
def test_an_experiment_can_define_a_sweep(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    text = "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {data: 'iris,wine'}}}\n"
    (tmp_path / "own" / "experiment" / "two.yaml").write_text(text)
    jobs = Jobs(monkeypatch, *["ok"] * 4)
    code, _, _ = invoke(
        "run", *SMALL, "--config-dir", "own", "experiment=two", "seed=1,2", "n_jobs=1"
    )
    assert code == 0
    assert [(cfg.data.name, cfg.seed) for cfg in jobs.configs] == [
        ("iris", 1), ("iris", 2), ("wine", 1), ("wine", 2),
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("bug", ["raise", "raise a value"])
def test_a_bug_shows_its_traceback_and_is_logged(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bug: str
) -> None:
    Jobs(monkeypatch, bug)
    code, _, err = invoke("run", *SMALL)
    assert code == 1
    assert "Traceback" in err
    (log,) = (tmp_path / "results").rglob("run.log")
    assert f"{BUGS[bug].__name__}: a bug" in log.read_text()


@pytest.mark.slow
def test_a_bug_in_the_exit_summary_is_not_swallowed(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra turns what a callback raises into a warning and exit code 0."""
    Jobs(monkeypatch, "ok")
    monkeypatch.setattr(exit_summary, "finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        invoke("run", *SMALL)


@pytest.mark.slow
def test_a_users_own_component_runs_from_a_folder_of_theirs(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "own" / "explainer").mkdir(parents=True)
    (tmp_path / "own" / "explainer" / "mine.yaml").write_text("mine: {_target_: mine.Mine, n: 3}\n")
    code = "class Mine:\n    def __init__(self, n: int): ...\n    def explain(self): ...\n"
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    chosen = [*SMALL[1:], "explainer=[mine,random]"]
    for flags in (
        ["allow=[mine]", "--config-dir", "own"],
        ["allow=[mine]", f"hydra.searchpath=[file://{tmp_path}/own]"],
        ["allow=[mine,own]", "hydra.searchpath=[pkg://own]"],
    ):
        jobs = Jobs(monkeypatch, "ok")
        code, _, err = invoke("run", *chosen, *flags)
        assert (code, err) == (0, "")
        assert list(jobs.configs[0].explainer) == ["mine", "random"]


def few_options(folder: Path) -> Path:
    """Our conf/ with explainers from r to s and one metric: composing hundreds takes a while."""
    for group in GROUPS:
        left_out = {"explainer": "[!rs]*.yaml", "metric": "[!e]*.yaml"}.get(group, "")
        ignore = shutil.ignore_patterns(left_out)
        shutil.copytree(conf_dir() / group, folder / group, ignore=ignore)
    (folder / "explainer" / "default.yaml").write_text("defaults: [random]\n")
    (folder / "metric" / "default.yaml").write_text("defaults: [entropy]\n")
    shutil.copy(conf_dir() / "config.yaml", folder)
    return folder


@pytest.mark.exhaustive
def test_all_is_every_component_of_our_folders_and_of_yours(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No list is kept by hand: one YAML is enough, in a sweep and inside a set, too."""
    conf = few_options(tmp_path / "conf")
    own = tmp_path / "own" / "explainer"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("mine: {_target_: xai_bench.explainers.controls.Random}\n")
    (own / "set_of_mine.yaml").write_text("defaults: [sobol, all]\n")
    everything = sorted([*components("explainer", [conf]), "mine"])
    jobs = Jobs(monkeypatch, "ok", "ok")
    place = [*SMALL[2:], "n_jobs=1", "--config-path", str(conf)]
    code, _, err = invoke("run", "-m", *place, "--config-dir", "own", "explainer=all,set_of_mine")
    first, second = (list(cfg.explainer) for cfg in jobs.configs)
    assert (code, first, sorted(second)) == (0, everything, everything), err
    jobs = Jobs(monkeypatch, "ok")
    invoke("run", *place, f"hydra.searchpath=[file://{tmp_path}/own]", "explainer=all")
    assert list(jobs.configs[0].explainer) == everything


@pytest.mark.slow
def test_a_file_cannot_be_called_all(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "own" / "metric").mkdir(parents=True)
    (tmp_path / "own" / "metric" / "all.yaml").write_text("defaults: [entropy]\n")
    code, _, err = invoke("run", *SMALL, "--config-dir", "own")
    assert code == 2
    assert "all.yaml is hidden by an option of the same name" in err


@pytest.mark.slow
def test_explainers_that_will_be_skipped_are_named_before_the_run(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    Jobs(monkeypatch, "ok")
    _, _, err = invoke("run", *SMALL[1:3], "model=random_forest", "explainer=[saliency,random]")
    assert "note: " in err
    assert "saliency will be skipped" in err


@pytest.mark.slow
def test_a_budget_without_effect_is_named_before_the_run(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    Jobs(monkeypatch, "ok", "ok")
    _, _, err = invoke("run", *SMALL, "budget=100")
    assert err == "note: budget=100 changes nothing: no chosen explainer has a budget\n"
    assert invoke("run", *SMALL[1:], "explainer=[random,lime]", "budget=100")[2] == ""


# `ui` and `report`


def test_a_port_in_use_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port


def test_ui_and_report_without_results_say_so(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    for command in ("ui", "report"):
        code, _, err = invoke(command)
        assert code == 2
        assert "nothing has been run yet" in err


@pytest.mark.slow
def test_a_real_run_its_report_and_its_link(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chosen = [
        "explainer=random",
        "metric=[deletion,forward_rows]",
        "model=linear",
        "evaluation.n_samples=8",
        "recorder.pictures=false",
    ]
    code, _, err = invoke("run", *chosen)
    assert code == 0, err
    assert "Traceback" not in err
    code, out, _ = invoke("report")
    folder = tmp_path / "results" / "reports" / "default"
    assert (code, out.splitlines()[0]) == (0, f"default: {folder}")
    assert (folder / "report.html").is_file()
    assert list((tmp_path / "results" / "reports" / "default").iterdir())
    started: list[list[str]] = []
    monkeypatch.setattr("os.chdir", lambda _: None)
    monkeypatch.setattr("os.execvpe", lambda _, command, env: started.append(list(command)))
    code, out, _ = invoke("ui", "--port", "5055")
    assert code == 0
    assert "default: http://127.0.0.1:50" in out
    assert "mlflow" in started[0]
    code, _, err = invoke("ui", "--study", "defalt")
    assert code == 2
    assert "did you mean default?" in err
