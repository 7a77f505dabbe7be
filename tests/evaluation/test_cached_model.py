"""Metrics of texts compute each different row once, and scores are the same to the bit."""

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
from xai_bench.evaluation.cached_model import _digests
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

    def in_blocks(self, x: Tensor, context: Mapping[str, Tensor], *, block: int) -> Tensor:
        type(self).rows += len(x)
        return super().in_blocks(x, context, block=block)


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> EvaluationContext:
    monkeypatch.setattr(Counted, "rows", 0)
    bundle = TextOptions().bundle({"train": TEXTS})
    inputs = bundle.evaluation(4, 8)
    assert bundle.symbols is not None
    network = Classifier(Transformer(replace(SMALL, n_symbols=len(bundle.symbols))), 3)
    initialise(network, seed=0)
    model = Explained(Counted(network, 3), PredictedLogit())
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
    cached, rows = context.cached_model, words_removed(context.inputs)
    alone = context.model.outputs(rows)
    assert computed(lambda: cached.outputs(rows)) == 12
    backwards = torch.arange(len(rows)).flip(0)
    assert computed(lambda: cached.outputs(rows.take(backwards))) == 0
    assert torch.equal(cached.outputs(rows), alone)
    assert torch.equal(cached.outputs(rows.take(backwards)), alone[backwards])


def test_targets_are_told_apart(context: EvaluationContext) -> None:
    cached, inputs = context.cached_model, context.inputs
    for targets in (*torch.arange(3)[:, None].expand(-1, 4), torch.tensor([0, 1, 2, 0])):
        truth = context.model.target_output(inputs, targets)
        assert torch.equal(cached.target_output(inputs, targets), truth)
        assert torch.equal(cached.target_output(inputs, targets), truth)
    assert cached.outputs(inputs).shape == (4, 3)


def test_outputs_and_the_explained_scalar_share_rows(context: EvaluationContext) -> None:
    cached, inputs = context.cached_model, context.inputs
    assert computed(lambda: cached.outputs(inputs)) == 4
    assert computed(lambda: cached.target_output(inputs, context.targets)) == 0


def test_all_that_the_network_is_given_tells_rows_apart(context: EvaluationContext) -> None:
    cached, inputs = context.cached_model, context.inputs
    cached.outputs(inputs)
    longer = {**inputs.context, "length": inputs.context["length"] + 1}
    assert computed(lambda: cached.outputs(replace(inputs, context=longer))) == 4


def test_changed_weights_pass_the_cache_by(context: EvaluationContext) -> None:
    """Whoever writes into weights, even where nothing counts it, is not given old answers."""
    cached, inputs = context.cached_model, context.inputs
    old = cached.outputs(inputs)
    weight = next(context.model.module.parameters())  # type: ignore[union-attr]
    kept = weight.detach().clone()
    weight.data.mul_(2)
    assert torch.equal(cached.outputs(inputs), context.model.outputs(inputs))
    assert not torch.equal(cached.outputs(inputs), old)
    weight.data.copy_(kept)
    assert torch.equal(cached.outputs(inputs), old)


def test_changed_settings_pass_the_cache_by(context: EvaluationContext) -> None:
    cached, inputs = context.cached_model, context.inputs
    cached.outputs(inputs)
    context.model.module.temperature = 2.0  # type: ignore[union-attr]
    assert computed(lambda: cached.outputs(inputs)) == 4


def test_a_hook_and_a_dispatch_mode_see_every_row(context: EvaluationContext) -> None:
    cached, inputs = context.cached_model, context.inputs
    cached.outputs(inputs)
    layers: nn.Module = context.model.module  # type: ignore[assignment]
    handle = next(layers.children()).register_forward_pre_hook(lambda *_: None)
    assert computed(lambda: cached.outputs(inputs)) == 4
    handle.remove()
    counter = _Counter()
    with torch.no_grad(), counter:
        cached.outputs(inputs)
    assert counter.count > 0


def test_gradients_pass_the_cache_by(context: EvaluationContext) -> None:
    freeze(context.model.module)  # type: ignore[arg-type]
    model, there = context.cached_model.relaxed(context.inputs)  # type: ignore[attr-defined]
    x = there.x.clone().requires_grad_()
    out = model.target_output(there.with_x(x), context.targets)
    (slope,) = torch.autograd.grad(out.sum(), x)
    assert slope.abs().sum() > 0


def test_a_model_whose_rows_depend_on_their_batch_is_itself(context: EvaluationContext) -> None:
    """Else its scores would depend on which of them were computed together."""
    model = replace(context.model, exact=False)  # type: ignore[type-var]
    assert replace(context, model=model).cached_model is model


def test_a_model_that_reads_no_tokens_is_itself(context: EvaluationContext) -> None:
    model = Explained(TorchPredictor(nn.Linear(2, 2), 2), PredictedLogit())
    assert replace(context, model=model).cached_model is model


def test_context_of_any_shape_and_type_tells_rows_apart(context: EvaluationContext) -> None:
    inputs = context.inputs
    more = {
        "strided": torch.arange(48).view(4, 3, 4)[:, :, ::2],
        "empty": torch.zeros(4, 0),
        "flag": torch.tensor([True, False, True, False]),
    }
    rows = _digests({"x": inputs.x, **more})
    assert len(set(rows)) == 4
    assert rows == _digests({"x": inputs.x, **{k: v.clone() for k, v in more.items()}})
    assert rows[0] != _digests({"x": inputs.x, **more, "flag": ~more["flag"]})[0]


def test_memory_is_bounded(context: EvaluationContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_bench.evaluation.cached_model._MAX_ROWS", 10)
    cached, rows = context.cached_model, words_removed(context.inputs)
    truth = context.model.outputs(rows)
    for _ in range(3):
        assert torch.equal(cached.outputs(rows), truth)
        assert len(cached.cache) <= 12  # type: ignore[attr-defined]
