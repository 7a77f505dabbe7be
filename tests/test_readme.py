"""What the README shows is run as it is written there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.paths import ROOT

README = ROOT / "README.md"


def block(language: str, containing: str) -> str:
    """The one code block in that language with that text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    [found] = [text for text in blocks if containing in text]
    return str(found)


def test_the_five_lines_of_python() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    names = {"model": model, "x": torch.ones(5, 6), "x_train": torch.eye(6).repeat(3, 1)}
    exec(block("python", "xai_bench.workbench"), names)
    assert names["attributions"].shape == (5, 6)
    assert set(names["scores"]) == {"abpc", "faithfulness_correlation"}
    assert list(names["table"].index) == ["integrated_gradients", "kernel_shap", "random"]


@pytest.mark.slow
def test_your_own_explainer(tmp_path: Path) -> None:
    files = {
        "my_package/__init__.py": "",
        "my_package/explainers.py": block("python", "class GradientTimesDeparture"),
        "my_conf/explainer/gradient_times_departure.yaml": block("yaml", "GradientTimesDeparture"),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    shown = [
        "--config-dir", "my_conf", "explainer=[gradient_times_departure,random]",
        "allow=[my_package]",
    ]  # fmt: skip
    assert "xai-bench run --config-dir my_conf 'explainer=[grad" in README.read_text("utf-8")
    small = ["recorder=none", "evaluation.n_samples=8", "metric=[abpc]"]
    script = Path(sys.executable).with_name("xai-bench")
    for command in (["run", *shown, *small], ["check", "explainer=gradient_times_departure",
                    "--config-dir", "my_conf", "allow=[my_package]"]):  # fmt: skip
        done = subprocess.run(
            [script, *command], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "gradient_times_departure" in done.stdout
