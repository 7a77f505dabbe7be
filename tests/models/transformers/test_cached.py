"""What lies in the cache of transformers is that of its commit, and no hub is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.text import corpus, draw_weights, needs_transformers
from xai_bench.data.text.corpus import read_tokenizer
from xai_bench.models.transformers.recipes import HuggingFaceModel, PretrainedTransformer

pytestmark = [pytest.mark.slow, needs_transformers]

OLD, NEW = "a" * 40, "b" * 40
SIZES = {
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 16,
}


def snapshot(cache: Path, commit: str, n_symbols: int) -> None:
    """What loading `someone/tiny` leaves in the cache, the commit its branch `main` today."""
    import transformers
    from tokenizers import BertWordPieceTokenizer

    repository = cache / "models--someone--tiny"
    folder = repository / "snapshots" / commit
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    config = transformers.BertConfig(vocab_size=n_symbols, num_labels=2, pad_token_id=0, **SIZES)
    model = transformers.BertForSequenceClassification(config)
    draw_weights(model, 0.1 if commit == OLD else 0.2)
    model.save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=BertWordPieceTokenizer(str(folder / "vocab.txt"))._tokenizer,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    ).save_pretrained(folder)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no way to the hub."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("somebody asked the hub")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    return tmp_path


def test_a_cached_model_is_that_of_its_commit_and_no_hub_is_asked(cache: Path) -> None:
    data = corpus()
    assert data.symbols is not None
    for commit in (OLD, NEW):
        snapshot(cache, commit, len(data.symbols))
    outputs = []
    for name, recipe in (
        ("hf:someone/tiny", HuggingFaceModel),
        (f"hf:someone/tiny@{NEW}", PretrainedTransformer),
        (f"hf:someone/tiny@{OLD}", HuggingFaceModel),
    ):
        predictor = recipe(path=name).train(data, seed=0, on_epoch=lambda _: None).predictor
        with torch.no_grad():
            outputs.append(predictor(data.test.x[:4], {}))
    branch, new, old = outputs
    assert torch.allclose(branch, new, atol=1e-5)
    assert not torch.allclose(old, new, atol=1e-3)
    assert read_tokenizer("hf:someone/tiny").encode("good bad").ids == (5, 6)


def test_a_branch_that_moves_is_another_model(cache: Path) -> None:
    snapshot(cache, OLD, 10)
    before = HuggingFaceModel("hf:someone/tiny").fingerprint()
    assert before == HuggingFaceModel(f"hf:someone/tiny@{OLD}").fingerprint()
    snapshot(cache, NEW, 10)
    assert HuggingFaceModel("hf:someone/tiny").fingerprint() != before
    assert HuggingFaceModel(f"hf:someone/tiny@{OLD}").fingerprint() == before


def test_what_is_not_there_is_one_sentence_with_what_is(cache: Path) -> None:
    snapshot(cache, OLD, 10)
    with pytest.raises(ValueError, match=rf"hf:someone/tiny@{NEW} is not in the cache .*\({OLD}\)"):
        HuggingFaceModel(f"hf:someone/tiny@{NEW}").fingerprint()
    with pytest.raises(ValueError, match=r"hf:nobody/nothing is not .*nor at any other commit"):
        read_tokenizer("hf:nobody/nothing")


@pytest.mark.parametrize("name", ["hf:", "hf:a/b/c", "hf:-x", "hf:a b", "hf:@main"])
def test_a_name_that_no_model_can_have_is_one_sentence(name: str, cache: Path) -> None:
    with pytest.raises(ValueError, match=r"^'hf:.*' names no model: found '.*' after hf:"):
        read_tokenizer(name)
