"""Training of the last layers of a transformer: what is below them is computed once."""

from __future__ import annotations

from collections.abc import Sequence as List
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from xai_bench.core.tokens import Sequence, widths
from xai_bench.data.bundle import Bundle, Split
from xai_bench.models.transformers.readers import Classifier

_ROWS = 64
"""Texts of about one length that go through the frozen layers at once."""


class TopLayers(nn.Module):
    """The last layers and the head of a classifier, on stored states of the layers below.

    Called with ids `x [B, T]` and `row [B]`, the number of each text; the states of text `i` are
    `states[i] [t, D]`.
    """

    def __init__(self, network: Classifier, states: List[Tensor], n_below: int) -> None:
        super().__init__()
        self.network, self.n_below = network, n_below
        self.states = states

    def forward(self, x: Tensor, row: Tensor, **context: Tensor) -> Tensor:
        stream = pad_sequence([self.states[i] for i in row.tolist()], batch_first=True)
        stream = stream.to(x.device)
        sequence = Sequence(stream, x[:, : stream.shape[1]].long())
        top = self.network.body.upper(stream, sequence, self.n_below)  # type: ignore[operator]
        return self.network.classes(top, sequence)


def top_layers(network: Classifier, bundle: Bundle, n_tuned: int) -> tuple[TopLayers, Bundle]:
    """What is trained, and the data whose training and validation texts it knows by number."""
    n_below = len(network.body.blocks) - n_tuned  # type: ignore[arg-type]
    parts = (bundle.train, bundle.valid)
    states = [state for part in parts for state in _states(network, part, n_below)]
    first = torch.arange(len(bundle.train))
    then = len(first) + torch.arange(len(bundle.valid))
    train, valid = (
        replace(part, context={**part.context, "row": rows})
        for part, rows in zip(parts, (first, then), strict=True)
    )
    return TopLayers(network, states, n_below), replace(bundle, train=train, valid=valid)


@torch.no_grad()
def _states(network: Classifier, part: Split, n_below: int) -> list[Tensor]:
    """`[t, D]` for each text, by length, so that little is computed for padding."""
    lengths = part.context["length"]
    states: dict[int, Tensor] = {}
    for rows in lengths.argsort(stable=True).split(_ROWS):
        width = int(widths(lengths[rows].amax()[None]))
        tokens = part.x[rows, :width].long()
        sequence = Sequence(network.lookup(tokens), tokens)
        stream = network.body.lower(sequence, n_below)  # type: ignore[operator]
        for place, row in enumerate(rows.tolist()):
            # A copy: a view would keep the states of the whole block.
            states[row] = stream[place, : lengths[row]].clone()
    return [states[row] for row in range(len(lengths))]
