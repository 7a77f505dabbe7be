"""A hand-written reader of sentiment, whose exact attributions are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_bench.core.tokens import TokenNetwork, closed_up
from xai_bench.types import Inputs

SCOPE = 3
"""How many words after a negation it turns."""


class SentimentRules(TokenNetwork):
    """Adds up the polarity of all words, each as changed by the words before it.

    A word of polarity `v` counts `v` times the strength of the word before it, times -1 for each
    negation among the `SCOPE` words before it, times -1 where the sentence has a framing word,
    however far away. The logits of the two classes are minus and plus half of the sum.

    Every word is a row of four numbers: polarity, strength less 1, negation (-2 or 0), framing (-2
    or 0). All other words, and whatever stands in for a removed one, are 0.

    Args:
        table: `[V, 4]`.
    """

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(table, freeze=False)
        self.n_symbols = len(table)

    def embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.table(ids)
        return embedded

    def floats_per_row(self, width: int, *, gradient: bool = False) -> int:
        return 16 * width

    def read(self, embedded: Tensor, tokens: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        sequence = closed_up(embedded, tokens)
        polarity, strength, negation, framing = sequence.embedded.unbind(2)
        each = polarity * (1 + _later(strength, 1))
        for distance in range(1, SCOPE + 1):
            each = each * (1 + _later(negation, distance))
        # One by one: a sum in blocks would round by the width of the row.
        score = each.cumsum(1)[:, -1] * (1 + framing.cumsum(1)[:, -1])
        return torch.stack([-score / 2, score / 2], dim=1)

    def contributions(self, x: Tensor) -> Tensor:
        """`[B, T] -> [B, T]` float64: the Shapley values of the score, absent words being 0.

        The score is a sum of products of numbers of different words, and each of a product's words
        gets the same share of it. Harsanyi 1963. x may have padding at its end only.
        """
        numbers = self.lookup(x.long()).double()
        polarity, strength, negation, framing = numbers.unbind(2)
        factors = [(1, _later(strength, 1))]
        factors += [(k, _later(negation, k)) for k in range(1, SCOPE + 1)]
        out, frame = torch.zeros_like(polarity), framing.sum(1, keepdim=True)
        for size in range(len(factors) + 1):
            for chosen in combinations(factors, size):
                product = polarity
                for _, values in chosen:
                    product = product * values
                share = product / (size + 1) + product * frame / (size + 2)
                # The share of a factor belongs to its word, so many places before.
                for distance in (0, *(k for k, _ in chosen)):
                    out += _earlier(share, distance)
                out += framing * product.sum(1, keepdim=True) / (size + 2)
        return out


@dataclass(frozen=True, eq=False)
class RulesTruth:
    """The contributions to the logit of the explained class, `(inputs, targets) -> [B, T]`."""

    rules: SentimentRules

    @torch.no_grad()
    def __call__(self, inputs: Inputs, targets: Tensor) -> Tensor:
        # The logits are minus and plus half of the score.
        return self.rules.contributions(inputs.x) * (targets.double() - 0.5)[:, None]


def _later(values: Tensor, distance: int) -> Tensor:
    """`[B, T]`: at each place what was so many places before; 0 at the start."""
    return functional.pad(values, (distance, 0))[:, : values.shape[1]]


def _earlier(values: Tensor, distance: int) -> Tensor:
    """`[B, T]`: at each place what is so many places after; 0 at the end."""
    return functional.pad(values, (0, distance))[:, distance:]
