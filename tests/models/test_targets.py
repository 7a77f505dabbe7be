"""Proves which scalar each target explains, on cases by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from tests.support import toy_worlds
from tests.support.paths import CONF
from xai_bench.models.base import Explained, Target
from xai_bench.models.targets import (
    Loss,
    PredictedLogit,
    PredictedProbability,
    RegressionOutput,
    TrueLabel,
)
from xai_bench.types import Unsupported

# Two samples, three classes; class 2 and class 0 are predicted, classes 1 and 0 are true.
LOGITS = torch.tensor([[0.0, math.log(2), math.log(5)], [math.log(6), 0.0, 0.0]]).double()
LABELS = torch.tensor([1, 0])


def scalar(target: Target, outputs: Tensor, labels: Tensor, task: str) -> Tensor:
    return target.select(outputs, target.choose(outputs, labels, task))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (PredictedLogit(), [math.log(5), math.log(6)]),
        (PredictedProbability(), [5 / 8, 6 / 8]),
        (TrueLabel(), [math.log(2), math.log(6)]),
        (Loss(), [-math.log(2 / 8), -math.log(6 / 8)]),
    ],
)
def test_classification_by_hand(target: Target, expected: list[float]) -> None:
    found = scalar(target, LOGITS, LABELS, "classification")
    torch.testing.assert_close(found, torch.tensor(expected).double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.long])
@pytest.mark.parametrize(
    ("target", "expected"),
    [(PredictedLogit(), [3.0, -1.0]), (RegressionOutput(), [3.0, -1.0]), (Loss(), [4.0, 9.0])],
)
def test_regression_by_hand(target: Target, expected: list[float], dtype: torch.dtype) -> None:
    outputs, labels = torch.tensor([[3.0], [-1.0]]), torch.tensor([1, 2]).to(dtype)
    found = scalar(target, outputs, labels, "regression")
    assert found.dtype == outputs.dtype
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("target", "task", "message"),
    [
        (PredictedProbability(), "regression", "predicted_probability needs classification data"),
        (TrueLabel(), "regression", "true_label needs classification data"),
        (RegressionOutput(), "classification", "regression_output needs regression data"),
    ],
)
def test_a_target_of_the_other_task_is_refused(target: Target, task: str, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        target.choose(LOGITS, LABELS, task)


def test_a_target_is_fixed_when_the_prediction_changes() -> None:
    """The explained class is fixed before explaining: it is not chosen anew at every point."""
    chosen = PredictedLogit().choose(LOGITS, LABELS, "classification")
    assert torch.equal(PredictedLogit().select(-LOGITS, chosen), -LOGITS[[0, 1], [2, 0]])


def test_truth_applies_to_all_but_the_loss() -> None:
    follows = [t.follows_output for t in (PredictedLogit(), PredictedProbability(), TrueLabel())]
    assert all(follows)
    assert RegressionOutput().follows_output
    assert not Loss().follows_output


@pytest.mark.parametrize("target", [PredictedLogit(), PredictedProbability(), TrueLabel(), Loss()])
def test_the_gradient_is_the_targets_own(target: Target) -> None:
    world = toy_worlds.tabular()
    model = Explained(world.model.predictor, target)
    labels = torch.zeros(len(world.inputs), dtype=torch.long)
    chosen = target.choose(model.outputs(world.inputs), labels, "classification")
    x = world.inputs.x.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: model.target_output(world.inputs.with_x(x), chosen), x
    )


FILES = [path for group in ("model", "target", "view") for path in (CONF / group).glob("*.yaml")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_yaml_builds_its_component(path: Path) -> None:
    from hydra.utils import instantiate

    config = OmegaConf.load(path)
    for key in [key for key in config if OmegaConf.is_missing(config, key)]:
        config[key] = "stated by the user"
    component = instantiate(config, _convert_="all")
    assert type(component).__module__.startswith("xai_bench.models.")
    text = path.read_text()
    assert text.startswith("# "), "the first line is the help text"
