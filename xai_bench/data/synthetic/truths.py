"""Functions whose exact Shapley values are known in closed form.

All truths but the conditional one (see `gaussian.py`) are of one game: the value of a coalition is
the function at x with absent features set to 0, which is the exact mean of every synthetic input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from xai_bench.data.bundle import Task
from xai_bench.types import Inputs


class Score(Protocol):
    """A module `x [B, *S] -> z [B]`; `contributions` adds up to `z(x) - z(0)`."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def contributions(self, x: Tensor) -> Tensor:
        """`[B, *S] -> [B, *S]`: the exact Shapley value of each feature."""
        ...


class Multilinear(nn.Module):
    """A sum of weighted products of features; the empty product is the constant.

    With absent features at 0, each product is a game of its own (a Harsanyi dividend), whose value
    its members share evenly. Harsanyi 1963. If features are independent with mean 0, the marginal
    game has the same values.
    """

    def __init__(self, n_features: int, terms: Mapping[tuple[int, ...], float]) -> None:
        super().__init__()
        members = torch.zeros(len(terms), n_features, dtype=torch.bool)
        for row, term in enumerate(terms):
            members[row, list(term)] = True
        self.members: Tensor
        self.register_buffer("members", members)
        self.weights = nn.Parameter(torch.tensor(list(terms.values())))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, F] -> [B]`: the sum of the products."""
        return self._terms(x).sum(1)

    def contributions(self, x: Tensor) -> Tensor:
        """`[B, F]`: the shares of each feature in its products; the constant belongs to none."""
        # The Shapley value of a product of all its members: each is as necessary as the others.
        shares = self.members / self.members.sum(1, keepdim=True).clamp(min=1)
        return self._terms(x) @ shares.to(x)

    def _terms(self, x: Tensor) -> Tensor:
        """`[B, F] -> [B, M]`: the value of each weighted product."""
        return torch.where(self.members, x[:, None], 1.0).prod(2) * self.weights.to(x)


Curve = Callable[[Tensor], Tensor]
CURVES: tuple[Curve, ...] = (
    lambda x: torch.sin(2 * x),
    lambda x: torch.tanh(3 * x),
    lambda x: x * x.abs(),
    lambda x: x,
)
"""Odd curves: 0 at 0, and of mean 0 under any distribution that is symmetric about 0."""


class Additive(nn.Module):
    """A weighted sum of one curve per feature, so that each feature's share is its own term.

    Curves are taken in turn from `CURVES`; they are odd, so setting a feature to 0 and averaging
    it out come to the same.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(list(weights)))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, F] -> [B]`: the sum of the curves."""
        return self.contributions(x).sum(1)

    def contributions(self, x: Tensor) -> Tensor:
        """`[B, F]`: the weighted curve of each feature."""
        columns = [CURVES[k % len(CURVES)](column) for k, column in enumerate(x.unbind(1))]
        return torch.stack(columns, 1) * self.weights.to(x)


class Oracle(nn.Module):
    """`x -> [B, 1]`, the score itself; or for two classes `[B, 2]`, the logits `[-z/2, z/2]`."""

    def __init__(self, score: nn.Module, task: Task) -> None:
        super().__init__()
        self.score = score
        self.task = task

    def forward(self, x: Tensor) -> Tensor:
        """`[B, *S] -> [B, C]`."""
        z = self.score(x)
        return z[:, None] if self.task == "regression" else torch.stack([-z / 2, z / 2], 1)


@dataclass(frozen=True, eq=False)
class Truth:
    """The contributions to the oracle's output at the target, `(inputs, targets) -> [B, *S]`.

    Those of class 0 are minus those of class 1.
    """

    contributions: Callable[[Tensor], Tensor]
    task: Task

    @torch.no_grad()
    def __call__(self, inputs: Inputs, targets: Tensor) -> Tensor:
        phi = self.contributions(inputs.x)
        if self.task == "regression":
            return phi
        # Logits are `-z/2` and `z/2`: half of the score's contributions, with the sign of the
        # class.
        sign = targets.to(phi) - 0.5
        return phi * sign.view(-1, *[1] * (phi.dim() - 1))
