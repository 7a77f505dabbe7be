"""Integrated gradients for words: one at a time, and along real words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.baselines import references
from xai_bench.explainers.gradient.engine import gradient, weighted_gradients
from xai_bench.explainers.gradient.integrated import Quadrature, nodes_of
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


@dataclass(frozen=True)
class SequentialIntegratedGradients:
    """Integrated gradients of one unit at a time, which alone moves; all others stay as they are.

    So a unit's attributions add up to the drop of the output when it alone is replaced by the
    reference: what leave-one-out measures at a hundredth of the price. What is new is how that is
    divided within the unit. `n_steps` rows for each unit and reference.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Enguehard 2023, arXiv:2305.15853"

    baseline: Baseline
    n_steps: int = 8
    quadrature: Quadrature = "gauss_legendre"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The mean over references; raises `Unsupported` where the model has no gradient."""
        starts = references(self.baseline, inputs, rng=rng)
        total = torch.zeros_like(inputs.x)
        for start in starts.unbind(1):
            total += self._from(start, model, inputs, targets)
        return Explanation(total / starts.shape[1])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """So many points for each unit and reference, forward and back."""
        spent = n_units * self.n_steps * n_references
        return Rows(spent, spent)

    def _from(self, start: Tensor, model: Model, inputs: Inputs, targets: Tensor) -> Tensor:
        """`[B, *S]`, from one reference `[B, *S]`."""
        nodes, shares = nodes_of(self.quadrature, self.n_steps)
        sample, unit = units.present(inputs.units).nonzero().T
        total = torch.zeros_like(inputs.x)
        for part in torch.arange(len(sample)).split(model.max_rows):
            rows = inputs.take(sample[part])
            own = rows.units == unit[part].view(-1, *[1] * (inputs.x.dim() - 1))
            difference = torch.where(own, rows.x - start[sample[part]], 0)
            for node, share in zip(nodes, shares, strict=True):
                point = rows.with_x(rows.x - (1 - node) * difference)
                slope = gradient(model, point, targets[sample[part]])
                # Units of a sample do not overlap: what is added elsewhere is 0.
                total.index_add_(0, sample[part], share * difference * slope)
        return total


@dataclass(frozen=True)
class DiscretisedIntegratedGradients:
    """Integrated gradients along points near real words, from the reference to the word.

    From the word on, each point lies on the way to the word of the vocabulary whose vector needs
    the least change to go on towards the reference in every dimension (the greedy variant): of the
    nearest `n_neighbours` that occur in training. Dimensions in which it does not go a step of the
    straight line. The path is monotone, so that in a linear model each word gets its own score; the
    sum over a curved model has the error of a right Riemann sum with `n_steps` points.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "vocabulary")
    paper: ClassVar[str] = "Sanyal & Ren 2021, arXiv:2108.13654"
    # Whose neighbours are where, the model's embedding alone decides.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("linearity",)

    baseline: Baseline
    n_steps: int = 16
    n_neighbours: int = 32

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The mean over references. Raises `Unsupported` where there are no embeddings."""
        table = _vocabulary(inputs)
        starts = references(self.baseline, inputs, rng=rng)
        paths = [self._path(start, inputs, table) for start in starts.unbind(1)]
        n_references = len(paths)

        def point(k: int) -> tuple[Tensor, Tensor]:
            path, step = paths[k // self.n_steps], k % self.n_steps
            return path[step], (path[step] - path[step + 1]) / n_references

        n_points = n_references * self.n_steps
        return Explanation(weighted_gradients(model, inputs, targets, n_points, point))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """So many points for each reference, forward and back."""
        spent = self.n_steps * n_references
        return Rows(spent, spent)

    def _path(self, start: Tensor, inputs: Inputs, table: Tensor) -> list[Tensor]:
        """`n_steps + 1` points `[B, T, D]`: x first, the reference last; padding stays."""
        # All numbers of an embedding are of one unit.
        real = inputs.units[..., 0] >= 0
        here, goal = inputs.x[real], start[real]
        path = [inputs.x]
        for left in range(self.n_steps, 0, -1):
            here = goal if left == 1 else self._next(here, goal, table, left)
            moved = inputs.x.clone()
            moved[real] = here
            path.append(moved)
        return path

    def _next(self, here: Tensor, goal: Tensor, table: Tensor, left: int) -> Tensor:
        """`[n, D]`: the next point of each token, `left` steps before the goal."""
        points = []
        for rows in torch.arange(len(here)).split(_TOKENS):
            # `largest` is False: the nearest words.
            near = torch.cdist(here[rows], table).topk(min(self.n_neighbours, len(table)), 1, False)
            words = table[near.indices]
            now, end = here[rows, None], goal[rows, None]
            # In the dimensions in which the word lies between here and the goal.
            between = (words - now) * (end - words) >= 0
            moved = torch.where(between, words, now + (end - now) / left)
            # The word that lies nearest to its point on a monotone path.
            best = (moved - words).square().sum(2).argmin(1)
            points.append(moved[torch.arange(len(rows)), best])
        return torch.cat(points) if points else here


_TOKENS = 64
"""Tokens whose neighbours are found at once."""


def _vocabulary(inputs: Inputs) -> Tensor:
    """`[V', D]`: the vectors of the words that occur in training, and are no special tokens."""
    symbols, lookup = inputs.domain.symbols, inputs.domain.lookup
    if symbols is None or lookup is None or inputs.x.dim() != 3:
        raise Unsupported("words have neighbours in texts only, whose tokens have embeddings")
    ids = ((symbols.counts > 0) & ~symbols.special).nonzero()[:, 0]
    if not len(ids):
        raise Unsupported("no word of the vocabulary occurs in training: there is no path")
    return lookup(ids[None])[0].detach().to(inputs.x)
