"""A row has the same bits in every batch, at any padding and after any deletion of another word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from xai_bench.core.system.determinism import canonical
from xai_bench.core.tokens import DELETED, HIDDEN, ZEROED, TokenNetwork
from xai_bench.models.base import Explained
from xai_bench.models.targets import PredictedLogit
from xai_bench.models.text.networks import Bag, Recurrent, TextConvolution
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.models.training import initialise
from xai_bench.models.transformers.explicit import Architecture, Transformer
from xai_bench.models.transformers.readers import Classifier, LanguageModel
from xai_bench.types import Domain, Inputs, Symbols, Unsupported

V = 50
SMALL = Architecture(V, size=16, n_layers=2, n_heads=4, n_kv_heads=2, head_size=4, mlp_size=24)
LLAMA = replace(SMALL, positions="rotary", norm="rms", activation="silu", gated=True, biased=())
NETWORKS: Mapping[str, Any] = {
    "bag_sum": lambda: Bag(V, 8, 3, "sum"),
    "bag_mean": lambda: Bag(V, 8, 3, "mean"),
    "cnn": lambda: TextConvolution(V, 8, (2, 3), 5, 3),
    "gru": lambda: Recurrent(V, 8, "gru", 6, 3),
    "lstm": lambda: Recurrent(V, 8, "lstm", 6, 3),
    "first": lambda: Classifier(Transformer(SMALL), 3, "first", pooler=True),
    "mean": lambda: Classifier(Transformer(replace(SMALL, norm_first=False)), 3, "mean"),
    "last": lambda: Classifier(Transformer(replace(LLAMA, causal=True)), 3, "last"),
    "language_model": lambda: LanguageModel(Transformer(replace(LLAMA, causal=True))),
}
each = pytest.mark.parametrize("name", NETWORKS)


def network(name: str) -> TokenNetwork:
    made: TokenNetwork = NETWORKS[name]()
    initialise(made, seed=1)
    return made


def model(name: str) -> Explained:
    predictor = TokenPredictor(network(name), 2 if name == "language_model" else 3)
    return Explained(predictor, PredictedLogit())


def symbols() -> Symbols:
    names = tuple(f"w{k}" for k in range(V))
    return Symbols(names, torch.zeros(V).bool(), torch.zeros(V).long(), mask=3)


def texts(lengths: list[int], width: int = 64, seed: int = 0) -> Inputs:
    """Random texts of these lengths, with two candidate answers of one and two tokens."""
    generator = torch.Generator().manual_seed(seed)
    n = len(lengths)
    length, places = torch.tensor(lengths), torch.arange(width)
    ids = torch.randint(5, V, (n, width), generator=generator)
    ids = torch.where(places < length[:, None], ids, DELETED)
    answers = torch.randint(5, V, (n, 2, 2), generator=generator)
    answers[:, 1, 1] = DELETED
    return Inputs(
        x=ids.float(),
        units=torch.where(places < length[:, None], places, -1),
        index=torch.arange(n),
        domain=Domain(ids.float(), torch.ones(width), symbols=symbols()),
        context={"length": length, "answers": answers},
    )


LENGTHS = [5, 20, 17, 40, 1, 16, 33, 60, 24, 9, 12, 48, 31, 3, 50, 22, 7, 13, 44, 26]


@pytest.mark.sample(3)
@each
def test_a_row_has_the_same_bits_in_any_batch_and_order(name: str) -> None:
    inputs, explained = texts(LENGTHS), model(name)
    with canonical(), torch.no_grad():
        whole = explained.outputs(inputs)
        alone = [explained.outputs(inputs.take(torch.tensor([k]))) for k in range(len(inputs))]
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(1))
        shuffled = explained.outputs(inputs.take(order))
        many = explained.outputs(inputs.take(torch.arange(20).repeat(9)))
    assert torch.equal(torch.cat(alone), whole)
    assert torch.equal(shuffled, whole[order])
    assert torch.equal(many, whole.repeat(9, 1))


@pytest.mark.sample(2, others="slow")
@each
def test_more_padding_changes_no_bit(name: str) -> None:
    explained, narrow = model(name), texts(LENGTHS)
    spare = torch.nn.functional.pad
    wide = replace(
        narrow,
        x=spare(narrow.x, (0, 32), value=float(DELETED)),
        units=spare(narrow.units, (0, 32), value=-1),
    )
    with canonical(), torch.no_grad():
        assert torch.equal(explained.outputs(wide), explained.outputs(narrow))


@pytest.mark.sample(2, others="slow")
@each
def test_pieces_change_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, explained = texts([20] * 100), model(name)
    with canonical(), torch.no_grad():
        whole = explained.outputs(inputs)
        monkeypatch.setattr("xai_bench.models.text.predictor._PIECE", 1)
        assert torch.equal(explained.outputs(inputs), whole)


@each
def test_a_deleted_word_leaves_the_text_without_it(name: str) -> None:
    """To the bit, for the width is that of the sample's own length."""
    explained, inputs = model(name), texts([20, 22, 18])
    deleted = inputs.x.clone()
    deleted[:, [3, 7]] = DELETED
    kept = [k for k in range(64) if k not in (3, 7)]
    typed = torch.cat([inputs.x[:, kept], torch.full((3, 2), float(DELETED))], dim=1)
    with canonical(), torch.no_grad():
        one = explained.outputs(inputs.with_x(deleted))
        assert torch.equal(one, explained.outputs(inputs.with_x(typed)))
        assert not torch.equal(one, explained.outputs(inputs))


@pytest.mark.sample(2, others="slow")
@each
def test_ids_and_their_embeddings_give_the_same_bits(name: str) -> None:
    explained, inputs = model(name), texts(LENGTHS)
    smooth, points = explained.relaxed(inputs)
    with canonical(), torch.no_grad():
        assert torch.equal(smooth.outputs(points), explained.outputs(inputs))
    assert not points.domain.discrete
    assert points.units.shape == points.x.shape
    assert (points.units[:, :, 0] == inputs.units).all()


@pytest.mark.sample(3)
@each
def test_gradients_have_the_same_bits_in_any_batch(name: str) -> None:
    explained, inputs = model(name), texts(LENGTHS)
    smooth, points = explained.relaxed(inputs)

    def slopes(part: Inputs) -> Tensor:
        x = part.x.clone().requires_grad_()
        targets = torch.zeros(len(part), dtype=torch.long)
        smooth.target_output(part.with_x(x), targets).sum().backward()
        assert x.grad is not None
        return x.grad

    with canonical():
        whole = slopes(points)
        alone = [slopes(points.take(torch.tensor([k]))) for k in range(len(points))]
    assert torch.equal(torch.cat(alone), whole)
    assert (whole[points.units < 0] == 0).all()


@pytest.mark.parametrize("name", ["first", "mean", "last"])
def test_a_hidden_word_is_not_attended_to(name: str) -> None:
    """Whatever stood there; and its place stays, so that it is not deletion."""
    explained, inputs = model(name), texts([20, 22])
    hidden, deleted = inputs.x.clone(), inputs.x.clone()
    hidden[:, 5], deleted[:, 5] = HIDDEN, DELETED
    with torch.no_grad():
        one = explained.outputs(inputs.with_x(hidden))
        assert not torch.allclose(one, explained.outputs(inputs))
        assert not torch.allclose(one, explained.outputs(inputs.with_x(deleted)))


@pytest.mark.parametrize("name", ["bag_sum", "cnn", "gru"])
def test_who_attends_to_nothing_can_hide_nothing(name: str) -> None:
    inputs = texts([20])
    inputs.x[:, 5] = HIDDEN
    with pytest.raises(Unsupported, match="attends to nothing, so no token can be hidden"):
        model(name).outputs(inputs)


def test_a_zeroed_word_adds_nothing_to_a_sum() -> None:
    explained, inputs = model("bag_sum"), texts([10])
    zeroed, deleted = inputs.x.clone(), inputs.x.clone()
    zeroed[:, 4], deleted[:, 4] = ZEROED, DELETED
    with torch.no_grad():
        one, other = (explained.outputs(inputs.with_x(x)) for x in (zeroed, deleted))
    assert torch.allclose(one, other, atol=1e-6)


def test_numbers_between_ids_are_refused() -> None:
    inputs = texts([20])
    with pytest.raises(Unsupported, match="moves them to numbers between"):
        model("cnn").outputs(inputs.with_x(inputs.x + 0.5))


def test_ids_of_another_tokenizer_are_refused() -> None:
    inputs = texts([20])
    inputs.x[0, 0] = V
    with pytest.raises(ValueError, match="token id 50, and this model knows 50 tokens"):
        model("cnn").outputs(inputs)


def test_training_mode_and_half_precision_are_refused() -> None:
    explained = model("first")
    assert explained.module is not None
    explained.module.train()
    with pytest.raises(ValueError, match="in training mode"):
        explained.outputs(texts([20]))
    with pytest.raises(ValueError, match=r"convert it with module\.float"):
        TokenPredictor(network("first").half(), 3)


def test_rows_at_once_are_bounded_by_memory() -> None:
    predictor = TokenPredictor(network("first"), 3)
    few, many = (predictor.rows_at_once(w, gradient=True) for w in (512, 16))
    assert few % 16 == many % 16 == 0
    assert few * predictor.module.floats_per_row(512, gradient=True) <= 1 << 28
    assert few < many


def test_without_a_length_all_rows_have_one_width() -> None:
    inputs, explained = texts([20, 40]), model("cnn")
    bare = replace(inputs, context={})
    with torch.no_grad():
        assert torch.allclose(explained.outputs(bare), explained.outputs(inputs), atol=1e-6)


def test_a_longer_text_in_the_place_of_a_shorter_is_read_whole() -> None:
    inputs, explained = texts([5, 60]), model("bag_sum")
    swapped = inputs.with_x(inputs.x.flip(0))
    with torch.no_grad():
        assert torch.allclose(explained.outputs(swapped), explained.outputs(inputs).flip(0))


def test_rows_of_a_width_are_filled_up_once_and_only_where_bits_matter() -> None:
    exact, inputs = model("mean"), texts([10] * 3 + [20] * 17 + [40])
    asked: list[int] = []
    exact.module.register_forward_pre_hook(  # type: ignore[union-attr]
        lambda _, args: asked.append(len(args[0]))
    )
    outputs = exact.outputs(inputs)
    assert asked == [16, 32, 16]
    asked.clear()
    assert torch.allclose(replace(exact, exact=False).outputs(inputs), outputs, atol=1e-6)
    assert asked == [3, 17, 1]
