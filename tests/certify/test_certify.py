"""`xai-bench check` names every broken promise in one sentence, and its known scores are right."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path
from statistics import fmean, pvariance
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.test_cli import Invoke, _as_it_was, invoke
from xai_bench.certify import retraining
from xai_bench.certify.check_result import faults, format_number
from xai_bench.certify.explainer import contract
from xai_bench.certify.metric import certificate
from xai_bench.certify.metric_under_test import MetricUnderTest
from xai_bench.core.baselines import Constant
from xai_bench.explainers.gradient.methods import Gradient
from xai_bench.metrics import eight_units
from xai_bench.metrics.fidelity.consistency import Consistency
from xai_bench.metrics.fidelity.deletion import Deletion
from xai_bench.metrics.fidelity.retraining import KeepAndRetrain, RemoveAndRetrain
from xai_bench.metrics.randomisation.labels import LabelRandomisation
from xai_bench.metrics.stability.model_agreement import ModelAgreement
from xai_bench.types import Case, Explanation, Inputs, KnownScores, Model, Rng

__all__ = ["_as_it_was", "invoke"]


# Known scores


@pytest.mark.parametrize(
    ("wrong", "known"),
    [
        (KeepAndRetrain(Constant()), RemoveAndRetrain.known_scores_retrained),
        (RemoveAndRetrain(Constant()), KeepAndRetrain.known_scores_retrained),
        (LabelRandomisation(), ModelAgreement.known_scores_retrained),
        (ModelAgreement(), Consistency.known_scores_retrained),
    ],
)
def test_a_metric_that_retrains_is_rejected_if_it_has_the_scores_of_another(
    wrong: Any, known: KnownScores
) -> None:
    """What calls itself ROAR must give by how much the loss rises without the units, and so on."""

    class Pretender(type(wrong)):  # type: ignore[misc]
        known_scores_retrained = known

    settings = {"baseline": Constant()} if hasattr(wrong, "baseline") else {}
    verdict = retraining.check_known_scores(MetricUnderTest("pretender", Pretender(**settings)))
    assert verdict is not None
    assert verdict.fault


@pytest.mark.slow
def test_a_metric_that_gives_another_number_than_it_states_is_rejected() -> None:
    class Optimist(Deletion):
        """Deletion that states other scores than it gives."""

        known_scores = KnownScores(exact=12, random=17)

    faulty = {r.title: r.fault for r in certificate("optimist", Optimist(Constant())) if r.fault}
    assert faulty.keys() == {"exact map", "random maps"}
    assert faulty["exact map"] == "optimist is 12.75, but by hand 12"


def test_eight_units_by_hand() -> None:
    """Outputs left are 36 28 21 15 10 6 3 1 0, an eighth apart; chance is half of 36."""
    left = [36, 28, 21, 15, 10, 6, 3, 1, 0]
    assert sum((a + b) / 2 / 8 for a, b in pairwise(left)) == eight_units.LOWEST_AREA == 12.75
    assert eight_units.HIGHEST_AREA == 23.25
    assert pvariance(range(1, 9)) == eight_units.VARIANCE
    shares = [ceil(share * 8) for share in (0.01, 0.05, 0.1, 0.2, 0.5)]
    assert fmean(sum(range(9 - k, 9)) for k in shares) == eight_units.TOP_SHARES
    assert fmean(sum(range(1, k + 1)) for k in shares) == eight_units.BOTTOM_SHARES
    assert fmean(4.5 * k for k in shares) == eight_units.MEAN_SHARES


def test_losses_without_columns_by_hand() -> None:
    """Weights 12, 5, 3, 2, 1 and 1/2 at corners of a cube: a column is worth its square."""
    squares = [weight**2 for weight in retraining.WEIGHT]
    largest = fmean(sum(squares[:n]) for n in (1, 2, 3))
    smallest = fmean(sum(squares[-n:]) for n in (1, 2, 3))
    assert RemoveAndRetrain.known_scores_retrained == KnownScores(largest, smallest)
    kept = KeepAndRetrain.known_scores_retrained
    assert (kept.exact, kept.opposite) == pytest.approx(
        (sum(squares) - largest, sum(squares) - smallest)
    )


@pytest.mark.parametrize(
    ("value", "shown"), [(float("nan"), "NaN"), (-1e-15, "0"), (12.75, "12.75"), (1 / 3, "0.3333")]
)
def test_numbers_are_short_and_the_same_everywhere(value: float, shown: str) -> None:
    assert format_number(value) == shown


# Explainers that break their promises


@dataclass(frozen=True)
class Broken(Gradient):
    """The gradient, and one thing that must not be done."""

    how: str = ""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        gradient = super().explain(model, inputs, targets, rng=rng).attribution
        if self.how == "draws":
            return Explanation(gradient + 0 * torch.randn(1))
        if self.how == "writes":
            inputs.x.mul_(2)
        if self.how == "hooks" and model.module is not None:
            model.module.register_forward_hook(lambda *_: None)
        if self.how == "batch":
            return Explanation(gradient / gradient.abs().max())
        if self.how == "pooled":
            return Explanation(gradient.flatten(1).sum(1))
        if self.how == "nan":
            return Explanation(gradient / 0)
        if self.how == "more":
            model.target_output(inputs, targets)
        if self.how == "raises":
            raise IndexError("list index out of range")
        if self.how == "raises on images" and inputs.x.dim() == 4:
            raise IndexError("list index out of range")
        if self.how == "tensor":
            return gradient  # type: ignore[return-value]
        return Explanation(gradient)


@pytest.mark.sample(2)
@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("draws", "broken draws from the global generator of torch"),
        ("writes", "broken changes its inputs"),
        ("hooks", "broken leaves hooks behind"),
        ("batch", "broken gives a sample another map in another batch"),
        ("pooled", "broken gives shape"),
        ("nan", "broken gives NaN or infinity"),
        ("more", "and takes Rows(forward=2, gradient=1)"),
        (
            "raises on images",
            "broken raised: IndexError: list index out of range (on 'image')",
        ),
    ],
)
def test_a_broken_promise_of_an_explainer_is_one_sentence(how: str, sentence: str) -> None:
    assert any(sentence in fault for fault in faults(contract("broken", Broken(how=how))))


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("raises", "broken raised: IndexError: list index out of range (on "),
        (
            "tensor",
            "broken raised: explain returned Tensor; an Explanation(attribution) is expected",
        ),
    ],
)
def test_an_explainer_that_never_explains_has_one_fault(how: str, sentence: str) -> None:
    [fault] = faults(contract("broken", Broken(how=how)))
    assert fault.startswith(sentence)
    assert "'tabular', 'image', 'text', 'series', 'gates'" in fault


def test_the_gradient_keeps_its_promises() -> None:
    assert faults(contract("gradient", Gradient())) == []


# Metrics that break their promises


@dataclass(frozen=True)
class BrokenMetric(Deletion):
    """Deletion, and one thing that must not be done."""

    how: str = ""

    def score(self, case: Case) -> Tensor:
        scores = super().score(case)
        if self.how == "raises":
            raise IndexError("list index out of range")
        if self.how == "float":
            return scores.mean().item()  # type: ignore[return-value]
        if self.how == "shape":
            return scores[:, None]
        if self.how == "whole numbers":
            return scores.long()
        if self.how == "infinity":
            return scores / 0
        return scores


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("float", "broken on tabular: gives float; a tensor of one score per sample is expected"),
        ("shape", "broken on tabular: gives shape (6, 1); (6,), one per sample, is expected"),
        ("whole numbers", "broken on tabular: gives scores that are no floats"),
        ("infinity", "broken on tabular: gives infinity; what cannot be scored is NaN"),
    ],
)
def test_a_broken_promise_of_a_metric_is_one_sentence(how: str, sentence: str) -> None:
    metric = BrokenMetric(Constant(), how=how)
    assert any(fault.startswith(sentence) for fault in faults(certificate("broken", metric)))


def test_an_exception_that_stops_many_checks_is_one_fault() -> None:
    sentences = faults(certificate("broken", BrokenMetric(Constant(), how="raises")))
    assert sentences[-1] == "broken raised: IndexError: list index out of range"
    assert len(sentences) == 2  # the other one lists the worlds


@pytest.mark.slow
def test_a_metric_that_is_not_equal_by_value_should_be_a_frozen_dataclass() -> None:
    class Plain:
        """Deletion against 0, as a class with an identity."""

        category, higher_is_better, paper = "fidelity", False, "nobody"

        def score(self, case: Case) -> Tensor:
            return Deletion(Constant()).score(case)

    assert "plain: it is not equal by value: make it a frozen dataclass" in faults(
        certificate("plain", Plain())
    )


# The command


@pytest.mark.slow
def test_components_that_keep_their_promises_give_a_table_and_exit_code_0(invoke: Invoke) -> None:
    code, out, err = invoke("check", "metric=entropy", "explainer=gradient")
    assert (code, err) == (0, "")
    assert "same bits in any batch and order           yes" in out
    assert "no trace left behind" in out


def test_a_misspelt_name_gives_one_sentence_and_exit_code_2(invoke: Invoke) -> None:
    code, _, err = invoke("check", "metric=entrpy")
    assert code == 2
    assert "did you mean entropy?" in err


OWN = """\
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Largest:
    "The largest attribution of the batch."
    category: ClassVar[str] = "complexity"
    scale_invariant: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "nobody"

    def score(self, case):
        return case.attribution.abs().max().expand(len(case.inputs)).double()
"""


@pytest.mark.slow
def test_a_metric_of_ones_own_gives_a_sentence_per_broken_promise_and_exit_code_1(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_metrics.py").write_text(OWN)
    (tmp_path / "conf" / "metric").mkdir(parents=True)
    (tmp_path / "conf" / "metric" / "largest.yaml").write_text(
        "largest: {_target_: own_metrics.Largest}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, err = invoke(
        "check", "metric=largest", "allow=[own_metrics]", "--config-dir", str(tmp_path / "conf")
    )
    assert code == 1
    assert "largest: a sample's score depends on the rest of its batch" in err
    assert "largest: a map of zeros is scored; it should be NaN" in err
    assert "Traceback" not in err
    assert "**failed**" in out
