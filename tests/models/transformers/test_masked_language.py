"""Masked language models of the library fill gaps as the library itself says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.text import corpus, draw_weights, needs_transformers
from xai_bench.core.tokens import DELETED
from xai_bench.data.bundle import Bundle
from xai_bench.models.text.masked_language import MaskedLanguageRecipe
from xai_bench.models.transformers.masked_language import (
    OriginalMaskedLanguagePredictor,
    PretrainedMaskedLanguage,
)

pytestmark = [pytest.mark.slow, needs_transformers]

SIZES = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16,
         "intermediate_size": 16, "max_position_embeddings": 64}  # fmt: skip


def saved(folder: Path, n_symbols: int, kind: str = "BertForMaskedLM") -> Path:
    """A small model of the library with random weights, saved as its own would be."""
    import transformers

    made = transformers.BertConfig(vocab_size=n_symbols, pad_token_id=0, **SIZES)
    model = getattr(transformers, kind)(made)
    draw_weights(model, 0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data() -> Bundle:
    return corpus()


@pytest.fixture(scope="module")
def folder(data: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert data.symbols is not None
    return saved(tmp_path_factory.mktemp("masked") / "m", len(data.symbols))


@pytest.fixture(scope="module")
def model(data: Bundle, folder: Path) -> OriginalMaskedLanguagePredictor:
    recipe = MaskedLanguageRecipe(path=str(folder))
    predictor = recipe.train(data, seed=0, on_epoch=lambda _: None).predictor
    assert isinstance(predictor, OriginalMaskedLanguagePredictor)
    return predictor


def texts(data: Bundle) -> tuple[Tensor, Tensor]:
    """Rows of several lengths, two words of each missing; the first id is a token like others."""
    tokens = data.train.x[:6].long()
    tokens[0, 0] = 0
    missing = torch.zeros_like(tokens, dtype=torch.bool)
    missing[:, 1:3] = tokens[:, 1:3] != DELETED
    return tokens, missing


def test_scores_are_those_of_the_original(
    data: Bundle, folder: Path, model: OriginalMaskedLanguagePredictor
) -> None:
    """Row by row, without padding, the gaps as mask tokens."""
    import transformers

    assert data.symbols is not None
    original: Any = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    tokens, missing = texts(data)
    with torch.no_grad():
        found = model.network(tokens, missing)
        for row, (ids, gap) in enumerate(zip(tokens, missing, strict=True)):
            here = ids != DELETED
            masked = torch.where(gap, data.symbols.mask, ids)[here]
            expected = original(input_ids=masked[None]).logits[0][:, model.candidates]
            torch.testing.assert_close(found[row, here], expected, rtol=0, atol=1e-4)


def test_a_draw_picks_its_share_of_the_originals_probability(
    data: Bundle, model: OriginalMaskedLanguagePredictor
) -> None:
    tokens, missing = texts(data)
    draws = ((torch.arange(8) + 0.5) / 8)[None, :, None].expand(6, 8, tokens.shape[1])
    filled = model.sample(tokens, missing, draws)
    with torch.no_grad():
        cumulative = model.network(tokens, missing).double().softmax(2).cumsum(2)
    for row, place in missing.nonzero().tolist():
        expected = [int((cumulative[row, place] < d).sum()) for d in draws[row, :, place].tolist()]
        assert filled[row, :, place].tolist() == model.candidates[expected].tolist()
    stays = ~missing[:, None].expand_as(filled)
    assert torch.equal(filled[stays], tokens[:, None].expand_as(filled)[stays])
    assert data.symbols is not None
    assert not data.symbols.special[model.candidates].any()


def test_a_row_has_the_same_bits_in_every_batch(
    data: Bundle, model: OriginalMaskedLanguagePredictor
) -> None:
    """Rows of 5 to 40 tokens: some go through the model with 16 places, some with 48."""
    word = int(model.candidates[0])
    tokens = torch.full((4, 40), DELETED)
    for row, length in enumerate((5, 40, 9, 33)):
        tokens[row, :length] = word
    together = model.log_probability(tokens)
    for row in range(4):
        assert torch.equal(model.log_probability(tokens[[row]]), together[[row]])


def refused(path: Path, bundle: Bundle, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        PretrainedMaskedLanguage(str(path)).train(bundle, seed=0, on_epoch=lambda _: None)


def test_a_model_of_other_tokens_is_one_sentence(data: Bundle, tmp_path: Path) -> None:
    assert data.symbols is not None
    tokens = data.symbols.tokens
    n, half = len(tokens), len(tokens) // 2
    refused(saved(tmp_path / "other", 5000), data, "knows 5000: its tokenizer is another one")
    refused(saved(tmp_path / "body", n, "BertModel"), data, "so it is no masked")
    same_size = saved(tmp_path / "same", n)
    words = [*tokens[:half], *(f"w{i}" for i in range(half, n))]
    (same_size / "vocab.txt").write_text("\n".join(words) + "\n")
    (same_size / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizerFast"}')
    refused(same_size, data, f"token {half} of the data is '{tokens[half]}', and 'w{half}' of")
    unmasked = replace(data, symbols=replace(data.symbols, mask=None))
    refused(same_size, unmasked, "has no mask token")
