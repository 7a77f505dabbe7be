"""Metrics of texts compute each different row once, and no number is another for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.models.text.test_predictor import SMALL
from xai_bench.core.calls.module_state import freeze
from xai_bench.core.seeds import Seeds
from xai_bench.core.tokens import DELETED
from xai_bench.data.text.corpus import Example, TextOptions
from xai_bench.evaluation.context import EvaluationContext
from xai_bench.metrics.probes.flops import _Counter
from xai_bench.models.base import Explained, TorchPredictor
from xai_bench.models.targets import PredictedLogit
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.models.training import initialise
from xai_bench.models.transformers.explicit import Transformer
from xai_bench.models.transformers.readers import Classifier
from xai_bench.types import Inputs

TEXTS = [Example(f"this film is what it is , {'so ' * n}bad", "yn"[n % 2]) for n in range(24)]


class Counted(TokenPredictor):
    """Counts the rows that it is asked for."""

    rows = 0

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        type(self).rows += len(x)
        return super().__call__(x, context)


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> EvaluationContext:
    monkeypatch.setattr(Counted, "rows", 0)
    bundle = TextOptions().bundle({"train": TEXTS})
    inputs = bundle.evaluation(4, 8)
    assert bundle.symbols is not None
    network = Classifier(Transformer(replace(SMALL, n_symbols=len(bundle.symbols))), 3)
    initialise(network, seed=0)
    # Not exact, or the model would fill up every call, and what is asked could not be counted.
    model = Explained(Counted(network, 3), PredictedLogit(), exact=False)
    targets = torch.arange(4) % 3
    return EvaluationContext(model, inputs, targets, Seeds(0))


def words_removed(inputs: Inputs) -> Inputs:
    """Every sample without each of its first three words, and once more without the first."""
    points = inputs.x[:, None].repeat(1, 4, 1)
    for n, place in enumerate((1, 2, 3, 1)):
        points[:, n, place] = DELETED
    return inputs.stacked(points)


def computed(work: Callable[[], object]) -> int:
    """How many rows the work computes."""
    before = Counted.rows
    work()
    return Counted.rows - before


def test_a_row_is_computed_once_with_the_bits_of_any_batch(context: EvaluationContext) -> None:
    asked, rows = context.asked_by_metrics, words_removed(context.inputs)
    alone = context.model.outputs(rows)
    assert computed(lambda: asked.outputs(rows)) == 12
    backwards = torch.arange(len(rows)).flip(0)
    assert computed(lambda: asked.outputs(rows.take(backwards))) == 0
    assert torch.equal(asked.outputs(rows), alone)
    assert torch.equal(asked.outputs(rows.take(backwards)), alone[backwards])


def test_targets_are_told_apart(context: EvaluationContext) -> None:
    asked, inputs = context.asked_by_metrics, context.inputs
    for target in range(3):
        targets = torch.full((4,), target)
        truth = context.model.target_output(inputs, targets)
        assert torch.equal(asked.target_output(inputs, targets), truth)
        assert torch.equal(asked.target_output(inputs, targets), truth)
    assert asked.outputs(inputs).shape == (4, 3)


def test_all_that_the_network_is_given_tells_rows_apart(context: EvaluationContext) -> None:
    asked, inputs = context.asked_by_metrics, context.inputs
    asked.outputs(inputs)
    longer = {**inputs.context, "length": inputs.context["length"] + 1}
    assert computed(lambda: asked.outputs(replace(inputs, context=longer))) == 4


def test_another_network_is_asked_anew(context: EvaluationContext) -> None:
    """Whoever writes into weights, even where nothing counts it, is not given old answers."""
    asked, inputs = context.asked_by_metrics, context.inputs
    old = asked.outputs(inputs)
    weight = next(context.model.module.parameters())  # type: ignore[union-attr]
    kept = weight.detach().clone()
    weight.data.mul_(2)
    assert torch.equal(asked.outputs(inputs), context.model.outputs(inputs))
    assert not torch.equal(asked.outputs(inputs), old)
    weight.data.copy_(kept)
    assert torch.equal(asked.outputs(inputs), old)


def test_what_looks_on_sees_every_row(context: EvaluationContext) -> None:
    asked, inputs = context.asked_by_metrics, context.inputs
    asked.outputs(inputs)
    layers: nn.Module = context.model.module  # type: ignore[assignment]
    handle = next(layers.children()).register_forward_pre_hook(lambda *_: None)
    assert computed(lambda: asked.outputs(inputs)) == 4
    handle.remove()
    counter = _Counter()
    with torch.no_grad(), counter:
        asked.outputs(inputs)
    assert counter.count > 0


def test_a_way_back_is_one(context: EvaluationContext) -> None:
    freeze(context.model.module)  # type: ignore[arg-type]
    model, there = context.asked_by_metrics.relaxed(context.inputs)  # type: ignore[attr-defined]
    x = there.x.clone().requires_grad_()
    out = model.target_output(there.with_x(x), context.targets)
    (slope,) = torch.autograd.grad(out.sum(), x)
    assert slope.abs().sum() > 0


def test_a_model_that_reads_no_tokens_is_itself(context: EvaluationContext) -> None:
    model = Explained(TorchPredictor(nn.Linear(2, 2), 2), PredictedLogit())
    assert replace(context, model=model).asked_by_metrics is model


def test_memory_is_bounded(context: EvaluationContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_bench.evaluation.remembered_rows._MOST", 10)
    asked, rows = context.asked_by_metrics, words_removed(context.inputs)
    truth = context.model.outputs(rows)
    for _ in range(3):
        assert torch.equal(asked.outputs(rows), truth)
        assert len(asked.answers) <= 12  # type: ignore[attr-defined]
