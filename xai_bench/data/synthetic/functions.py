"""Tables with written-down truth. Nothing is rescaled, so the written weights stay true.

Every law is symmetric about 0, and training rows come in pairs x, -x: the mean of any even number
of background rows is then the reference 0 of the truth itself, not only near it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from xai_bench.core.seeds import Seeds
from xai_bench.data.bundle import Bundle, Modality, Split, Task, shared_units
from xai_bench.data.splits import FRACTIONS
from xai_bench.data.synthetic.truths import Additive, Multilinear, Oracle, Score, Truth
from xai_bench.types import Rng


@dataclass(frozen=True, eq=False)
class Generator:
    """A law for x and a score: what any written-down task is made of.

    Labels are drawn from the score: values with normal `noise`, or classes with the oracle's own
    probabilities, so that no model beats the oracle. `units [*S]`; `n_rows` are shared 0.6/0.2/0.2.
    """

    draw: Callable[[Rng], Tensor]
    score: nn.Module
    task: Task
    n_rows: int
    seed: int
    noise: float = 0.0

    def bundle(self, units: Tensor, unit_names: Sequence[str], modality: Modality) -> Bundle:
        # A copy: whoever converts or randomises the oracle leaves the truth alone.
        truth = cast(Score, copy.deepcopy(self.score))
        return Bundle(
            self.task,
            modality,
            self._split("train", FRACTIONS[0], units),
            self._split("valid", FRACTIONS[1], units),
            self._split("test", FRACTIONS[2], units),
            unit_names=tuple(unit_names),
            class_names=() if self.task == "regression" else ("false", "true"),
            oracle=Oracle(self.score, self.task),
            truth=Truth(truth.contributions, self.task),
        )

    def table(self, unit_names: Sequence[str]) -> Bundle:
        """One unit per column."""
        return self.bundle(torch.arange(len(unit_names)), unit_names, "tabular")

    def _split(self, part: str, share: float, units: Tensor) -> Split:
        n_pairs = max(round(self.n_rows * share / 2), 1)
        x = self.draw(_stream(self.seed, part, n_pairs * (1 if part == "train" else 2)))
        if part == "train":
            x = torch.stack([x, -x], 1).flatten(0, 1)
        y = self._labels(x, _stream(self.seed, part, len(x)).child("labels"))
        return Split(x.float(), y, shared_units(units, len(x)))

    @torch.no_grad()
    def _labels(self, x: Tensor, rng: Rng) -> Tensor:
        z: Tensor = self.score(x.float()).double()
        if self.task == "classification":
            return (rng.uniform() < z.sigmoid()).long()
        return (z + self.noise * rng.normal()).float()


def _stream(seed: int, part: str, n_rows: int) -> Rng:
    return Seeds(seed).stream("data", part, samples=torch.arange(n_rows))


def linear_terms(weights: Sequence[float]) -> dict[tuple[int, ...], float]:
    """One single-feature term per weight, for `Multilinear`."""
    return {(k,): float(weight) for k, weight in enumerate(weights)}


@dataclass(frozen=True)
class Linear:
    """A weighted sum of independent standard normal columns; truth: weight times value.

    Truth is the Shapley value with absent columns at 0, their mean.
    """

    modality: ClassVar[Modality] = "tabular"
    weights: Sequence[float] = (1.0, -0.8, 0.6, -0.4, 0.2, 0.0, 0.0, 0.0)
    task: Task = "regression"
    n_rows: int = 2000
    noise: float = 0.1
    seed: int = 0

    def load(self) -> Bundle:
        n = len(self.weights)
        score = Multilinear(n, linear_terms(self.weights))
        return _normal(n, score, self).table(_numbered(n))


@dataclass(frozen=True)
class AdditiveCurves:
    """A sum of non-linear curves of single columns; truth: each column's own term.

    Columns are independent and standard normal; the curves sin 2x, tanh 3x, x|x| and x follow in
    turn. Truth is the Shapley value with absent columns at 0, their mean.
    """

    modality: ClassVar[Modality] = "tabular"
    weights: Sequence[float] = (1.0, -0.8, 0.6, -0.4, 0.2, 0.0, 0.0, 0.0)
    task: Task = "regression"
    n_rows: int = 2000
    noise: float = 0.1
    seed: int = 0

    def load(self) -> Bundle:
        n = len(self.weights)
        return _normal(n, Additive(self.weights), self).table(_numbered(n))


@dataclass(frozen=True)
class Interaction:
    """A product of two columns beside a weighted sum; truth: half of the product to each.

    Columns are independent and standard normal, and the product is `strength * x1 * x2`. Truth is
    the Shapley value with absent columns at 0, their mean.
    """

    modality: ClassVar[Modality] = "tabular"
    strength: float = 1.0
    weights: Sequence[float] = (0.0, 0.5, -0.5, 0.25, 0.0, 0.0)
    task: Task = "regression"
    n_rows: int = 2000
    noise: float = 0.1
    seed: int = 0

    def load(self) -> Bundle:
        n = len(self.weights)
        terms = {**linear_terms(self.weights), (0, 1): float(self.strength)}
        return _normal(n, Multilinear(n, terms), self).table(_numbered(n))


@dataclass(frozen=True)
class Redundant:
    """A weighted sum, with exact copies of its columns and noise columns that it does not read.

    Truth is the Shapley value with absent columns at 0, their mean, of the function that reads the
    originals only: copies and noise get exactly 0. (Given a copy, the original tells nothing new:
    in the conditional game a copy would get half.)
    """

    modality: ClassVar[Modality] = "tabular"
    weights: Sequence[float] = (1.0, -0.8, 0.6)
    n_copied: int = 2
    n_noise: int = 3
    task: Task = "regression"
    n_rows: int = 2000
    noise: float = 0.1
    seed: int = 0

    def load(self) -> Bundle:
        n_read, n_copied = len(self.weights), self.n_copied
        if not 0 <= n_copied <= n_read:
            raise ValueError(f"data.n_copied must lie in 0..{n_read}; found {n_copied}")
        n = n_read + n_copied + self.n_noise
        names = [*_numbered(n_read), *(f"copy of x{k + 1}" for k in range(n_copied))]
        names += [f"noise {k + 1}" for k in range(self.n_noise)]

        def draw(rng: Rng) -> Tensor:
            columns = rng.normal(n_read + self.n_noise)
            read, noise = columns.split([n_read, self.n_noise], 1)
            return torch.cat([read, read[:, :n_copied], noise], 1)

        score = Multilinear(n, linear_terms(self.weights))
        generator = Generator(draw, score, self.task, self.n_rows, self.seed, self.noise)
        return generator.table(names)


@dataclass(frozen=True)
class Xor:
    """True if an odd number of `order` binary columns is true; truth: an even share to each.

    Columns are -1 or 1 at even odds, so 0 is their mean and "absent". The log-odds are a single
    product of columns, +-`strength`. Truth is the Shapley value with absent columns at 0.
    """

    modality: ClassVar[Modality] = "tabular"
    order: int = 2
    n_noise: int = 4
    strength: float = 8.0
    n_rows: int = 2000
    seed: int = 0

    def load(self) -> Bundle:
        terms = {tuple(range(self.order)): self.strength * (-1.0) ** (self.order - 1)}
        return _binary(terms, self.order + self.n_noise, self.n_rows, self.seed)


@dataclass(frozen=True)
class And:
    """True if all of `order` binary columns are true; truth: the Shapley value of that product.

    Columns are -1 or 1 at even odds, so 0 is their mean and "absent". The log-odds are the
    polynomial `strength * (2 * prod((1 + x_i) / 2) - 1)`, which is +-`strength` at the corners.
    """

    modality: ClassVar[Modality] = "tabular"
    order: int = 2
    n_noise: int = 4
    strength: float = 8.0
    n_rows: int = 2000
    seed: int = 0

    def load(self) -> Bundle:
        weight = self.strength * 2.0 ** (1 - self.order)
        subsets = itertools.chain.from_iterable(
            itertools.combinations(range(self.order), size) for size in range(self.order + 1)
        )
        terms = {subset: weight - (0 if subset else self.strength) for subset in subsets}
        return _binary(terms, self.order + self.n_noise, self.n_rows, self.seed)


def _normal(
    n_columns: int, score: nn.Module, data: Linear | AdditiveCurves | Interaction
) -> Generator:
    return Generator(
        lambda rng: rng.normal(n_columns), score, data.task, data.n_rows, data.seed, data.noise
    )


def _binary(terms: dict[tuple[int, ...], float], n: int, n_rows: int, seed: int) -> Bundle:
    def draw(rng: Rng) -> Tensor:
        return rng.integers(2, n).double() * 2 - 1

    score = Multilinear(n, terms)
    return Generator(draw, score, "classification", n_rows, seed).table(_numbered(n))


def _numbered(n: int) -> list[str]:
    return [f"x{k + 1}" for k in range(n)]
