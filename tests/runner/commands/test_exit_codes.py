"""Exit code 0 means that something was scored and that the run came to its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support import command_line

pytestmark = pytest.mark.slow  # whole commands, or a whole folder of results

SMALL = ("run", "data=iris", "evaluation.n_samples=4", "recorder=none", "report.figures=[]")

ENDING = """
import os
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Ending:
    kind: ClassVar[str] = "contribution"
    category: ClassVar[str] = "test"
    how: str = "_exit"

    def explain(self, model, inputs, targets, *, rng):
        os._exit(0) if self.how == "_exit" else exit(0)
"""

FACTORY = """
import torch
from torch import nn


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        h = self.first(x)
        return self.last(h - h.mean(0))


def centred():
    return Centred()


def batch_norm():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False))


class Tuple(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


def pair():
    return Tuple(4, 3)
"""


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("explainer=[grad_cam]", "metric=[abpc]"), 1),
        pytest.param(("explainer=[saliency]", "metric=[auroc]"), 1, marks=pytest.mark.exhaustive),
        (("explainer=[saliency,grad_cam]", "metric=[abpc,auroc]"), 0),
    ],
)
def test_a_run_without_any_score_says_so_and_fails(
    tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    for _ in range(2):  # computed, and read from the store
        finished = command_line.run(tmp_path, *SMALL, "model=linear", *words)
        assert finished.code == code, finished.text
        assert ("nothing could be scored" in finished.text) == bool(code)


def test_a_map_without_order_is_unscored_where_the_model_refuses_nan(tmp_path: Path) -> None:
    words = ("model=svm", "explainer=[constant,random]", "metric=[average_drop]")
    assert "NaN" not in command_line.succeed(tmp_path, *SMALL, *words)


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("centred", "the code before layer 'last'"),
        ("batch_norm", "more than 1 value per channel"),
        ("pair", "gives a tuple of 2"),
    ],
)
def test_a_checkpoint_without_independent_rows_is_refused(
    tmp_path: Path, name: str, sentence: str
) -> None:
    (tmp_path / "own_nets.py").write_text(FACTORY)
    namespace: dict[str, object] = {}
    exec(FACTORY, namespace)
    module = namespace[name]()  # type: ignore[operator]
    assert isinstance(module, nn.Module)
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    model = ("model=checkpoint", f"model.factory=own_nets:{name}", "model.weights=weights.pt")
    # It was never trained; what counts here is how it treats its rows.
    untrained = ("model.allow_poor=true", "allow=[own_nets]")
    words = (*model, *untrained, "explainer=[saliency]", "metric=[abpc]")
    finished = command_line.run(tmp_path, *SMALL, *words)
    assert finished.code == 1
    assert sentence in " ".join(finished.text.split())
    assert "Traceback" not in finished.text


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("_exit", "ended the process"),
        ("exit", "exit(0) was called"),
    ],
)
def test_a_component_that_ends_the_process_is_no_success(
    tmp_path: Path, how: str, sentence: str
) -> None:
    (tmp_path / "own_ending.py").write_text(ENDING)
    (tmp_path / "own" / "explainer").mkdir(parents=True)
    yaml = f"ending:\n  _target_: own_ending.Ending\n  how: {how}\n"
    (tmp_path / "own" / "explainer" / "ending.yaml").write_text(yaml)
    words = ("model=linear", "explainer=[ending]", "metric=[abpc]", "allow=[own_ending]")
    command = [sys.executable, "-m", "xai_bench", *SMALL, *words, "--config-dir", "own"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert sentence in " ".join((ended.stdout + ended.stderr).split())
