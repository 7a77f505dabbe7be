"""The explicit transformer and models as they are, against the library they come from."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.text import corpus, draw_weights, minilm_folder, needs_transformers
from xai_bench.core.tokens import HIDDEN, Sequence
from xai_bench.data.bundle import Bundle
from xai_bench.data.text.corpus import TextOptions
from xai_bench.data.text.families import PromptFamily
from xai_bench.data.text.pretrained import place_of
from xai_bench.models.base import Recipe
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.models.transformers import files
from xai_bench.models.transformers.adapters import adapter_of
from xai_bench.models.transformers.hf import Original
from xai_bench.models.transformers.parity import require_parity
from xai_bench.models.transformers.recipes import (
    HuggingFaceModel,
    PretrainedTransformer,
    explicit,
)
from xai_bench.types import Unsupported

pytestmark = [pytest.mark.slow, needs_transformers]

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32,
         "intermediate_size": 48, "max_position_embeddings": 64}  # fmt: skip
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}


@pytest.fixture(scope="module")
def data() -> Bundle:
    return corpus()


def ignore(row: Any) -> None:
    """Nothing is trained."""


def saved(folder: Path, kind: str, n_symbols: int, **changes: Any) -> Path:
    """A small model of the library with random weights, saved as its own would be."""
    import transformers as library

    family, head = kind.split("_", 1)
    made = {
        "bert": ("Bert", "BertConfig", SIZES),
        "gpt2": ("GPT2", "GPT2Config", GPT2),
        "llama": ("Llama", "LlamaConfig", {**SIZES, "num_key_value_heads": 2}),
    }[family]
    name = {"classifier": "ForSequenceClassification", "lm": "ForCausalLM"}[head]
    name = "LMHeadModel" if kind == "gpt2_lm" else name
    settings = {"vocab_size": n_symbols, "pad_token_id": 0, **made[2], **changes}
    config = getattr(library, made[1])(**settings)
    model = getattr(library, made[0] + name)(config)
    draw_weights(model, 0.2)
    model.save_pretrained(folder)
    return folder


def prompts(n_symbols: int = 0) -> Bundle:
    return PromptFamily(family="gated_lookup", n_rows=60).load()


@pytest.mark.sample(6)
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("recipe", [PretrainedTransformer, HuggingFaceModel])
def test_a_classifier_gives_the_outputs_of_the_original(
    family: str, recipe: Any, data: Bundle, tmp_path: Path
) -> None:
    assert data.symbols is not None
    folder = saved(tmp_path / "m", f"{family}_classifier", len(data.symbols), num_labels=2)
    made: Recipe = recipe(path=str(folder))
    predictor = made.train(data, seed=0, on_epoch=ignore).predictor
    original = Original.read(str(folder), "classifier").module
    for row in range(4):
        ids = data.test.x[row].long()
        with torch.no_grad():
            expected = original(input_ids=ids[ids >= 0][None]).logits
            found = predictor(data.test.x[row : row + 1], {})
        assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("recipe", [PretrainedTransformer, HuggingFaceModel])
def test_a_language_model_gives_the_log_probabilities_of_the_original(
    family: str, recipe: Any, tmp_path: Path
) -> None:
    data = prompts()
    assert data.symbols is not None
    folder = saved(tmp_path / "m", f"{family}_lm", len(data.symbols))
    predictor = recipe(path=str(folder)).train(data, seed=0, on_epoch=ignore).predictor
    original = Original.read(str(folder), "language_model").module
    part = {name: values[:4] for name, values in data.test.context.items()}
    with torch.no_grad():
        found = predictor(data.test.x[:4], part)
    for row in range(4):
        ids = data.test.x[row].long()
        with torch.no_grad():
            logits = original(input_ids=ids[ids >= 0][None]).logits[0, -1]
        expected = logits.log_softmax(0)[data.test.context["answers"][row, :, 0]]
        assert torch.allclose(found[row], expected, atol=1e-4)


def test_hiding_a_word_is_the_attention_mask_of_the_library(data: Bundle, tmp_path: Path) -> None:
    assert data.symbols is not None
    folder = saved(tmp_path / "m", "bert_classifier", len(data.symbols), num_labels=2)
    original = Original.read(str(folder), "classifier")
    network = explicit(original, "classifier")
    ids = data.test.x[:1].long()
    ids = ids[:, ids[0] >= 0]
    mask = torch.ones_like(ids)
    mask[0, 2] = 0
    hidden = torch.where(mask == 0, HIDDEN, ids)
    with torch.no_grad():
        expected = original.module(input_ids=ids, attention_mask=mask).logits
        found = network(hidden.float())
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", ["bert_classifier", "gpt2_lm", "llama_lm"])
@pytest.mark.parametrize(
    "fault", ["swapped", "scaled", "turned"], ids=["swapped heads", "scaled norm", "turned layer"]
)
def test_a_wrong_weight_is_noticed(kind: str, fault: str, tmp_path: Path) -> None:
    task = "classifier" if kind.endswith("classifier") else "language_model"
    original = Original.read(str(saved(tmp_path / "m", kind, 60)), task)  # type: ignore[arg-type]
    # A copy, because the written-out network may share its weights with the original.
    network: Any = copy.deepcopy(explicit(original, task))  # type: ignore[arg-type]
    assert require_parity(network, original.module, "it") < 1e-5
    block = network.body.blocks[0]
    if fault == "swapped":
        key, query = block.attention.key.weight, block.attention.query.weight
        before = query.data[: len(key)].clone()
        query.data[: len(key)], key.data[:] = key.data.clone(), before
    if fault == "scaled":
        block.mlp_norm.weight.data *= 1.01
    if fault == "turned":
        block.attention.output.weight.data = block.attention.output.weight.data.T.contiguous()
    with pytest.raises(ValueError, match=r"differs from the original by .* use model=hf_model"):
        require_parity(network, original.module, "it")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"model_type": "t5"}, "reads bert, gpt2, llama, and this model is t5"),
        ({"model_type": "bert", "position_embedding_type": "relative_key"},
         "has no position_embedding_type=relative_key"),
        ({"model_type": "llama", "rope_parameters": {"rope_type": "yarn"}}, "this model by yarn"),
        ({"model_type": "gpt2", "reorder_and_upcast_attn": True}, "has no reorder_and_upcast_attn"),
    ],
)  # fmt: skip
def test_variants_that_are_not_written_out_are_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(Unsupported, match=told):
        adapter_of(config).architecture(config)


def test_a_model_without_a_head_is_no_classifier(data: Bundle) -> None:
    with pytest.raises(ValueError, match=r"no weights for classifier.* so it is no classifier"):
        HuggingFaceModel(path=str(minilm_folder())).train(data, seed=0, on_epoch=ignore)


def test_a_classifier_without_its_pooler_is_refused(data: Bundle, tmp_path: Path) -> None:
    """It would be drawn at random, and everything that is classified goes through it."""
    assert data.symbols is not None
    folder = saved(tmp_path, "bert_classifier", len(data.symbols), num_labels=2)
    weights = load_file(folder / "model.safetensors")
    kept = {name: values for name, values in weights.items() if "pooler" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"no weights for .*pooler.* so it is no classifier"):
        HuggingFaceModel(path=str(folder)).train(data, seed=0, on_epoch=ignore)
    assert Original.read(str(folder), "body").n_symbols == len(data.symbols)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b""),
        ("model.safetensors", b"\x93" * 5000),
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"model_type": "bert", "hidden_size": "x"}'),
    ],
)
def test_damaged_files_are_one_sentence(name: str, content: bytes, tmp_path: Path) -> None:
    folder = saved(tmp_path, "bert_classifier", 40, num_labels=2)
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"holds no classifier .*; give a folder that save_pret"):
        Original.read(str(folder), "classifier")


def test_other_classes_are_refused(data: Bundle, tmp_path: Path) -> None:
    assert data.symbols is not None
    n = len(data.symbols)
    three = saved(tmp_path / "three", "bert_classifier", n, num_labels=3)
    with pytest.raises(ValueError, match="tells 3 classes apart, and this data has 2"):
        HuggingFaceModel(path=str(three)).train(data, seed=0, on_epoch=ignore)
    turned = saved(
        tmp_path / "turned", "bert_classifier", n, num_labels=2, id2label={0: "yes", 1: "no"}
    )
    with pytest.raises(ValueError, match="the same in another order"):
        HuggingFaceModel(path=str(turned)).train(data, seed=0, on_epoch=ignore)


def test_another_tokenizer_and_long_texts_are_refused(data: Bundle, tmp_path: Path) -> None:
    assert data.symbols is not None
    other = saved(tmp_path / "other", "bert_classifier", 5000, num_labels=2)
    with pytest.raises(ValueError, match="knows 5000: its tokenizer is another one"):
        HuggingFaceModel(path=str(other)).train(data, seed=0, on_epoch=ignore)
    short = saved(
        tmp_path / "short", "bert_classifier", len(data.symbols), num_labels=2,
        max_position_embeddings=4,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"reads 4 at most; set data\.max_tokens=4"):
        PretrainedTransformer(path=str(short)).train(data, seed=0, on_epoch=ignore)


def test_half_precision_is_told_and_computed_in_single(
    data: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import transformers as library

    assert data.symbols is not None
    folder = saved(tmp_path / "m", "bert_classifier", len(data.symbols), num_labels=2)
    model = library.BertForSequenceClassification.from_pretrained(folder, dtype=torch.float16)
    model.save_pretrained(tmp_path / "half")
    with caplog.at_level(logging.WARNING):
        made = HuggingFaceModel(path=str(tmp_path / "half"))
        predictor = made.train(data, seed=0, on_epoch=ignore).predictor
    assert "stored as float16 and computed with as float32" in caplog.text
    assert isinstance(predictor, TokenPredictor)
    assert {p.dtype for p in predictor.module.parameters()} == {torch.float32}


def test_sdpa_attention_is_refused(tmp_path: Path) -> None:
    from xai_bench.models.transformers.hf import _require_eager

    original = Original.read(str(saved(tmp_path / "m", "bert_classifier", 40)), "classifier")
    assert original.module.config._attn_implementation == "eager"
    original.module.config._attn_implementation = "sdpa"
    with pytest.raises(ValueError, match=r"computes attention with sdpa.* expected eager"):
        _require_eager("it", original.module)


def test_a_place_without_a_model_is_told(data: Bundle, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="holds no classifier that can be read"):
        HuggingFaceModel(path=str(tmp_path)).train(data, seed=0, on_epoch=ignore)
    with pytest.raises(ValueError, match="there is no folder or file 'nowhere'"):
        HuggingFaceModel(path="nowhere").train(data, seed=0, on_epoch=ignore)
    with pytest.raises(ValueError, match="hf:some/name is not in the cache"):
        HuggingFaceModel(path="hf:some/name").train(data, seed=0, on_epoch=ignore)


def test_minilm_is_that_of_the_library() -> None:
    folder = minilm_folder()
    body, _ = files.shipped_body("minilm")
    original = Original.read(str(folder), "body")
    assert require_parity(body, original.module, "minilm") < 1e-4


def test_minilm_knows_paraphrases() -> None:
    """The mean vectors of two paraphrases are near, those of others are not."""
    minilm_folder()
    body, _ = files.shipped_body("minilm")
    tokenizer = TextOptions(tokenizer="minilm").read_tokenizer([])
    means = []
    for text in ("a man is eating food", "someone eats a meal", "the stock market fell sharply"):
        ids = torch.tensor([[101, *tokenizer.encode(text).ids, 102]])
        mean = body(Sequence(body.embedding(ids), ids)).mean(1)[0]
        means.append(mean / mean.norm())
    assert means[0] @ means[1] > 0.6 > 0.2 > means[0] @ means[2]


@pytest.mark.exhaustive
def test_smollm2_is_that_of_the_library() -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    try:
        path = place_of("smollm2")
    except ValueError as reason:
        pytest.skip(str(reason))
    network = files.gguf_language_model(path)
    original = Original.read("smollm2", "language_model")
    assert require_parity(network, original.module, "smollm2") < 1e-4


def test_smollm2_knows_who_gets_the_drink() -> None:
    try:
        place_of("smollm2")
    except ValueError as reason:
        pytest.skip(str(reason))
    data = PromptFamily(family="name_mover", tokenizer="smollm2", n_rows=60).load()
    predictor = PretrainedTransformer(path="smollm2").train(data, seed=0, on_epoch=ignore).predictor
    with torch.no_grad():
        outputs = predictor(data.test.x, data.test.context)
    assert (outputs.argmax(1) == 0).all()


def test_smollm2_is_no_classifier(data: Bundle) -> None:
    with pytest.raises(Unsupported, match="smollm2 chooses between continuations"):
        PretrainedTransformer(path="smollm2").train(data, seed=0, on_epoch=ignore)
