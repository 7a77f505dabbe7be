"""A masked language model that is trained on the data's own texts, within seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_bench.core.seeds import Seeds
from xai_bench.core.system.determinism import deterministic
from xai_bench.core.tokens import DELETED, occupied
from xai_bench.data.bundle import Bundle
from xai_bench.models.base import OnEpoch, Predictor, Trained
from xai_bench.models.fitting.adamw import AdamW
from xai_bench.models.fitting.weights import FILE, materialise, write_weights
from xai_bench.models.text.networks import GRU
from xai_bench.models.text.recipes import n_symbols
from xai_bench.models.training import EarlyStopping, initialise
from xai_bench.models.transformers.files import fingerprint
from xai_bench.types import ROW_BLOCK, Symbols

_BYTES = 64 * 10**6
"""Of the scores of all tokens in one call."""
_UNMASKED = -100
"""The class that cross-entropy leaves out."""


class MaskedLanguageNetwork(nn.Module):
    """Scores of the tokens that may stand at each place, from what stands before and after it.

    A state from left to right and one from right to left, of which each place sees those that end
    beside it, so that no token sees itself (the two halves of ELMo, Peters+ 2018); missing tokens
    are read as a mask.
    """

    def __init__(self, n_symbols: int, n_candidates: int, size: int, n_hidden: int) -> None:
        super().__init__()
        self.mask = n_symbols
        self.embedding = nn.Embedding(n_symbols + 1, size)
        self.forwards, self.backwards = GRU(size, n_hidden), GRU(size, n_hidden)
        self.scores = nn.Linear(2 * n_hidden, n_candidates)

    def forward(self, tokens: Tensor, missing: Tensor) -> Tensor:
        """`tokens [N, T]` long, `missing [N, T]` bool `-> [N, T, C]` scores of the candidates."""
        present = tokens != DELETED
        embedded = self.embedding(torch.where(missing | (tokens < 0), self.mask, tokens))
        places = list(range(tokens.shape[1]))
        before = self.forwards.states(embedded, present, places)
        after = self.backwards.states(embedded, present, places[::-1])
        edge = torch.zeros_like(before[:, :1])
        beside = torch.cat(
            [torch.cat([edge, before[:, :-1]], 1), torch.cat([after[:, 1:], edge], 1)], 2
        )
        out: Tensor = self.scores(beside)
        return out


class MaskedLanguagePredictor:
    """Fills gaps in texts, and says how likely a text is: an `Infill` and a `Predictor`.

    Args:
        network: gives scores of the candidates.
        candidates: `[C]` long, the ids that may be filled in, ascending.
    """

    differentiable = False
    n_outputs = 1

    def __init__(self, network: nn.Module, candidates: Tensor) -> None:
        self.module: nn.Module = network
        self.network, self.candidates = network, candidates
        network.eval().requires_grad_(False)

    @torch.no_grad()
    def sample(self, tokens: Tensor, missing: Tensor, draws: Tensor) -> Tensor:
        """`[N, T]` long, `[N, T]` bool, `draws [N, R, T]` in (0, 1) `-> [N, R, T]`.

        A draw picks the token at its share of the cumulative probability: the same draw gives the
        same token wherever the probabilities are the same.
        """
        out = tokens[:, None].expand_as(draws).clone()
        for rows, probabilities in self._probabilities(tokens, missing):
            cumulative = probabilities.cumsum(2)
            width = cumulative.shape[1]
            # The last sum is 1 up to rounding: times it, no draw lies beyond the last token.
            share = draws[rows, :, :width].mT.double() * cumulative[:, :, -1:]
            # Else torch makes the copy itself, and warns of it.
            picked = torch.searchsorted(cumulative, share.contiguous())
            filled = self.candidates[picked.clamp(max=len(self.candidates) - 1)].mT
            gaps = missing[rows, None, :width]
            out[rows, :, :width] = torch.where(gaps, filled, out[rows, :, :width])
        return out

    @torch.no_grad()
    def log_probability(self, tokens: Tensor) -> Tensor:
        """`[N, T]` long `-> [N]` float64: the mean logarithm of each token's probability given all
        others, in nats, over the tokens that may be filled in; NaN where there are none.

        Costs a row for every place. Salazar+ 2020, arXiv:1910.14659.
        """
        n, width = tokens.shape
        place = torch.searchsorted(self.candidates, tokens).clamp(max=len(self.candidates) - 1)
        scored = self.candidates[place] == tokens
        text, gap = scored.nonzero(as_tuple=True)
        total = torch.zeros(n, dtype=torch.float64)
        one_missing = functional.one_hot(gap, width).bool()
        for rows, probabilities in self._probabilities(tokens[text], one_missing):
            of_gap = probabilities[torch.arange(len(probabilities)), gap[rows]]
            own = of_gap.gather(1, place[text[rows], gap[rows]][:, None])[:, 0]
            total.index_add_(0, text[rows], own.log())
        return total / scored.sum(1)

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """`[B, T] -> [B, 1]`: `log_probability`."""
        return self.log_probability(x.long())[:, None]

    def _probabilities(self, tokens: Tensor, missing: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Row numbers `[n]` with `[n, t, C]` float64, `t` as `blocks` says.

        Each row has the same bits in every batch.
        """
        floats = tokens.shape[1] * len(self.candidates)
        # 8 bytes each: the probabilities are float64.
        most = max(_BYTES // (8 * floats) // ROW_BLOCK, 1) * ROW_BLOCK
        for rows, width in self.blocks(tokens, most):
            spare = -len(rows) % ROW_BLOCK
            filled = functional.pad(tokens[rows, :width], (0, 0, 0, spare), value=DELETED)
            gaps = functional.pad(missing[rows, :width], (0, 0, 0, spare))
            scores = self.network(filled, gaps)[: len(rows)]
            yield rows, scores.double().softmax(2)

    def blocks(self, tokens: Tensor, most: int) -> Iterator[tuple[Tensor, int]]:
        """Row numbers, at most `most` at a time, and the places that they go through the network
        with: up to the last token of any of them.
        """
        for rows in torch.arange(len(tokens)).split(most):
            yield rows, int(occupied(tokens[rows]).max())


@dataclass(frozen=True)
class MaskedLanguageRecipe:
    """Trains a masked language model on the training texts; any share of a text may be missing.

    Only tokens that occur in training are filled in, special ones never. Training stops after
    `patience` epochs without a lower loss on the validation texts, whose gaps are always the same.
    With a `path`, nothing is trained: the model is one of transformers; see
    `PretrainedMaskedLanguage`.
    """

    trains: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False
    gives: ClassVar[tuple[str, ...]] = ()
    fills_gaps: ClassVar[bool] = True

    size: int = 48
    n_hidden: int = 64
    max_epochs: int = 8
    patience: int = 2
    batch_size: int = 64
    learning_rate: float = 5e-3
    path: str | None = None

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        """Raises `Unsupported` for data without tokens, ValueError where training diverges, or
        `path` holds no model that fits the data.
        """
        if self.path is not None:
            # Asked for here, because the module of the library's models imports this one.
            from xai_bench.models.transformers.masked_language import PretrainedMaskedLanguage

            pretrained = PretrainedMaskedLanguage(self.path)
            return pretrained.train(bundle, seed=seed, on_epoch=on_epoch)
        network = self._network(bundle)
        materialise(network, torch.float32)
        initialise(network, seed=seed)
        with deterministic():
            history = tuple(self._fit(network, bundle, seed, on_epoch))
        return Trained(MaskedLanguagePredictor(network, candidates_of(bundle)), history)

    def save(self, predictor: Predictor, folder: Path) -> None:
        """Write the weights as safetensors; those of `path` stay where they are."""
        if self.path is None:
            write_weights(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        """Read what `save` wrote, or the model of `path` again."""
        if self.path is not None:
            return self.train(bundle, seed=0, on_epoch=lambda row: None).predictor
        network = self._network(bundle)
        # Assigned, for the network has no memory yet that could be copied into.
        network.load_state_dict(safetensors.torch.load_file(folder / FILE), assign=True)
        return MaskedLanguagePredictor(network, candidates_of(bundle))

    def fingerprint(self) -> str:
        """A hash of the weights of `path`; empty for a model that is trained."""
        return "" if self.path is None else fingerprint(self.path)

    def _network(self, bundle: Bundle) -> MaskedLanguageNetwork:
        n_tokens = n_symbols(bundle, "a masked language model")
        with torch.device("meta"):
            return MaskedLanguageNetwork(
                n_tokens, len(candidates_of(bundle)), self.size, self.n_hidden
            )

    def _fit(
        self, network: MaskedLanguageNetwork, bundle: Bundle, seed: int, on_epoch: OnEpoch
    ) -> Iterator[Mapping[str, float]]:
        """The numbers of each epoch; the network ends with its best weights."""
        chance = torch.Generator().manual_seed(Seeds(seed).number("masked language model"))
        optimiser = AdamW(network.parameters(), self.learning_rate, 1e-4)
        train, valid = _Gaps(bundle.train.x, bundle), _Gaps(bundle.valid.x, bundle)
        # Once: with new gaps in each epoch, chance would decide when training stops.
        fixed = valid.drawn(torch.Generator().manual_seed(seed))
        stopping = EarlyStopping(network, self.patience)
        for epoch in range(1, self.max_epochs + 1):
            gaps = train.drawn(chance)
            for rows in torch.randperm(len(gaps), generator=chance).split(self.batch_size):
                loss = train.loss(network, rows, gaps)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            with torch.no_grad():
                parts = torch.arange(len(fixed)).split(self.batch_size)
                losses = [valid.loss(network, rows, fixed).item() for rows in parts]
            numbers = {"epoch": float(epoch), "valid_loss": sum(losses) / max(len(losses), 1)}
            on_epoch(numbers)
            yield numbers
            if stopping.ends_at(numbers["valid_loss"]):
                break
        stopping.restore("language_model.learning_rate", self.learning_rate)


class _Gaps:
    """Texts with random gaps, and the loss of filling them."""

    def __init__(self, x: Tensor, bundle: Bundle) -> None:
        candidates = candidates_of(bundle)
        self.tokens = x.long()
        place = torch.searchsorted(candidates, self.tokens).clamp(max=len(candidates) - 1)
        self.may_miss = candidates[place] == self.tokens
        self.classes = place

    def drawn(self, chance: torch.Generator) -> Tensor:
        """`[N, T]` bool: of each text a share of its own is missing, drawn evenly from 0 to 1."""
        # [N, 1]: what removes words asks for texts with few gaps and for nearly empty ones.
        share = torch.rand(len(self.tokens), 1, generator=chance)
        return (torch.rand(self.tokens.shape, generator=chance) < share) & self.may_miss

    def loss(self, network: MaskedLanguageNetwork, rows: Tensor, gaps: Tensor) -> Tensor:
        """The mean cross-entropy over the gaps of these texts; 0 where there are none."""
        width = int(occupied(self.tokens[rows]).max())
        gaps = gaps[rows, :width]
        scores = network(self.tokens[rows, :width], gaps)
        classes = torch.where(gaps, self.classes[rows, :width], _UNMASKED)
        summed = functional.cross_entropy(
            scores.flatten(0, 1), classes.flatten(), ignore_index=_UNMASKED, reduction="sum"
        )
        return summed / gaps.sum().clamp(min=1)


def candidates_of(bundle: Bundle) -> Tensor:
    """`[C]` long: the ids that occur in training and stand for text."""
    symbols = cast(Symbols, bundle.symbols)
    return ((symbols.counts > 0) & ~symbols.special).nonzero()[:, 0]
