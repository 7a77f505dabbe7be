"""Tables whose exact attributions are known in closed form.

Nothing is rescaled, so that the weights in a configuration are those of the generating function.
Every distribution is symmetric about 0, and training rows come in pairs x, -x: the mean of any even
number of background rows is then exactly the reference 0 of the truth.
"""

from __future__ import annotations

import copy
import itertools
from abc import ABC, abstractmethod
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
    """A distribution of x and a score, from which a synthetic task is drawn.

    Labels are drawn from the score: values with normal noise, or classes with the oracle's own
    probabilities, so that no model beats the oracle.

    Attributes:
        draw: `rng -> x [B, *S]`.
        score: a module `x [B, *S] -> z [B]` with `contributions`, as in `Score`.
        n_rows: of all parts, split 0.6, 0.2, 0.2.
        noise: the standard deviation of the noise on values.
    """

    draw: Callable[[Rng], Tensor]
    score: nn.Module
    task: Task
    n_rows: int
    seed: int
    noise: float = 0.0

    def bundle(self, units: Tensor, unit_names: Sequence[str], modality: Modality) -> Bundle:
        """The three parts, the oracle and the truth; `units [*S]` are shared by all rows."""
        # A copy, so that converting or randomising the oracle does not change the truth.
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
        """The bundle of a table, with one unit per column."""
        return self.bundle(torch.arange(len(unit_names)), unit_names, "tabular")

    def _split(self, part: str, share: float, units: Tensor) -> Split:
        # Rows of other parts have no mirror image: twice as many draws for parts of the size asked
        # for.
        n_pairs = max(round(self.n_rows * share / 2), 1)
        x = self.draw(_stream(self.seed, part, n_pairs * (1 if part == "train" else 2)))
        # Training rows only: mirrored test rows would not be independent samples.
        if part == "train":
            x = torch.stack([x, -x], 1).flatten(0, 1)
        y = self._labels(x, _stream(self.seed, part, len(x)).child("labels"))
        return Split(x.float(), y, shared_units(units, len(x)))

    @torch.no_grad()
    def _labels(self, x: Tensor, rng: Rng) -> Tensor:
        z: Tensor = self.score(x.float()).double()
        if self.task == "classification":
            # Drawn with the oracle's own probabilities, so that its logits are the best there are.
            return (rng.uniform() < z.sigmoid()).long()
        return (z + self.noise * rng.normal()).float()


def _stream(seed: int, part: str, n_rows: int) -> Rng:
    return Seeds(seed).stream("data", part, samples=torch.arange(n_rows))


def linear_terms(weights: Sequence[float]) -> dict[tuple[int, ...], float]:
    """One single-feature term per weight, for `Multilinear`."""
    return {(k,): float(weight) for k, weight in enumerate(weights)}


@dataclass(frozen=True)
class WeightedTable(ABC):
    """A table of standard normal columns whose score has one weight per column.

    Attributes:
        noise: the standard deviation of the noise on the target of a regression.
    """

    modality: ClassVar[Modality] = "tabular"
    weights: Sequence[float] = (1.0, -0.8, 0.6, -0.4, 0.2, 0.0, 0.0, 0.0)
    task: Task = "regression"
    n_rows: int = 2000
    noise: float = 0.1
    seed: int = 0

    @abstractmethod
    def score(self) -> nn.Module:
        """The generating function `x [B, F] -> z [B]`, with its exact contributions."""

    def draw(self, rng: Rng) -> Tensor:
        """`[B, F]` float64: independent columns."""
        return rng.normal(len(self.weights))

    def column_names(self) -> list[str]:
        """One name per column."""
        return numbered(len(self.weights))

    def load(self) -> Bundle:
        """Draw the rows, their labels, and what is known of them."""
        generator = Generator(
            self.draw, self.score(), self.task, self.n_rows, self.seed, self.noise
        )
        return generator.table(self.column_names())


@dataclass(frozen=True)
class Linear(WeightedTable):
    """A weighted sum of independent standard normal columns; truth: weight times value.

    Truth is the Shapley value with absent columns at 0, their mean.
    """

    def score(self) -> nn.Module:
        """The weighted sum."""
        return Multilinear(len(self.weights), linear_terms(self.weights))


@dataclass(frozen=True)
class AdditiveCurves(WeightedTable):
    """A sum of non-linear curves of single columns; truth: each column's own term.

    Columns are independent and standard normal; the curves sin 2x, tanh 3x, x|x| and x follow in
    turn. Truth is the Shapley value with absent columns at 0, their mean.
    """

    def score(self) -> nn.Module:
        """The sum of weighted curves."""
        return Additive(self.weights)


@dataclass(frozen=True)
class Interaction(WeightedTable):
    """A product of two columns beside a weighted sum; truth: half of the product to each.

    Columns are independent and standard normal, and the product is `strength * x1 * x2`. Truth is
    the Shapley value with absent columns at 0, their mean.
    """

    weights: Sequence[float] = (0.0, 0.5, -0.5, 0.25, 0.0, 0.0)
    strength: float = 1.0

    def score(self) -> nn.Module:
        """The weighted sum and the product."""
        terms = {**linear_terms(self.weights), (0, 1): float(self.strength)}
        return Multilinear(len(self.weights), terms)


@dataclass(frozen=True)
class Redundant(WeightedTable):
    """A weighted sum, with exact copies of its columns and noise columns that it does not read.

    Truth is the Shapley value with absent columns at 0, their mean, of the function that reads the
    originals only: copies and noise get exactly 0. (In the conditional game a copy would get half,
    because it says all that the original does.)
    """

    weights: Sequence[float] = (1.0, -0.8, 0.6)
    n_copied: int = 2
    n_noise: int = 3

    def score(self) -> nn.Module:
        """The weighted sum of the originals, which come first."""
        return Multilinear(len(self.column_names()), linear_terms(self.weights))

    def draw(self, rng: Rng) -> Tensor:
        """`[B, F]` float64: originals, copies, noise."""
        columns = rng.normal(len(self.weights) + self.n_noise)
        originals, noise = columns.split([len(self.weights), self.n_noise], 1)
        return torch.cat([originals, originals[:, : self.n_copied], noise], 1)

    def column_names(self) -> list[str]:
        """One name per column. Raises ValueError where more are copied than there are."""
        n_read = len(self.weights)
        if not 0 <= self.n_copied <= n_read:
            raise ValueError(f"data.n_copied must lie in 0..{n_read}; found {self.n_copied}")
        copies = [f"copy of x{k + 1}" for k in range(self.n_copied)]
        return [*numbered(n_read), *copies, *(f"noise {k + 1}" for k in range(self.n_noise))]


@dataclass(frozen=True)
class BinaryTable(ABC):
    """A table of binary columns, -1 or 1 at even odds, and a class that `order` of them decide.

    Attributes:
        n_noise: columns that the class does not depend on.
        strength: the size of the log-odds.
    """

    modality: ClassVar[Modality] = "tabular"
    order: int = 2
    n_noise: int = 4
    strength: float = 8.0
    n_rows: int = 2000
    seed: int = 0

    @abstractmethod
    def terms(self) -> dict[tuple[int, ...], float]:
        """The log-odds as a polynomial: columns of each product -> its weight."""

    def load(self) -> Bundle:
        """Draw the rows, their classes, and what is known of them."""
        n_columns = self.order + self.n_noise

        def draw(rng: Rng) -> Tensor:
            return rng.integers(2, n_columns).double() * 2 - 1

        score = Multilinear(n_columns, self.terms())
        generator = Generator(draw, score, "classification", self.n_rows, self.seed)
        return generator.table(numbered(n_columns))


@dataclass(frozen=True)
class Xor(BinaryTable):
    """True if an odd number of `order` binary columns is true; truth: an even share to each.

    Columns are -1 or 1 at even odds, so 0 is their mean and "absent". The log-odds are a single
    product of columns, +-`strength`. Truth is the Shapley value with absent columns at 0.
    """

    def terms(self) -> dict[tuple[int, ...], float]:
        """One product of all columns that decide, positive where an odd number is 1."""
        return {tuple(range(self.order)): self.strength * (-1.0) ** (self.order - 1)}


@dataclass(frozen=True)
class And(BinaryTable):
    """True if all of `order` binary columns are true; truth: the Shapley value of that product.

    Columns are -1 or 1 at even odds, so 0 is their mean and "absent". The log-odds are the
    polynomial `strength * (2 * prod((1 + x_i) / 2) - 1)`, which is +-`strength` at the corners.
    """

    def terms(self) -> dict[tuple[int, ...], float]:
        """The polynomial multiplied out: one term per subset of the columns that decide."""
        weight = self.strength * 2.0 ** (1 - self.order)
        subsets = itertools.chain.from_iterable(
            itertools.combinations(range(self.order), size) for size in range(self.order + 1)
        )
        return {subset: weight - (0 if subset else self.strength) for subset in subsets}


def numbered(n_columns: int) -> list[str]:
    """`x1`, `x2`, ...: names of columns."""
    return [f"x{k + 1}" for k in range(n_columns)]
