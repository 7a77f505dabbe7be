"""Gradient methods of a language model find what inseq finds, where it works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.text import draw_weights
from xai_bench.core.seeds import Seeds
from xai_bench.core.token_removal import TokenRemoval
from xai_bench.data.bundle import Bundle
from xai_bench.data.text.families import PromptFamily
from xai_bench.evaluation.context import ConfiguredExplainer
from xai_bench.evaluation.embeddings import at_embeddings
from xai_bench.explainers.gradient.integrated import IntegratedGradients
from xai_bench.explainers.gradient.methods import InputXGradient
from xai_bench.models.base import Explained
from xai_bench.models.text.targets import Continuation
from xai_bench.models.transformers.recipes import PretrainedTransformer

inseq = pytest.importorskip("inseq")

pytestmark = pytest.mark.slow

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 64}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Bundle:
    return PromptFamily(family="gated_lookup", n_rows=60).load()


def tokenizer(names: tuple[str, ...]) -> Any:
    """Whose ids are those of the data; a word is a token."""
    import tokenizers
    import transformers

    vocabulary = {name: number for number, name in enumerate(names)}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=names[1]))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": names[0], "unk_token": names[1], "eos_token": "</s>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special)


@pytest.fixture(scope="module")
def model(data: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers

    assert data.symbols is not None
    folder = tmp_path_factory.mktemp("model")
    config = transformers.LlamaConfig(vocab_size=len(data.symbols), pad_token_id=0, **SIZES)
    made = transformers.LlamaForCausalLM(config)
    draw_weights(made, 0.3)
    made.save_pretrained(folder)
    return folder


def ours(explainer: Any, data: Bundle, folder: Path) -> Tensor:
    """`[B, T]` of the log-probability of the first answer."""
    trained = PretrainedTransformer(str(folder)).train(data, seed=0, on_epoch=lambda _: None)
    target = Continuation()
    inputs = target.prepare(data.evaluation(4, 8))
    there = at_embeddings(ConfiguredExplainer("it", explainer), inputs).explainer
    explained = Explained(trained.predictor, target)
    rng = Seeds(0).stream("explain", samples=inputs.index)
    found = there.explain(explained, inputs, torch.zeros(4, dtype=torch.long), rng=rng)
    return found.attribution.double()


def theirs(method: str, data: Bundle, folder: Path, **settings: Any) -> list[Tensor]:
    """`[t]` of each prompt, of its own tokens."""
    import transformers

    names = data.symbols.tokens
    own = transformers.LlamaForCausalLM.from_pretrained(folder)
    peer = inseq.load_model(own.eval(), method, tokenizer=tokenizer(names))
    inputs, found = data.evaluation(4, 8), []
    for row in range(4):
        ids = [int(i) for i in inputs.x[row] if i >= 0]
        answer = int(inputs.context["answers"][row, 0, 0])
        prompt = " ".join(names[i] for i in ids)
        out = peer.attribute(prompt, f"{prompt} {names[answer]}", show_progress=False, **settings)
        found.append(out.sequence_attributions[0].target_attributions[: len(ids), 0].sum(-1))
    return found


def test_gradients_times_inputs_are_its_own(data: Bundle, model: Path) -> None:
    """It differentiates the probability: ours, of the logarithm, times one number for a prompt."""
    peers = theirs("input_x_gradient", data, model, attributed_fn="probability")
    for own, peer in zip(ours(InputXGradient(), data, model), peers, strict=True):
        words = own[: len(peer)] != 0  # special tokens are no units here
        assert words.sum() > 5
        shares = peer.double()[words] / own[: len(peer)][words]
        assert (shares > 0).all()
        torch.testing.assert_close(shares, shares[:1].expand_as(shares), rtol=1e-3, atol=0)


def test_integrated_gradients_are_its_own(data: Bundle, model: Path) -> None:
    """From the unknown token, as it starts; of the logarithm of the probability."""
    settings = {"n_steps": 300, "internal_batch_size": 100, "attributed_fn": "crossentropy"}
    peers = theirs("integrated_gradients", data, model, **settings)
    explainer = IntegratedGradients(TokenRemoval("unknown"), budget=300)
    for own, peer in zip(ours(explainer, data, model), peers, strict=True):
        torch.testing.assert_close(own[: len(peer)], -peer.double(), rtol=1e-3, atol=1e-4)
