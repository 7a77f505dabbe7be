"""`xai-bench check`: what it says, its exit codes, and the page that it writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.metrics.test_certificate import expected_by_chance
from tests.support.components import component, options
from tests.test_cli import Told, _as_it_was, told
from xai_bench.certify import retraining
from xai_bench.certify.expected import EXPECTED, TAUGHT
from xai_bench.certify.explainer import contract
from xai_bench.certify.finding import faults, number
from xai_bench.certify.metric import certificate
from xai_bench.certify.metric_under_test import MetricUnderTest
from xai_bench.explainers.gradient.methods import Gradient
from xai_bench.types import Explanation, Inputs, Model, Rng

__all__ = ["_as_it_was", "told"]


# What was worked out by hand


def test_chance_is_the_same_here_and_in_the_tests() -> None:
    there = expected_by_chance()
    for name, expected in EXPECTED.items():
        if expected.chance is not None and name in there:
            assert expected.chance == pytest.approx(there[name], rel=0.01), name


def test_the_ladder_by_hand() -> None:
    """Outputs left are 36 28 21 15 10 6 3 1 0, an eighth apart; chance is half of 36."""
    best, reverse = EXPECTED["deletion"].best, EXPECTED["deletion"].reverse
    assert (best, reverse) == (12.75, 23.25)
    assert EXPECTED["comprehensiveness"].best == (8 + 8 + 8 + 15 + 26) / 5


def test_what_is_expected_is_of_metrics_that_exist() -> None:
    assert set(EXPECTED) | set(TAUGHT) <= set(options("metric"))


@pytest.mark.parametrize(
    "name", ["deletion", "infidelity", "top_k_precision", "max_sensitivity", *TAUGHT]
)
def test_a_metric_of_ours_has_no_fault(name: str) -> None:
    assert faults(certificate(name, component("metric", name))) == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("roar", "kar"),  # keeps what it should remove
        ("kar", "roar"),
        ("model_agreement", "label_randomisation"),
        ("consistency", "model_agreement"),
    ],
)
def test_where_all_of_it_is_known_another_metric_is_told(name: str, wrong: str) -> None:
    """Whatever calls itself `roar` must say by how much the loss rises without the units."""
    metric = component("metric", wrong)
    found = retraining.anew(MetricUnderTest(name, metric, taught=TAUGHT[name]))
    assert found is not None
    assert found.fault


def test_losses_without_columns_by_hand() -> None:
    """Weights 12, 5, 3, 2, 1 and 1/2 at corners of a cube: a column is worth its square."""
    squares = [weight**2 for weight in retraining.WEIGHT]
    expected = [sum(squares[:n]) for n in (1, 2, 3)]
    assert TAUGHT["roar"].best == pytest.approx(sum(expected) / 3)
    least = [sum(squares[-n:]) for n in (1, 2, 3)]
    assert TAUGHT["kar"].reverse == pytest.approx(sum(squares) - sum(least) / 3)


@pytest.mark.parametrize(
    ("value", "shown"), [(float("nan"), "NaN"), (-1e-15, "0"), (12.75, "12.75"), (1 / 3, "0.3333")]
)
def test_numbers_are_short_and_the_same_everywhere(value: float, shown: str) -> None:
    assert number(value) == shown


# Explainers that break their promises


@dataclass(frozen=True)
class Broken(Gradient):
    """The gradient, and one thing that must not be done."""

    how: str = ""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        found = super().explain(model, inputs, targets, rng=rng).attribution
        if self.how == "draws":
            return Explanation(found + 0 * torch.randn(1))
        if self.how == "writes":
            inputs.x.mul_(2)
        if self.how == "hooks" and model.module is not None:
            model.module.register_forward_hook(lambda *_: None)
        if self.how == "batch":
            return Explanation(found / found.abs().max())
        if self.how == "pooled":
            return Explanation(found.flatten(1).sum(1))
        if self.how == "nan":
            return Explanation(found / 0)
        if self.how == "more":
            model.target_output(inputs, targets)
        return Explanation(found)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("draws", "draws from the global generator of torch"),
        ("writes", "changes its inputs"),
        ("hooks", "leaves hooks behind"),
        ("batch", "gives a sample another map in another batch"),
        ("pooled", "gives shape"),
        ("nan", "gives NaN or infinity"),
        ("more", "and takes Rows(forward=2, gradient=1)"),
    ],
)
def test_a_broken_promise_is_told_in_one_sentence(how: str, sentence: str) -> None:
    assert any(sentence in fault for fault in faults(contract("broken", Broken(how=how))))


def test_the_gradient_keeps_its_promises() -> None:
    assert faults(contract("gradient", Gradient())) == []


# The command


def test_a_table_and_exit_code_0(told: Told) -> None:
    code, out, err = told("check", "metric=entropy", "explainer=gradient")
    assert (code, err) == (0, "")
    assert "same bits in any batch and order           yes" in out
    assert "no trace left behind" in out


def test_a_misspelt_name_is_a_mistake(told: Told) -> None:
    code, _, err = told("check", "metric=entrpy")
    assert code == 2
    assert "did you mean entropy?" in err


OWN = """\
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Largest:
    "The largest attribution of the batch."
    category: ClassVar[str] = "complexity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "nobody"

    def score(self, case):
        return case.attribution.abs().max().expand(len(case.inputs)).double()
"""


def test_a_metric_of_your_own(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_metrics.py").write_text(OWN)
    (tmp_path / "conf" / "metric").mkdir(parents=True)
    (tmp_path / "conf" / "metric" / "largest.yaml").write_text(
        "largest: {_target_: own_metrics.Largest}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, err = told(
        "check", "metric=largest", "allow=[own_metrics]", "--config-dir", str(tmp_path / "conf")
    )
    assert code == 1
    assert "largest: a sample's score depends on the rest of its batch" in err
    assert "largest: a map of zeros is scored; it should be NaN" in err
    assert "Traceback" not in err
    assert "**failed**" in out
