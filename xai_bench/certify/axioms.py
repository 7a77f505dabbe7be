"""Axioms of attribution, tried on small networks: whether an explainer satisfies what it should.

Sundararajan & Najmi 2020. All networks have one output and four columns, and are in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.certify.toy_worlds import World, normal, world
from xai_bench.types import tags_of

Maps = Callable[[World], Tensor]
"""A world to the map of an explainer there, `[B, 4]`. Raises `Unsupported` where it declines."""


def network(weight: Tensor, n_hidden: int = 8, seed: int = 0) -> nn.Sequential:
    """A network of one output; `weight [F]` is a common factor of the weights of each column."""
    net = nn.Sequential(nn.Linear(len(weight), n_hidden), nn.ReLU(), nn.Linear(n_hidden, 1))
    hidden = normal(n_hidden, len(weight), seed=seed)
    # A weight of 0 makes a dummy column; hidden biases put kinks at places of their own.
    net[0].weight.data, net[0].bias.data = hidden * weight, normal(n_hidden, seed=seed + 1)
    net[2].weight.data = normal(1, n_hidden, seed=9)
    net[2].bias.data = torch.zeros(1, dtype=torch.float64)
    return net


def world_of(module: nn.Module, x: Tensor) -> World:
    """The samples `x [B, F]`, whose columns are units, before a background of 24 normal rows."""
    return world(module, x, torch.arange(x.shape[1]), normal(24, x.shape[1], seed=2))


class Sum(nn.Module):
    """Two networks, added."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both outputs."""
        out: Tensor = self.left(x) + self.right(x)
        return out


def satisfies_dummy(maps: Maps) -> bool:
    """A column that the network does not use gets 0."""
    net = network(torch.tensor([1.0, -1.0, 2.0, 0.0]))
    attribution = maps(world_of(net, normal(5, 4, seed=1)))
    return _agree(attribution[:, 3], torch.zeros(5, dtype=torch.float64))


def satisfies_symmetry(maps: Maps) -> bool:
    """Two columns with the same weights and values get the same, wherever they stand."""
    # The first two are halves of one span, the next two are not.
    return all(_equal_columns(maps, *pair) for pair in ((0, 1), (1, 2)))


def _equal_columns(maps: Maps, first: int, second: int) -> bool:
    net = network(torch.ones(4))
    into = net[0].get_parameter("weight")
    # The same in every hidden unit: only then do the two play the same role.
    into.data[:, second] = into.data[:, first]
    x = normal(5, 4, seed=1)
    x[:, second] = x[:, first]
    attribution = maps(world_of(net, x))
    return _agree(attribution[:, first], attribution[:, second])


def satisfies_linearity(maps: Maps) -> bool:
    """The map of a sum of networks is the sum of their maps."""
    left = network(torch.tensor([1.0, -1.0, 2.0, 0.5]))
    right = network(torch.tensor([0.5, 2.0, -1.0, 1.0]), seed=5)
    x = normal(5, 4, seed=1)
    # One world each, with the same rows and streams: draws have no part in the difference.
    of_sum, *parts = (maps(world_of(net, x)) for net in (Sum(left, right), left, right))
    return _agree(of_sum, parts[0] + parts[1])


SATISFIES: Mapping[str, Callable[[Maps], bool]] = {
    "dummy": satisfies_dummy,
    "symmetry": satisfies_symmetry,
    "linearity": satisfies_linearity,
}
"""Axiom -> whether the maps of an explainer satisfy it here."""


def stated_to_break(explainer: Any) -> set[str]:
    """The axioms that an explainer or its baseline says it does not satisfy."""
    own = tags_of(explainer).breaks_axioms
    return {*own, *tags_of(getattr(explainer, "baseline", None)).breaks_axioms}


def _agree(left: Tensor, right: Tensor) -> bool:
    """To nine digits: what single precision or a draw changes is seen."""
    return bool(((left - right).abs() <= 1e-9 * (1 + right.abs())).all())
