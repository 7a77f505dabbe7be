"""A masked language model learns which tokens fit a gap, and draws them row by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from xai_bench.core.tokens import DELETED
from xai_bench.data.bundle import Bundle, Split
from xai_bench.models.text.masked_language import MaskedLanguagePredictor, MaskedLanguageRecipe
from xai_bench.types import ROW_BLOCK, Symbols, Unsupported

START, A, B, C, D, UNSEEN = range(6)
WIDTH = 4


def split(n: int, seed: int) -> Split:
    """`START A C` or `START B D`, as often: each of the last two tells the other."""
    first = torch.rand(n, generator=torch.Generator().manual_seed(seed)) < 0.5
    x = torch.full((n, WIDTH), float(DELETED))
    x[:, 0] = START
    x[:, 1], x[:, 2] = torch.where(first, A, B), torch.where(first, C, D)
    units = torch.tensor([-1, 0, 1, -1]).expand(n, WIDTH)
    return Split(x, first.long(), units, {"length": torch.full((n,), 3)})


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    special = torch.tensor([True, *[False] * 5])
    counts = torch.tensor([400, 200, 200, 200, 200, 0])
    symbols = Symbols(("[CLS]", "a", "b", "c", "d", "never"), special, counts)
    parts = [split(n, seed) for seed, n in enumerate((400, 50, 50))]
    return Bundle("classification", "text", *parts, class_names=("0", "1"), symbols=symbols)


@pytest.fixture(scope="module")
def model(bundle: Bundle) -> MaskedLanguagePredictor:
    recipe = MaskedLanguageRecipe(size=8, n_hidden=8, learning_rate=0.03)
    trained = recipe.train(bundle, seed=0, on_epoch=lambda _: None)
    assert isinstance(trained.predictor, MaskedLanguagePredictor)
    return trained.predictor


def rows(*texts: tuple[int, ...]) -> Tensor:
    return torch.tensor([[*text, *[DELETED] * (WIDTH - len(text))] for text in texts])


def gaps(*places: tuple[int, ...]) -> Tensor:
    return torch.tensor([[place in row for place in range(WIDTH)] for row in places])


def even(n: int) -> Tensor:
    """`[1, n, T]`: draws that lie evenly in (0, 1), the same at every place."""
    return ((torch.arange(n) + 0.5) / n)[None, :, None].expand(1, n, WIDTH)


def test_a_gap_is_filled_by_what_its_neighbour_tells(model: MaskedLanguagePredictor) -> None:
    draws = even(20).expand(4, 20, WIDTH)
    tokens = rows((START, A, C), (START, B, D), (START, A, C), (START, B, D))
    filled = model.sample(tokens, gaps((2,), (2,), (1,), (1,)), draws)
    assert torch.equal(filled, tokens[:, None].expand_as(filled))


def test_without_a_neighbour_both_are_as_likely(model: MaskedLanguagePredictor) -> None:
    filled = model.sample(rows((START, A, C)), gaps((1, 2)), even(100))[0]
    assert (filled[:, 1] == A).double().mean() == pytest.approx(0.5, abs=0.1)
    assert set(filled[:, 1].tolist()) == {A, B}
    assert set(filled[:, 2].tolist()) == {C, D}
    assert (filled[:, 0] == START).all()
    assert (filled[:, 3] == DELETED).all()


def test_specials_and_tokens_that_never_occurred_are_not_filled_in(
    model: MaskedLanguagePredictor,
) -> None:
    assert model.candidates.tolist() == [A, B, C, D]


def test_a_text_is_as_likely_as_its_tokens_given_the_others(
    model: MaskedLanguagePredictor,
) -> None:
    likely, wrong, alone, none = model.log_probability(
        rows((START, A, C), (START, A, D), (START, A), (START,))
    )
    assert likely == pytest.approx(0, abs=0.05)
    assert wrong < -2
    assert torch.isfinite(alone)
    assert none.isnan()


def test_a_row_has_the_same_bits_in_every_batch(model: MaskedLanguagePredictor) -> None:
    tokens = rows((START, A, C), (START, B), (START, A, D), (START, B, A))
    draws = torch.rand(4, 5, WIDTH, generator=torch.Generator().manual_seed(0))
    missing = gaps((1,), (1,), (1, 2), (2,))
    together = model.sample(tokens, missing, draws)
    likely = model.log_probability(tokens)
    for row in range(4):
        own = slice(row, row + 1)
        assert torch.equal(model.sample(tokens[own], missing[own], draws[own]), together[own])
        assert torch.equal(model.log_probability(tokens[own]), likely[own])


def test_training_that_diverges_is_one_sentence(bundle: Bundle) -> None:
    recipe = MaskedLanguageRecipe(size=8, n_hidden=8, learning_rate=float("nan"), max_epochs=2)
    with pytest.raises(ValueError, match=r"diverged.*lower language_model.learning_rate"):
        recipe.train(bundle, seed=0, on_epoch=lambda _: None)


def test_data_without_tokens_has_no_language_model(bundle: Bundle) -> None:
    with pytest.raises(Unsupported, match="a masked language model reads tokens"):
        MaskedLanguageRecipe().train(replace(bundle, symbols=None), seed=0, on_epoch=lambda _: None)


def test_calls_are_filled_up_to_whole_blocks(model: MaskedLanguagePredictor) -> None:
    sizes: list[int] = []
    handle = model.network.register_forward_pre_hook(
        lambda module, args: sizes.append(len(args[0]))
    )
    model.sample(rows((START, A, C)).expand(5, -1), gaps((1,)).expand(5, -1), torch.rand(5, 1, 4))
    handle.remove()
    assert sizes == [ROW_BLOCK]


def test_what_was_saved_is_read_again(
    bundle: Bundle, model: MaskedLanguagePredictor, tmp_path: Path
) -> None:
    recipe = MaskedLanguageRecipe(size=8, n_hidden=8)
    recipe.save(model, tmp_path)
    again = recipe.load(bundle, tmp_path)
    assert isinstance(again, MaskedLanguagePredictor)
    texts = rows((START, A, C), (START, B, C))
    assert torch.equal(again.log_probability(texts), model.log_probability(texts))


def test_the_loss_of_an_epoch_is_a_mean_over_batches(bundle: Bundle) -> None:
    """Nothing is learnt: three batches of the validation texts lose as much as one of all."""
    made = [
        MaskedLanguageRecipe(size=2, n_hidden=2, learning_rate=0.0, max_epochs=1, batch_size=n)
        for n in (20, 50)
    ]
    few, whole = (
        recipe.train(bundle, seed=0, on_epoch=lambda _: None).history[0]["valid_loss"]
        for recipe in made
    )
    assert few == pytest.approx(whole, rel=0.1)
