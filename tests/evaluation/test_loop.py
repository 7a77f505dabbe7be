"""Proves invariance of the scores, outcomes for failures, and costs, on small components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.core.seeds import Seeds
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.loop import evaluate
from xai_bench.types import Case, Explanation, Inputs, Kind, Model, Rng, Unsupported


@dataclass(frozen=True)
class Noisy:
    """Evaluates `calls` random points per sample and returns noise around x."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "test"
    calls: int = 3

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        for _ in range(self.calls):
            model.target_output(inputs, targets)
        return Explanation(inputs.x + rng.normal(*inputs.x.shape[1:]))


@dataclass(frozen=True)
class Broken(Noisy):
    error: type[Exception] = RuntimeError

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        raise self.error("this\nis why")


@dataclass(frozen=True)
class Poisoned(Noisy):
    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(torch.where(inputs.index[:, None] == 1, torch.nan, inputs.x))


@dataclass(frozen=True)
class Fit(Noisy):
    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> Noisy:
        model.outputs(background)
        return Noisy(self.calls)


@dataclass(frozen=True)
class Sum:
    """Sum of attributions plus a random number, so that draws are tested too."""

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True

    def score(self, case: Case) -> Tensor:
        return case.attribution.flatten(1).sum(1) + case.rng.uniform()


@dataclass(frozen=True)
class Rows(Sum):
    category: ClassVar[str] = "cost"

    def score(self, case: Case) -> Tensor:
        return case.cost.forward_rows


@dataclass(frozen=True)
class Again(Sum):
    """Explains the same points again: zero distance, unless `repeat` gives other random numbers."""

    repeat: int = 0

    def score(self, case: Case) -> Tensor:
        stacked = case.inputs.stacked(case.inputs.x[:, None].expand(-1, 3, -1))
        again = case.explain(stacked, repeat=self.repeat).unflatten(0, (-1, 3))
        return (again - case.attribution[:, None]).abs().sum((1, 2))


@dataclass(frozen=True)
class Fails(Sum):
    def score(self, case: Case) -> Tensor:
        raise KeyError("lost")


@dataclass(frozen=True)
class Infinite(Sum):
    def score(self, case: Case) -> Tensor:
        return torch.where(case.inputs.index == 0, torch.inf, 1.0)


@dataclass(frozen=True)
class Scalar(Sum):
    def score(self, case: Case) -> Tensor:
        return torch.tensor(1.0)


def context(batch_size: int = 2, n: int = 5, **changes: Any) -> EvaluationContext:
    world = toy_worlds.linear([1.0, 2.0, 3.0], toy_worlds.normal(n, 3))
    plain = EvaluationContext(
        world.model, world.inputs, world.targets, Seeds(7), batch_size=batch_size
    )
    return replace(plain, **changes)


def configured(*metrics: Any) -> list[ConfiguredMetric]:
    return [ConfiguredMetric(type(metric).__name__, metric) for metric in metrics]


def scores(explainer: Any, metrics: Sequence[Any], **changes: Any) -> dict[str, Tensor]:
    found = evaluate(context(**changes), ConfiguredExplainer("it", explainer), configured(*metrics))
    return {name: s.values for name, s in found.scores.items()}


def test_scores_do_not_depend_on_the_batch_size_or_on_other_metrics() -> None:
    alone = scores(Noisy(), [Sum()], batch_size=5)["Sum"]
    for size in (1, 2, 3):
        among = scores(Noisy(), [Again(), Sum(), Rows()], batch_size=size)["Sum"]
        assert torch.equal(alone, among)


def test_scores_do_not_depend_on_how_many_samples_follow() -> None:
    assert torch.equal(
        scores(Noisy(), [Sum()], n=3)["Sum"], scores(Noisy(), [Sum()], n=5)["Sum"][:3]
    )


def test_another_seed_gives_other_numbers() -> None:
    first = scores(Noisy(), [Sum()])["Sum"]
    assert not (first == scores(Noisy(), [Sum()], seeds=Seeds(8))["Sum"]).any()


def test_explaining_again_uses_the_same_random_numbers_unless_repeat_is_given() -> None:
    assert torch.equal(scores(Noisy(), [Again()])["Again"], torch.zeros(5, dtype=torch.float64))
    assert (scores(Noisy(), [Again(repeat=1)])["Again"] > 0.1).all()


def test_rows_are_counted_for_the_explanation_alone() -> None:
    counted = scores(Noisy(calls=4), [Again(), Rows()])["Rows"]
    assert counted.tolist() == [4.0] * 5


def test_fitting_is_not_part_of_the_cost_of_an_explanation() -> None:
    assert scores(Fit(calls=2), [Rows()])["Rows"].tolist() == [2.0] * 5


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RuntimeError, "failed", "RuntimeError: this is why"),
        (ValueError, "failed", "this is why"),
        (Unsupported, "skipped", "this\nis why"),
    ],
)
def test_an_explainer_that_raises_becomes_an_outcome(
    error: type[Exception], status: str, reason: str
) -> None:
    found = evaluate(context(), ConfiguredExplainer("it", Broken(error=error)), configured(Sum()))
    assert (found.outcome.status, found.outcome.reason) == (status, reason)
    assert found.explanation is None
    assert found.scores["Sum"].outcome == found.outcome


def test_strict_raises_the_error() -> None:
    with pytest.raises(RuntimeError, match="why"):
        evaluate(context(strict=True), ConfiguredExplainer("it", Broken()), configured(Sum()))


def test_nan_in_an_attribution_is_a_failure() -> None:
    found = evaluate(
        context(batch_size=5), ConfiguredExplainer("it", Poisoned()), configured(Sum())
    )
    assert found.outcome.reason == "explainer 'it' returned NaN or infinity for 1 of 5 samples"


def test_a_failing_metric_leaves_the_others_unchanged() -> None:
    found = evaluate(
        context(), ConfiguredExplainer("it", Noisy()), configured(Fails(), Sum(), Scalar())
    )
    assert found.outcome.status == "ok"
    assert found.scores["Fails"].outcome.reason == "KeyError: 'lost'"
    assert "one number per sample" in found.scores["Scalar"].outcome.reason
    assert found.scores["Sum"].values.shape == (5,)


def test_an_infinite_score_is_unscored() -> None:
    assert scores(Noisy(), [Infinite()])["Infinite"].isnan().tolist() == [True] + [False] * 4


def test_given_attributions_are_scored_unchanged_unless_a_cost_metric_runs() -> None:
    given = torch.ones(5, 3, dtype=torch.float64)
    broken = ConfiguredExplainer("it", Broken())
    found = evaluate(context(), broken, configured(Sum()), given=Explanation(given))
    assert torch.equal(found.explanation.attribution, given)
    again = evaluate(context(), broken, configured(Sum(), Rows()), given=Explanation(given))
    assert again.outcome.status == "failed"


def test_the_number_of_steps_is_the_documented_one() -> None:
    steps: list[int] = []
    evaluate(
        context(),
        ConfiguredExplainer("it", Noisy()),
        configured(Sum(), Rows()),
        on_step=steps.append,
    )
    assert sum(steps) == 3 * (1 + 2)


@dataclass(frozen=True)
class Estimates(Noisy):
    """Says how sure it is of every number, and which inputs would change the prediction."""

    def explain(self, model: Any, inputs: Inputs, targets: Tensor, *, rng: Any) -> Explanation:
        found = Noisy().explain(model, inputs, targets, rng=rng).attribution
        both, layers = torch.stack([found, -found], 1), {"first": inputs.x}
        return Explanation(
            found, found.abs(), both, layers, degrees_of_freedom=inputs.index.double()
        )


@dataclass(frozen=True)
class Reads:
    category = "fidelity"
    higher_is_better = True
    reproducible = True

    def score(self, case: Case) -> Tensor:
        stated = case.explanation
        assert torch.equal(stated.degrees_of_freedom, case.inputs.index.double())
        return stated.standard_error.sum(1) + stated.counterfactuals.sum((1, 2))


def test_every_field_of_an_explanation_reaches_result_and_metrics() -> None:
    found = evaluate(context(), ConfiguredExplainer("it", Estimates()), configured(Reads()))
    stated = found.explanation
    assert torch.equal(stated.standard_error, stated.attribution.abs())
    assert torch.equal(stated.degrees_of_freedom, found.index.double())
    assert stated.counterfactuals.shape == (5, 2, 3)
    assert torch.equal(stated.layers["first"], context().inputs.x)
    assert torch.equal(found.scores["Reads"].values, stated.standard_error.sum(1))
    again = evaluate(
        context(), ConfiguredExplainer("it", Broken()), configured(Reads()), given=found.explanation
    )
    assert torch.equal(again.scores["Reads"].values, found.scores["Reads"].values)


@dataclass(frozen=True, eq=False)
class Halves:
    values: Tensor

    def recorded(self) -> dict[str, Tensor]:
        return {"values": self.values}


@dataclass(frozen=True)
class Halving:
    shared: ClassVar[bool] = False
    by: int = 2

    def measure(self, case: Case) -> Halves:
        return Halves(case.inputs.x[:, :1] / self.by)


class Nameless(Halving):
    """Its name would hold where in memory it lies."""

    __repr__ = object.__repr__


@dataclass(frozen=True)
class Measures(Sum):
    probe: Halving = Halving()

    def score(self, case: Case) -> Tensor:
        return case.measure(self.probe).values[:, 0]


def test_recorded_measurements_of_probes_cover_all_batches() -> None:
    two_at_a_time = context(batch_size=2)
    found = evaluate(two_at_a_time, ConfiguredExplainer("it", Noisy()), configured(Measures()))
    assert list(found.measured) == ["Halving(by=2)"]
    assert torch.equal(found.measured["Halving(by=2)"]["values"], two_at_a_time.inputs.x[:, :1] / 2)


def test_probes_without_a_stable_name_are_not_recorded() -> None:
    metrics = configured(Measures(Nameless()))
    assert evaluate(context(), ConfiguredExplainer("it", Noisy()), metrics).measured == {}
