"""Small networks of tokens that are trained here, within a minute or two."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import safetensors.torch
import torch

from xai_bench.core.tokens import TokenNetwork
from xai_bench.data.bundle import Bundle
from xai_bench.models.base import OnEpoch, Predictor, Trained
from xai_bench.models.fitting.weights import FILE, materialise, write_weights
from xai_bench.models.text.networks import Bag, Cell, Pooling, Recurrent, TextConvolution
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.models.training import Training, initialise
from xai_bench.types import Unsupported


@dataclass(frozen=True)
class TokenRecipe:
    """Base of recipes for networks of tokens; a subclass says what the network is.

    What a new weight is drawn from, how long is trained, and how weights are kept is the same.
    """

    differentiable: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    gives: ClassVar[tuple[str, ...]] = ()
    training: Training = field(default_factory=Training)

    @abstractmethod
    def network(self, bundle: Bundle) -> TokenNetwork:
        """The network for this data, on whatever device is asked for; its weights do not matter."""

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        """The network with weights drawn from the seed, then trained."""
        with torch.device("meta"):
            network = self.network(bundle)
        materialise(network, torch.float32)
        initialise(network, seed=seed)
        history = self.training.fit(network, bundle, seed=seed, on_epoch=on_epoch)
        return Trained(TokenPredictor(network, bundle.n_outputs), history)

    def save(self, predictor: Predictor, folder: Path) -> None:
        """The weights, as safetensors."""
        write_weights(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        """The network with the weights that `save` wrote."""
        with torch.device("meta"):
            network = self.network(bundle)
        state = safetensors.torch.load_file(folder / FILE)
        network.load_state_dict(state, assign=True)
        return TokenPredictor(network, bundle.n_outputs)


def n_symbols(bundle: Bundle, name: str) -> int:
    """The size of the vocabulary; `Unsupported` for data without tokens."""
    if bundle.symbols is None:
        raise Unsupported(
            f"{name} reads tokens, and this data has none; choose data=sentiment or another text"
        )
    return len(bundle.symbols)


class SizedVocabulary(Protocol):
    """What reads ids of a vocabulary, at most `max_tokens` of them; None for any number."""

    n_symbols: int
    max_tokens: int | None


def require_fit(network: SizedVocabulary, bundle: Bundle, name: str) -> None:
    """Raise ValueError where a model that comes with its weights cannot read the data's ids."""
    n_written = n_symbols(bundle, name)
    if not network.n_symbols - _SPARE <= n_written <= network.n_symbols:
        raise ValueError(
            f"the data is written in {n_written} tokens, and {name} knows {network.n_symbols}: its "
            f"tokenizer is another one; set data.tokenizer={name}"
        )
    splits = (bundle.train, bundle.valid, bundle.test)
    longest = max(int(split.context["length"].max()) for split in splits)
    answers = bundle.train.context.get("answers")
    # The last token of an answer is predicted, and never read.
    longest += 0 if answers is None else answers.shape[2] - 1
    if network.max_tokens is not None and longest > network.max_tokens:
        raise ValueError(
            f"the data has texts of {longest} tokens, and {name} reads {network.max_tokens} at "
            f"most; set data.max_tokens={network.max_tokens}, or data.units=sentences and fewer"
        )


_SPARE = 1024
"""Rows of an embedding table that may stand for no token, to make it round."""


@dataclass(frozen=True)
class TextBag(TokenRecipe):
    """The mean or sum of word embeddings and one linear layer: the order of words is not seen."""

    size: int = 32
    pooling: Pooling = "mean"

    def network(self, bundle: Bundle) -> TokenNetwork:
        return Bag(n_symbols(bundle, "text_bag"), self.size, bundle.n_outputs, self.pooling)


@dataclass(frozen=True)
class TextCNN(TokenRecipe):
    """Word embeddings, filters over `spans` of words, and the largest response of each filter."""

    size: int = 64
    spans: Sequence[int] = (2, 3, 4)
    n_filters: int = 32

    def network(self, bundle: Bundle) -> TokenNetwork:
        n_tokens = n_symbols(bundle, "text_cnn")
        return TextConvolution(n_tokens, self.size, self.spans, self.n_filters, bundle.n_outputs)


@dataclass(frozen=True)
class TextRNN(TokenRecipe):
    """Word embeddings and GRU or LSTM cells in both directions."""

    size: int = 64
    cell: Cell = "gru"
    n_hidden: int = 64

    def network(self, bundle: Bundle) -> TokenNetwork:
        n_tokens = n_symbols(bundle, "text_rnn")
        return Recurrent(n_tokens, self.size, self.cell, self.n_hidden, bundle.n_outputs)
