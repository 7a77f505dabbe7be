"""Metrics that retrain, on a task with one informative column of four, where losses are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.nn import functional

from tests.support import toy_worlds
from tests.support.components import component
from tests.support.model_bundles import bundle as bundle_of
from tests.support.model_bundles import normal, two_classes
from tests.support.model_variants import variants_of
from xai_bench.core import units
from xai_bench.core.baselines import Constant
from xai_bench.core.seeds import Seeds
from xai_bench.data.bundle import Bundle
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.loop import evaluate
from xai_bench.explainers.controls import InputMagnitude
from xai_bench.explainers.gradient.methods import Saliency
from xai_bench.metrics.probes.other_models.retrained import RetrainedLoss
from xai_bench.models.base import Explained
from xai_bench.models.networks import MLP
from xai_bench.models.targets import PredictedLogit
from xai_bench.models.training import Training
from xai_bench.results import Scores
from xai_bench.types import Explainer, Explanation, Inputs, Kind, Model, Rng, Unsupported

RECIPE = MLP(hidden=[8], training=Training(max_epochs=25, learning_rate=0.02))
NAMES = ("label_randomisation", "model_agreement", "roar", "kar")


@dataclass(frozen=True)
class Ranked:
    """The columns ranked in a fixed order, whatever is explained; keeps what it was asked for.

    Attributes:
        order: the columns, the most important first.
        calls: the number of samples and the targets of each call.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "control"
    order: tuple[int, ...] = (0, 1, 2, 3)
    sign: float = 1.0
    calls: list[tuple[int, Tensor]] = field(default_factory=list, compare=False)

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        self.calls.append((len(inputs), targets))
        worth = torch.zeros(4, dtype=torch.float64)
        worth[list(self.order)] = torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64)
        return Explanation((self.sign * worth).expand(len(inputs), 4))


@cache
def one_column() -> Bundle:
    """The class is the sign of column 0, which is 1 or -1; the other three columns are noise."""
    x = normal(500, 4, seed=3)
    x[:, 0] = x[:, 0].sign()
    return bundle_of(x, (x[:, 0] > 0).long(), n_classes=2)


@cache
def context_of(made: Callable[[], Bundle] = one_column) -> EvaluationContext:
    bundle, folder = made(), Path(mkdtemp())
    variants = variants_of(folder, bundle, RECIPE, n_background=64, max_rows=512)
    inputs, targets, labels = variants.split("test")
    model = Explained(variants.predictor, PredictedLogit(), 512)
    return EvaluationContext(
        model,
        inputs,
        targets,
        Seeds(0),
        labels=labels,
        variants=variants,
        batch_size=64,
        strict=True,
    )


def scores_of(
    explainer: Any, *names: str, context: EvaluationContext | None = None
) -> dict[str, Scores]:
    """Name of a metric -> its scores of the explainer, measured against a baseline of 0."""
    metrics = [ConfiguredMetric(n, against_zero(component("metric", n))) for n in names]
    configured = ConfiguredExplainer("explainer", explainer)
    return dict(evaluate(context or context_of(), configured, metrics).scores)


def against_zero(metric: Any) -> Any:
    return replace(metric, baseline=Constant(0.0)) if hasattr(metric, "baseline") else metric


# Removing and keeping


@pytest.mark.slow
def test_without_the_informative_column_nothing_can_be_learned() -> None:
    """10, 30 and 50 % of four columns are 1, 2 and 2: column 0 goes, or stays, in all three."""
    right = scores_of(Ranked((0, 1, 2, 3)), "roar", "kar")
    assert right["roar"].values.mean().item() == pytest.approx(math.log(2), abs=0.06)
    assert right["kar"].values.mean().item() == pytest.approx(0, abs=0.06)
    wrong = scores_of(Ranked((3, 2, 1, 0)), "roar", "kar")
    assert wrong["roar"].values.mean().item() == pytest.approx(0, abs=0.06)
    assert wrong["kar"].values.mean().item() == pytest.approx(math.log(2), abs=0.06)


@pytest.mark.slow
def test_the_right_column_beats_a_random_one_beats_the_wrong_one() -> None:
    results = [
        scores_of(explainer, "roar", "kar")
        for explainer in (
            Ranked((0, 1, 2, 3)),
            component("explainer", "random"),
            Ranked((3, 2, 1, 0)),
        )
    ]
    roar = [scores["roar"].values.mean().item() for scores in results]
    kar = [scores["kar"].values.mean().item() for scores in results]
    assert roar[0] > roar[1] + 0.05 > roar[2] + 0.1
    assert kar[0] < kar[1] - 0.05 < kar[2] - 0.1


@pytest.mark.slow
def test_units_are_ranked_by_magnitude() -> None:
    plus, minus = (scores_of(Ranked(sign=sign), "roar", "kar") for sign in (1.0, -2.0))
    for name in ("roar", "kar"):
        assert torch.equal(plus[name].values, minus[name].values)


@pytest.mark.slow
def test_the_training_part_is_explained_once_for_its_own_targets() -> None:
    explainer, context = Ranked(), context_of()
    scores_of(explainer, "roar", "kar")
    assert context.variants is not None
    _, train, _ = context.variants.split("train")
    _, valid, _ = context.variants.split("valid")
    _, test, _ = context.variants.split("test")
    rows = sum(n for n, _ in explainer.calls)
    assert rows == len(train) + len(valid) + len(test)
    explained = torch.cat([targets for _, targets in explainer.calls])
    assert torch.equal(explained[64 : 64 + len(train)], train), (
        "after the first batch of the test part"
    )


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("keep", [False, True])
def test_a_reference_implementation_of_the_loss_agrees(keep: bool) -> None:
    """Explained, zeroed, trained and measured sample by sample."""
    context = context_of()
    variants, metric = context.variants, "kar" if keep else "roar"
    assert variants is not None
    explainer = Saliency()
    scores = scores_of(explainer, metric)[metric].values
    expected = torch.zeros(len(scores), dtype=torch.float64)
    for count in (1, 2, 2):
        parts = []
        for name in ("train", "valid", "test"):
            inputs, targets, labels = variants.split(name)
            rng = Seeds(0).stream("explain", samples=inputs.index)
            maps = explainer.explain(context.model, inputs, targets, rng=rng).attribution.abs()
            x = inputs.x.clone()
            for row, values in zip(x, maps, strict=True):
                order = values.argsort(descending=True)
                row[order[count:] if keep else order[:count]] = 0
            parts.append(x)
        model = variants.degraded(parts[0], parts[1])
        outputs = model.outputs(inputs.with_x(parts[2])).double()
        expected += functional.cross_entropy(outputs, labels, reduction="none") / 3
    whole = context.model.outputs(inputs).double()
    expected -= functional.cross_entropy(whole, labels, reduction="none")
    torch.testing.assert_close(scores, expected)


def test_absent_units_get_the_mean_of_the_references() -> None:
    context = context_of()
    inputs = context.inputs.take(torch.arange(3))
    rng = Seeds(0).stream("any", samples=inputs.index)
    probe = RetrainedLoss(component("metric", "roar").baseline, (0.5,))
    maps = torch.tensor([4.0, -3.0, 2.0, 1.0]).expand(3, 4)
    x = probe._degraded(inputs, maps, 0.5, rng)
    fill = probe.baseline.references(inputs, rng=rng).mean(1)
    assert torch.equal(x[:, 2:], inputs.x[:, 2:])
    assert torch.equal(x[:, :2], fill[:, :2])


@dataclass(frozen=True)
class Conditional:
    """An imputer: the number of kept units, and then twice that."""

    n_references: int = 2

    def impute(self, inputs: Inputs, kept: Tensor, *, rng: Rng) -> Tensor:
        n = units.sizes(inputs.units).new_zeros(()) + kept.sum(2)
        both = torch.stack([n, 2 * n], dim=2).to(inputs.x)[..., None]
        return torch.where(kept[:, :, None], inputs.x[:, None, None], both)

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        raise AssertionError("an imputer is asked for what depends on the kept units")


def test_an_imputer_is_given_what_is_kept() -> None:
    inputs = context_of().inputs.take(torch.arange(3))
    rng = Seeds(0).stream("any", samples=inputs.index)
    probe = RetrainedLoss(Conditional(), (0.25,))
    x = probe._degraded(inputs, torch.tensor([1.0, 0, 0, 9.0]).expand(3, 4), 0.25, rng)
    assert torch.equal(x[:, :3], inputs.x[:, :3])
    assert x[:, 3].tolist() == [4.5] * 3


# Other seeds, other labels


@pytest.mark.slow
def test_a_map_that_ignores_the_model_agrees_with_every_model() -> None:
    by_metric = scores_of(InputMagnitude(), "label_randomisation", "model_agreement")
    for scores in by_metric.values():
        torch.testing.assert_close(scores.values, torch.ones_like(scores.values))


@pytest.mark.slow
def test_models_of_one_clear_task_agree_and_shuffled_labels_do_not() -> None:
    gradient = component("explainer", "gradient")
    by_metric = scores_of(
        gradient, "label_randomisation", "model_agreement", context=context_of(two_classes)
    )
    agreement = by_metric["model_agreement"].values.mean().item()
    shuffled = scores_of(
        component("explainer", "saliency"), "label_randomisation", context=context_of(two_classes)
    )
    assert agreement > 0.6
    assert shuffled["label_randomisation"].values.mean().item() < agreement - 0.2


@pytest.mark.slow
def test_similarities_are_those_of_scipy() -> None:
    context, gradient = context_of(), component("explainer", "gradient")
    assert context.variants is not None
    by_metric = scores_of(gradient, "label_randomisation", "model_agreement")
    rng = Seeds(0).stream("explain", samples=context.inputs.index)

    def maps(model: Model) -> Tensor:
        made: Tensor = gradient.explain(model, context.inputs, context.targets, rng=rng).attribution
        return made

    own, shuffled = maps(context.model), maps(context.variants.mislabelled())
    others = [maps(context.variants.retrained(member)) for member in (1, 2, 3)]
    for row in range(8):
        expected = scipy.stats.spearmanr(own[row].abs(), shuffled[row].abs()).statistic
        assert by_metric["label_randomisation"].values[row].item() == pytest.approx(expected)
        three = [scipy.stats.spearmanr(own[row], other[row]).statistic for other in others]
        assert by_metric["model_agreement"].values[row].item() == pytest.approx(sum(three) / 3)


# Form


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_scores_are_the_same_in_every_batch(name: str) -> None:
    context = replace(context_of(), shared={})
    gradient = component("explainer", "gradient")
    whole = scores_of(gradient, name, context=context)[name].values
    parts = scores_of(gradient, name, context=replace(context, batch_size=7, shared={}))[
        name
    ].values
    torch.testing.assert_close(whole, parts, rtol=1e-6, atol=1e-6)
    assert whole.dtype == torch.float64
    assert len(whole) == 100


@pytest.mark.parametrize("name", NAMES)
def test_without_data_and_recipe_retraining_is_unsupported(name: str) -> None:
    world = toy_worlds.tabular()
    explainer: Explainer = component("explainer", "saliency")
    with pytest.raises(Unsupported, match="its data and recipe"):
        component("metric", name).score(world.case(world.explain(explainer), explainer=explainer))


def test_without_labels_retraining_is_unsupported() -> None:
    by_metric = scores_of(
        Saliency(), "roar", context=replace(context_of(), labels=None, strict=False)
    )
    assert by_metric["roar"].outcome.status == "skipped"
    assert "labels" in by_metric["roar"].outcome.reason
