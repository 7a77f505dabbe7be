"""Every explainer and metric on a text: it works or says in a sentence why not; nothing fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.models.text.test_predictor import SMALL
from tests.support import components
from tests.support.components import all_of, component, options
from xai_bench.certify.explainer import QUICK
from xai_bench.core.seeds import Seeds
from xai_bench.core.system.determinism import canonical
from xai_bench.data.text.corpus import Example, TextOptions
from xai_bench.evaluation.budgets import evaluate_at_budgets
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.loop import evaluate
from xai_bench.models.base import Explained
from xai_bench.models.targets import PredictedLogit
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.models.training import initialise
from xai_bench.models.transformers.explicit import Transformer
from xai_bench.models.transformers.readers import Classifier
from xai_bench.results import ExplainerResult

LONG = "a film " + "of many words and so on " * 4
TEXTS = [
    Example("this unbelievable film is good", "y"),
    Example(LONG, "y"),
    Example("a dull film , really", "n"),
    Example("bad", "n"),
] * 4
REMOVAL = "xai_bench.core.token_removal.TokenRemoval"


@pytest.fixture(autouse=True)
def _token_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"explain": "mask", "measure": "deletion"}
    chosen = {slot: {"_target_": REMOVAL, "operator": name} for slot, name in found.items()}
    monkeypatch.setattr(components, "BASELINES", chosen)


@pytest.fixture(scope="module")
def context() -> EvaluationContext:
    bundle = TextOptions().bundle({"train": TEXTS})
    inputs = bundle.evaluation(4, 8)
    assert bundle.symbols is not None
    network = Classifier(Transformer(replace(SMALL, n_symbols=len(bundle.symbols))), 2)
    initialise(network, seed=0)
    model = Explained(TokenPredictor(network, 2), PredictedLogit(), max_rows=256)
    with torch.no_grad():
        targets = model.outputs(inputs).argmax(1)
    labels = bundle.test.y[: len(inputs)]
    return EvaluationContext(model, inputs, targets, Seeds(0), labels=labels, batch_size=4)


def quick(group: str, name: str) -> Any:
    made = components._made(group, name, {})
    fields = getattr(made, "__dataclass_fields__", {})
    return components._made(group, name, {k: v for k, v in QUICK.items() if k in fields})


def run(context: EvaluationContext, explainer: str, *metrics: str) -> ExplainerResult:
    judged = [ConfiguredMetric(name, quick("metric", name)) for name in metrics]
    return evaluate(context, ConfiguredExplainer(explainer, quick("explainer", explainer)), judged)


def test_samples_of_one_width_are_explained_together(context: EvaluationContext) -> None:
    """And what comes out stands in the order of the samples again."""
    lengths = context.inputs.context["length"]
    assert lengths.amax() > 24 > lengths.amin()
    for rows in context.batches():
        assert len(set(torch.bucketize(lengths[rows], torch.tensor([16, 24, 32])).tolist())) == 1
    found = run(context, "constant")
    assert found.explanation is not None
    marked = found.explanation.attribution > 0
    assert torch.equal(marked, context.inputs.units >= 0)


@pytest.mark.sample(8)
@pytest.mark.sample(8, others="slow")
@all_of("explainer")
def test_no_explainer_fails(name: str, context: EvaluationContext) -> None:
    found = run(context, name)
    assert found.outcome.status != "failed", found.outcome
    if found.explanation is not None:
        attribution = found.explanation.attribution
        assert attribution.shape == context.inputs.x.shape
        assert (attribution[context.inputs.units < 0] == 0).all()


@pytest.mark.parametrize(
    "explainer",
    [
        pytest.param("random", marks=pytest.mark.slow),
        pytest.param("leave_one_out", marks=pytest.mark.exhaustive),
        pytest.param("integrated_gradients", marks=pytest.mark.exhaustive),
    ],
)
def test_no_metric_fails(explainer: str, context: EvaluationContext) -> None:
    found = run(context, explainer, *options("metric"))
    failed = {n: s.outcome.reason for n, s in found.scores.items() if s.outcome.status == "failed"}
    assert failed == {}
    ok = [name for name, scores in found.scores.items() if scores.outcome.status == "ok"]
    assert {"deletion", "comprehensiveness", "infidelity", "monotonicity_arya"} <= set(ok)


MIXED = [
    "leave_one_out",
    "integrated_gradients",
    "kernel_shap",
    "saliency",
    "smoothgrad",
    "lime",
    "attention_rollout",
    "generic_attention",
]
JUDGES = ["deletion", "comprehensiveness", "faithfulness_correlation", "mprt_top_down"]


@pytest.mark.parametrize(
    ("name", "judges"),
    [
        pytest.param("leave_one_out", JUDGES, marks=pytest.mark.slow),
        *(pytest.param(name, JUDGES, marks=pytest.mark.exhaustive) for name in MIXED[1:]),
    ],
)
def test_batches_and_batch_mates_change_no_bit(
    name: str, judges: list[str], context: EvaluationContext
) -> None:
    two = torch.arange(2)
    fewer = replace(
        context, inputs=context.inputs.take(two), targets=context.targets[two], shared={}
    )
    with canonical():
        whole = run(context, name, *judges)
        alone = run(replace(context, batch_size=1, shared={}), name, *judges)
        part = run(fewer, name, *judges)
    assert whole.explanation is not None
    for other in (alone, part):
        assert other.explanation is not None
        n = len(other.index)
        assert torch.equal(whole.explanation.attribution[:n], other.explanation.attribution)
        for metric in judges:
            ours, theirs = whole.scores[metric].values[:n], other.scores[metric].values
            assert torch.equal(ours.nan_to_num(), theirs.nan_to_num()), metric


def test_several_budgets_at_the_embeddings(context: EvaluationContext) -> None:
    """The same bits as a run of each budget alone."""
    budgets = (4, 8)
    made = [
        ConfiguredExplainer(
            "expected_gradients",
            component("explainer", "expected_gradients", budget=budget),
            config={"budget": budget},
        )
        for budget in budgets
    ]
    together = evaluate_at_budgets(context, made, [], on_step=lambda _: None)
    for one, found in zip(made, together, strict=True):
        alone = evaluate(context, one, [])
        assert alone.explanation is not None
        assert found.explanation is not None
        assert torch.equal(alone.explanation.attribution, found.explanation.attribution)
        assert found.kind == "contribution"
