"""What is known by mathematics: bags of words, and the difference between masking and deletion."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.seeds import Seeds
from xai_bench.core.token_removal import TokenRemoval
from xai_bench.core.tokens import DELETED
from xai_bench.data.text.corpus import Example, TextOptions
from xai_bench.data.text.grammar import SentimentGrammar
from xai_bench.evaluation.context import ConfiguredExplainer
from xai_bench.evaluation.embeddings import at_embeddings
from xai_bench.explainers.gradient.integrated import IntegratedGradients
from xai_bench.explainers.gradient.methods import Gradient, InputXGradient, Saliency
from xai_bench.explainers.gradient.token_paths import (
    DiscretisedIntegratedGradients,
    SequentialIntegratedGradients,
)
from xai_bench.explainers.removal.occlusion import LeaveOneOut
from xai_bench.explainers.removal.shapley import ExactShapley, KernelSHAP
from xai_bench.explainers.removal.spans import HierarchicalOcclusion, OwenValues
from xai_bench.explainers.wrapped.lime_library import LimeText
from xai_bench.models.base import Explained
from xai_bench.models.oracle import Oracle
from xai_bench.models.targets import TrueLabel
from xai_bench.models.text.networks import Bag, Pooling
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.models.training import initialise
from xai_bench.types import Explainer, Inputs

TEXTS = [
    Example("this unbelievable film is not very good", "yes"),
    Example("good", "yes"),
    Example("a dull and overlong film", "no"),
    Example("this is bad , bad", "no"),
] * 3


def corpus() -> Inputs:
    return TextOptions().bundle({"train": TEXTS}).evaluation(4, 4)


def bag(inputs: Inputs, pooling: Pooling) -> Explained:
    assert inputs.domain.symbols is not None
    network = Bag(len(inputs.domain.symbols), 6, 2, pooling, bias=False).double()
    initialise(network, seed=3)
    return Explained(TokenPredictor(network, 2), TrueLabel())


def score_of_words(model: Explained, target: int) -> Tensor:
    """`[V]`: `w . e_t` of every word."""
    network: Any = model.module
    table: Tensor = network.embedding.weight @ network.head.weight[target]
    return table.detach()


def explained(explainer: Any, model: Explained, inputs: Inputs, targets: Tensor) -> Tensor:
    """By the way of the loop: at the embeddings where a gradient is needed."""
    configured = at_embeddings(ConfiguredExplainer("it", explainer), inputs)
    rng = Seeds(0).stream("explain", samples=inputs.index)
    found: Explainer = configured.explainer
    return found.explain(model, inputs, targets, rng=rng).attribution.double()


MASK, ZERO = TokenRemoval("mask"), TokenRemoval("zero_embedding")


@pytest.mark.parametrize(
    ("explainer", "reference"),
    [
        pytest.param(LeaveOneOut(MASK), "mask", id="leave_one_out"),
        pytest.param(ExactShapley(MASK), "mask", id="exact_shapley"),
        pytest.param(KernelSHAP(MASK, budget=64), "mask", id="kernel_shap"),
        pytest.param(IntegratedGradients(MASK, budget=2), "mask", id="integrated_gradients"),
        pytest.param(HierarchicalOcclusion(MASK), "mask", id="hierarchical_occlusion"),
        pytest.param(OwenValues(MASK), "mask", id="owen"),
        pytest.param(
            SequentialIntegratedGradients(MASK, n_steps=2), "mask", id="sequential_integrated"
        ),
        pytest.param(
            DiscretisedIntegratedGradients(MASK, n_steps=5), "mask", id="discretised_integrated"
        ),
        pytest.param(LeaveOneOut(ZERO), "zero", id="leave_one_out_zero"),
        pytest.param(IntegratedGradients(ZERO, budget=1), "zero", id="integrated_gradients_zero"),
        pytest.param(InputXGradient(), "zero", id="input_x_gradient"),
    ],
)
@pytest.mark.parametrize("target", [0, 1])
def test_a_bag_of_words_gives_each_word_its_own_score(
    explainer: Any, reference: str, target: int
) -> None:
    """`w . (e_t - e_ref)`; input times gradient has the reference 0."""
    inputs = corpus()
    model, targets = bag(inputs, "sum"), torch.full((4,), target)
    assert inputs.domain.symbols is not None
    score = score_of_words(model, target)
    absent = score[inputs.domain.symbols.mask] if reference == "mask" else 0
    expected = torch.where(inputs.units < 0, 0, score[inputs.x.long().clamp(min=0)] - absent)
    found = explained(explainer, model, inputs, targets)
    assert torch.allclose(found, expected, atol=1e-6)
    assert (found[inputs.units < 0] == 0).all()  # special tokens and padding


@pytest.mark.slow
def test_lime_of_the_library_orders_the_words_of_a_bag() -> None:
    """Its ridge penalty shrinks the scores, and keeps their order."""
    pytest.importorskip("lime")
    inputs = corpus()
    model, targets = bag(inputs, "sum"), torch.ones(4, dtype=torch.long)
    assert inputs.domain.symbols is not None
    score = score_of_words(model, 1) - score_of_words(model, 1)[inputs.domain.symbols.mask]
    found = explained(LimeText(MASK, budget=400), model, inputs, targets)
    for row, real in enumerate(inputs.units >= 0):
        expected = score[inputs.x[row, real].long()]
        assert torch.equal(found[row, real].argsort(), expected.argsort()), row
    assert (found[inputs.units < 0] == 0).all()


def test_a_sensitivity_becomes_the_length_of_the_slope() -> None:
    inputs = corpus()
    model, targets = bag(inputs, "sum"), torch.ones(4, dtype=torch.long)
    configured = at_embeddings(ConfiguredExplainer("it", Gradient()), inputs)
    assert configured.explainer.kind == "relevance"
    network: Any = model.module
    found = explained(Gradient(), model, inputs, targets)
    length = network.head.weight[1].norm()
    assert torch.allclose(found[inputs.units >= 0], length.expand(int((inputs.units >= 0).sum())))
    total = explained(Saliency(), model, inputs, targets)
    assert torch.allclose(total[inputs.units >= 0], network.head.weight[1].abs().sum().double())


@pytest.mark.parametrize("n_words", [1, 2, 5])
def test_a_mean_tells_deletion_from_masking(n_words: int) -> None:
    """Of a mean over `n` tokens, masking one changes `(s_mask - s_i) / n`; deleting it also makes
    all others count more: `mean - (sum - s_i) / (n - 1)`.
    """
    text = " ".join(["good", "bad", "dull", "film", "here"][:n_words])
    bundle = TextOptions().bundle({"train": [Example(text, "a"), Example("bad film", "b")] * 5})
    inputs = bundle.evaluation(2, 2)
    row = int((inputs.context["length"] == n_words + 2).nonzero()[0, 0])
    inputs = inputs.take(torch.tensor([row]))
    model = bag(inputs, "mean")
    score = score_of_words(model, 1)[inputs.x[0].long().clamp(min=0)]
    score = torch.where(inputs.x[0] == DELETED, 0, score)
    n, total = n_words + 2, score.sum()
    masked = score_of_words(model, 1)[bundle.symbols.mask]  # type: ignore[union-attr]
    targets = torch.ones(1, dtype=torch.long)
    for operator, expected in (
        ("mask", (score - masked) / n),
        ("deletion", total / n - (total - score) / (n - 1)),
        ("zero_embedding", score / n),
    ):
        found = explained(LeaveOneOut(TokenRemoval(operator)), model, inputs, targets)  # type: ignore[arg-type]
        real = inputs.units[0] >= 0
        assert torch.allclose(found[0][real], expected[real].double(), atol=1e-6), operator


def test_sub_words_add_up_to_the_word(tmp_path: Any) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "over", "##long", "film", "dull", "a"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    examples = [Example("a overlong film", "x"), Example("dull film", "y")] * 5
    inputs = TextOptions(tokenizer=str(tmp_path / "vocab.txt")).bundle({"train": examples})
    part = inputs.evaluation(2, 2)
    row = part.take((part.context["length"] == 6).nonzero()[:, 0][:1])
    assert row.units[0].tolist()[:6] == [-1, 0, 1, 1, 2, -1]
    model, targets = bag(row, "sum"), torch.ones(1, dtype=torch.long)
    score = score_of_words(model, 1) - score_of_words(model, 1)[4]
    word = score[5] + score[6]
    for explainer in (LeaveOneOut(MASK), ExactShapley(MASK), IntegratedGradients(MASK, budget=2)):
        found = units.pool(explained(explainer, model, row, targets), row.units)
        assert found[0, 1].item() == pytest.approx(word.item(), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "explainer", [ExactShapley(MASK), IntegratedGradients(MASK, budget=8)], ids=["shapley", "ig"]
)
def test_the_written_truth_of_the_grammar(explainer: Any) -> None:
    """Exact Shapley values and integrated gradients from [MASK] are the truth of the oracle."""
    bundle = SentimentGrammar(n_rows=400).load()
    inputs = bundle.evaluation(60, 20)
    short = inputs.take((inputs.context["length"] <= 12).nonzero()[:, 0][:4])
    predictor = Oracle().train(bundle, seed=0, on_epoch=lambda row: None).predictor
    model, targets = Explained(predictor, TrueLabel(), max_rows=2048), torch.tensor([0, 1, 1, 0])
    assert inputs.domain.truth is not None
    truth = inputs.domain.truth(short, targets)
    found = explained(explainer, model, short, targets)
    assert torch.allclose(found, truth, atol=1e-5)
