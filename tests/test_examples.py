"""Every example runs as it is shown, prints something, and says where its results are."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest

from tests.support import command_line, pages
from tests.support.paths import ROOT

EXAMPLES = ROOT / "examples"
GALLERY = (EXAMPLES / "README.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"`(?:bash|python) examples/(\w+\.\w+)`", GALLERY)
PLAIN = ("report.figures=[]",)  # pictures have tests of their own
SMALL = ("recorder=none", "evaluation.n_samples=8", *PLAIN)
BEFORE = {"read_scores.py": "sweep.sh"}
"""What has to be run before an example that reads another's results."""

SAYS = {
    "own_table.sh": r"reports/own_table/report.md[\s\S]*reports/by_region/report.md",
    "own_model.py": r"contributes [\s\S]*kernel_shap[\s\S]*results/own_model.csv",
    "equal_budget.sh": r"kernel_shap \(budget=512\)[\s\S]*reports/curves/report.md",
    "counterfactuals.sh": r"debt: \d+ → \d+[\s\S]*attribution.safetensors",
    "sweep.sh": r"breast_cancer, linear[\s\S]*sweep: .*reports/sweep",
    "read_scores.py": r"integrated_gradients beats saliency on \d+% [\s\S]*results/sweep.csv",
    "own_metric.py": r"integrated gradients: 0.700[\s\S]*results/own_metric.csv",
    "certify_explainer.py": r"NoisyGradient[\s\S]*Careless draws from the global generator",
}


def test_the_gallery_shows_eight_and_tests_them_all() -> None:
    assert len(SHOWN) == 8
    assert set(SHOWN) == set(SAYS)
    helpers = {"show_counterfactuals.py"}
    assert {path.name for path in EXAMPLES.glob("*.[ps][yh]")} == {*SHOWN, *helpers}


def marked(name: str) -> object:
    """A study takes several runs of the command line: CI's matter."""
    alone = name.endswith(".py") and name not in BEFORE
    return pytest.param(name, marks=pytest.mark.slow if alone else pytest.mark.exhaustive)


@pytest.mark.parametrize("name", [marked(n) for n in SHOWN if n not in BEFORE.values()])
def test_an_example_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, with few samples; one that reads another's results comes after it."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    with command_line.in_folder(tmp_path):
        for each in [BEFORE[name], name] if name in BEFORE else [name]:
            start(Path("examples", each))
            printed = capsys.readouterr().out
            assert re.search(SAYS[each], printed), printed


def start(path: Path) -> None:
    """A Python script, or every command of a shell script; nothing else may stand in one."""
    if path.suffix == ".py":
        runpy.run_path(str(path), run_name="__main__")
        return
    for program, *arguments in pages.commands(path.read_text(encoding="utf-8")):
        if program == "python":
            start(Path(*arguments))
        else:
            assert program == "xai-bench"
            small = {"run": SMALL, "report": PLAIN}.get(arguments[0], ())
            assert command_line.exit_code([*arguments, *small]) == 0
