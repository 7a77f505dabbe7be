"""A user's mistake is one sentence: names of folders, odd values, what Hydra cannot compose."""

from __future__ import annotations

import io
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console

from tests.support.command_line import run, small_run
from xai_bench.results.report.writer import Report
from xai_bench.runner.cells import job
from xai_bench.runner.commands import exit_summary, report

pytestmark = pytest.mark.slow  # whole commands, or a whole folder of results

MISTAKES = [
    (["study=.."], "study='..' names a folder"),
    (["study=."], "a letter or digit first"),
    (["study=con"], "study='con' names a folder"),
    (["study=a."], "study='a.' names a folder"),
    (["results=s3://bucket/x"], "results=s3://bucket/x is an address"),
    (["study=-x"], "a letter or digit first"),
    (["study=" + "a" * 300], "at most 120 bytes"),
    (["results=" + "a" * 300], "cannot be a folder (File name too long)"),
    (["results=' '"], "would be a folder of that name"),
    (["hydra.run.dir=a_file/x"], "a_file is a file, not a folder"),
    (["results=a_link"], "a_link is a link to a place that does not exist; give a folder"),
    (["results=a_link/x"], "a_link is a link to a place that does not exist; give a folder"),
    (["results='b\udcff'"], "cannot be a folder (its name is not UTF-8); give a folder"),
    (["seed=-1"], "seed=-1 must be a whole number from 0 to 4294967295"),
    (["model=[[]]"], "model=[[]] cannot be composed"),
    (["baseline@baseline.explain=[1,2]"], "choose by name, several as [a,b]"),
    (["~tuning.n_trials=none"], "cannot be left out: write tuning.n_trials="),
    (["~tuning.n_trials"], "tuning.n_trials has no value: write tuning.n_trials="),
    (["metric=[]"], "no metric is chosen: write e.g. 'metric=[abpc,entropy]'"),
    (["explainer=[]"], "no explainer is chosen: write e.g. 'explainer=[saliency,random]'"),
    (["~model"], "no model is chosen: write model=NAME"),
    (["hydra.mode=X"], "hydra.mode=X does not fit"),
    (["hydra.mode=${oc.env:PATH}"], "hydra.mode is neither RUN nor MULTIRUN"),
    (["hydra=null"], "hydra=null cannot be set: of hydra, a configuration may set"),
    (["~hydra"], "~hydra cannot be set: of hydra, a configuration may set"),
    (["+hydra=[]"], "+hydra=[] cannot be set: of hydra, a configuration may set"),
    (["hydra.verbose=[1]"], "is neither true, false nor the names of loggers"),
    (["-m", "seed=glob(*)"], "seed=glob(*) names nothing"),
    (["+allow=!!python/name:os.system"], "'+allow=!!python/name:os.system' is not understood"),
    (["allow=json_str({})"], "'allow=json_str({})' is not understood"),
    (["hydra.searchpath=[][x"], "'hydra.searchpath=[][x' is not understood"),
    (["report.metrics=[{a: b}]"], "report.metrics=[{'a': 'b'}]: write a list of names"),
    (["+experiment=demo"], "+experiment=demo: experiment is set already, so leave out the '+'"),
    (["allow=os"], "allow=os is not a list of packages"),
    (["model=mlp", "model.hidden=3"], "model.hidden=3 is not a list"),
    (["model=mlp", "model.hidden=[a]"], "is not a list, as [...], of a whole number"),
    (["model=mlp", "model.hidden=[8,0]"], "model.hidden=[8, 0] must be 1 or more"),
    (
        ["explainer=masked_infill", "explainer.masked_infill.language_model.size=0"],
        "explainer.masked_infill.language_model.size=0 must be 1 or more",
    ),
    (["model=mlp", "model.training=3"], "model.training=3 is not a training"),
    (["model=checkpoint", "model.factory=a:b"], "model.weights has no value"),
    (
        ["data=custom", "data.path=x.csv", "data.target=y", "data.name=../x"],
        "data.name='../x' stands in names of files",
    ),
]


@pytest.mark.sample(6)
@pytest.mark.parametrize(("overrides", "sentence"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_is_one_sentence(overrides: list[str], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a_file").touch()
    (tmp_path / "a_link").symlink_to("nowhere/at/all")
    finished = run(tmp_path, *small_run(*overrides))
    assert sentence in finished.text
    assert finished.code == 2
    assert all(line.startswith("xai-bench: ") for line in finished.text.splitlines())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_file", "a_link"]


LOST_FILES = [
    (["model=sklearn", "model.path=lost.skops"], "lost.skops"),
    (["model=onnx", "model.path=lost.onnx"], "lost.onnx"),
    (["model=checkpoint", "model.factory=own:net", "model.weights=lost.pt"], "lost.pt"),
    (["data=sentiment", "model=hf_model", "model.path=./lost"], "'./lost'"),
    (
        [
            *("data=sentiment", "data.n_rows=60", "model=text_bag", "model.training.max_epochs=0"),
            *("baseline@baseline.explain=masked_lm", "baseline.explain.language_model.path=./lost"),
        ],
        "'./lost'",
    ),
]


@pytest.mark.sample(2)
@pytest.mark.parametrize(("overrides", "name"), LOST_FILES, ids=lambda value: str(value)[:30])
def test_a_file_that_a_cell_needs_and_that_is_lost_is_one_sentence(
    overrides: list[str], name: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text("import torch\n\ndef net():\n    return torch.nn.Linear(4, 3)")
    finished = run(tmp_path, *small_run("allow=[own]", *overrides))
    assert finished.code == 1
    assert finished.text.count("✗") == 1
    assert name in finished.text
    assert "Traceback" not in finished.text
    assert "1 of 1 runs failed" in finished.text
    assert "bold: best" not in finished.text  # there is no table
    assert run(tmp_path, "doctor").code == 0


@pytest.mark.parametrize("command", ["report", "sync", "doctor", "ui"])
@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("a_file", "a_file is a file, not a folder"),
        ("a_link", "a_link is a link to a place that does not exist"),
        ("nothing", "there is no such folder"),
    ],
)
def test_results_that_are_no_folder_are_named_so(
    command: str, place: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "a_file").touch()
    (tmp_path / "a_link").symlink_to("nowhere")
    finished = run(tmp_path, command, "--results", place)
    assert (finished.code, finished.text.count("\n")) == (2, 1)
    assert sentence in finished.text


def test_anchors_that_unfold_without_end_are_a_sentence(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))]
    (tmp_path / "own/experiment").mkdir(parents=True)
    (tmp_path / "own/experiment/endless.yaml").write_text("\n".join(lines))
    finished = run(tmp_path, *small_run("--config-dir", "own", "experiment=endless"))
    assert finished.code == 2
    assert "its anchors unfold to more than 100,000 values" in finished.text


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file of the experiment sets nothing"),
        (b"- a\n", "the file of the experiment sets nothing"),
        (b"# @package _global_\n- a\n", "odd.yaml holds ['a'], not settings: write lines of KEY"),
        (b"# @package _global_\n42\n", "odd.yaml holds 42, not settings: write lines of KEY"),
        (b"# @package _global_\nhydra: null\n", "odd.yaml: hydra is null, not settings: write"),
        (b"# @package _global_\nhydra: []\n", "odd.yaml: hydra is [], not settings: write"),
        (b"# @package _global_\nreport: [a]\n", "odd.yaml: report is ['a'], not settings: write"),
        (b"# @package _global_\nexplainer: [lime]\n", "`- override /explainer: ...`"),
        (b"# @package _global_\nhydra: {sweep: [1]}\n", "odd.yaml: hydra.sweep is [1], not"),
        (
            b"# @package _global_\nhydra: {launcher: [1]}\n",
            "experiment/odd: [1] stands where settings belong",
        ),
        (b"# @package _global_\nallow: ${\n", "odd.yaml: allow: no viable alternative"),
        (b"# @package _global_\nreport: {tables: {a: 1}}\n", "report.tables is {'a': 1}, and no"),
        (b"# @package _global_\na: !!timestamp x\n", "odd.yaml: a value is not what its tag"),
        (b"# @package\nseed: 1\n", "odd.yaml: its line '# @package' names no package"),
        (b"# @package _global_\nevaluation.max_rows: 7\n", "with a dot: write 'evaluation:' and"),
        (b"# @package _global_\ndefaults: [{'': ''}]\n", "stands in its defaults list: write"),
        (b"# @package _global_\ndefaults: {a: b}\n", "its defaults list is {'a': 'b'}, and no"),
        (
            b"# @package _global_\ndefaults: [explainer: random]\n",
            "is looked for below experiment/: write `- override /explainer: random`",
        ),
        (
            b"# @package _global_\ndefaults: [override explainer: random]\n",
            "is looked for below experiment/: write `- override /explainer: ...`",
        ),
        (
            b"# @package _global_\ndefaults: [override /explaner: random]\n",
            "`override explaner`, and nothing of that name is chosen: did you mean explainer?",
        ),
        (b"\xef\xbb\xbf# @package _global_\nseed: 1\n", "odd.yaml begins with a byte order mark"),
        (b"# gr\xf6\xdfe\nseed: 1\n", "odd.yaml: byte 0xf6 at 4 is not UTF-8; save it in UTF-8"),
    ],
)
def test_an_experiment_that_says_nothing_is_a_sentence(
    content: bytes, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "own/experiment").mkdir(parents=True)
    (tmp_path / "own/experiment/odd.yaml").write_bytes(content)
    finished = run(tmp_path, *small_run("--config-dir", "own", "experiment=odd"))
    assert finished.code == 2
    assert sentence in finished.text


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("written", "folder"),
    [
        ("results=größe", "größe"),
        ("results=my results", "my results"),
        ("results=~/x", "home/x"),
        ("results='a, b'", "a, b"),
    ],
)
def test_a_path_may_hold_any_letters(
    written: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(job, "job", lambda cfg, **_: seen.append(cfg.results) or "ok")
    monkeypatch.setattr(exit_summary, "finish", lambda *_: 0)
    finished = run(tmp_path, *small_run(written))
    assert (finished.code, finished.text) == (0, "")
    assert seen == [str(tmp_path / folder)]
    assert (tmp_path / folder / "runs").is_dir()
    assert not (tmp_path / "~").exists()


def test_the_printed_command_can_be_pasted(tmp_path: Path) -> None:
    results = tmp_path / "my [bold]results; $(rm x)"
    results.mkdir()
    (results / "mlflow.db").touch()
    written = cast(
        Report, SimpleNamespace(markdown=results / "x.md", page=results / "x.html", n_left_out=0)
    )
    text = io.StringIO()
    report.show_places(Console(file=text, width=400), results, "mine", written)
    [line] = [each for each in text.getvalue().splitlines() if "xai-bench ui" in each]
    printed = shlex.split(line.partition("look at it")[2])
    assert printed == ["xai-bench", "ui", "--study", "mine", "--results", str(results)]
