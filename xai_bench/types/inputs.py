"""What is explained: inputs, the space they live in, and the random numbers that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

from torch import Tensor


class Unsupported(Exception):
    """A component cannot do what was asked, for a stated reason: it is skipped, not failed."""


class Rng(Protocol):
    """Keyed random numbers: row `b` of a draw depends on sample `b` and the stream's name alone.

    Stateless: the same call returns the same numbers. Ask `child` for an independent stream. Every
    element depends on its own multi-index only, so a draw of `n` is a prefix of a draw of `2n`.
    """

    def child(self, *names: str | int) -> Rng:
        """The stream of another purpose; independent of this one and of its other children."""
        ...

    def take(self, rows: Tensor) -> Rng:
        """The streams of the samples at `rows` (long `[M]`)."""
        ...

    def shared(self) -> Rng:
        """A stream of a single row, the same whichever samples there are."""
        ...

    def uniform(self, *shape: int) -> Tensor:
        """`[B, *shape]` float64 in the open interval (0, 1)."""
        ...

    def normal(self, *shape: int) -> Tensor:
        """`[B, *shape]` float64, standard normal."""
        ...

    def integers(self, high: int, *shape: int) -> Tensor:
        """`[B, *shape]` long in `[0, high)`."""
        ...


class Distribution(Protocol):
    """A normal distribution that `x` is known to follow."""

    @property
    def mean(self) -> Tensor:
        """`[F]`, of the flattened elements."""
        ...

    @property
    def covariance(self) -> Tensor:
        """`[F, F]`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Actionability:
    """Which other values the elements of x may take; `[*S]` each, in the space of x.

    Attributes:
        fixed: bool, never changes.
        rising, falling: bool, may only go up, or only down, from where it is.
        lowest, highest: bounds, infinite where there are none.
        codes: bool, one part of a category in one-hot form; its unit moves as one.
        origin, step: values lie at `origin + k * step`; a step of 0 allows any value.
    """

    fixed: Tensor
    rising: Tensor
    falling: Tensor
    lowest: Tensor
    highest: Tensor
    codes: Tensor
    origin: Tensor
    step: Tensor


class Infill(Protocol):
    """A model of the tokens that could stand where some are missing."""

    def sample(self, tokens: Tensor, missing: Tensor, draws: Tensor) -> Tensor:
        """`tokens [N, T]` long, `missing [N, T]` bool, `draws [N, R, T]` in (0, 1) `-> [N, R, T]`.

        The tokens with each missing one replaced by the sample that its draw picks. Row `n` depends
        on row `n` only.
        """
        ...

    def log_probability(self, tokens: Tensor) -> Tensor:
        """`tokens [N, T]` long `-> [N]` float64: the mean logarithm of each token's probability
        given all others, in nats; NaN where no token can be judged.
        """
        ...


class LanguageModel(Protocol):
    """How an `Infill` comes about: a recipe, which a run trains on its training texts."""

    fills_gaps: ClassVar[bool] = True

    def train(
        self, bundle: Any, *, seed: int, on_epoch: Callable[[Mapping[str, float]], None]
    ) -> Any:
        """The trained model, of which the predictor is an `Infill`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Symbols:
    """The vocabulary whose ids x holds. What numbers below 0 mean is said in `core.tokens`.

    Attributes:
        tokens: the text of each of the `V` ids.
        special: `[V]` bool, the ids that stand for no text, such as a start of sentence.
        counts: `[V]` long, how often each id occurs in the training rows.
        mask, unknown, padding: the ids that may stand in for a removed token, where there are such.
        infill: a masked language model, where one is at hand.
    """

    tokens: tuple[str, ...]
    special: Tensor
    counts: Tensor
    mask: int | None = None
    unknown: int | None = None
    padding: int | None = None
    infill: Infill | None = None

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """What is known of the space that `x` lives in, the same for every batch.

    Attributes:
        background: `[N, *S]` training rows: what means, marginal draws and surrogates are made of.
        scale: `[*S]` standard deviation of each element, 1 where it does not vary.
        labels: `[N]` true labels of the background rows, where known.
        truth: written-down attributions, `(inputs, targets) -> [B, *S]`, where known.
        context: name -> `[N, ...]`, what the model needs beside each background row.
        distribution: that of x, where it is known: `mean [F]`, `covariance [F, F]`.
        sensitive: `[*S]` bool, the elements that stand for sensitive columns, where there are any.
        actionability: which changes of x are possible, where somebody knows.
        symbols: the vocabulary, where x is made of tokens: their ids, or their embeddings.
        lookup: where x holds embeddings of tokens, `ids [..., T] -> [..., T, D]`.
    """

    background: Tensor
    scale: Tensor
    labels: Tensor | None = None
    truth: Callable[[Inputs, Tensor], Tensor] | None = None
    context: Mapping[str, Tensor] = field(default_factory=dict)
    distribution: Distribution | None = None
    sensitive: Tensor | None = None
    actionability: Actionability | None = None
    symbols: Symbols | None = None
    lookup: Callable[[Tensor], Tensor] | None = None

    @property
    def discrete(self) -> bool:
        """Whether x holds ids, between which there is nothing."""
        return self.symbols is not None and self.lookup is None


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """One batch of what is explained.

    Attributes:
        x: `[B, *S]` float, the tensor that attributions live on; whole numbers where the domain is
            discrete.
        units: `[B, *S]` long, the unit of each element, dense per sample from 0; -1 is padding. A
            broadcast view (stride 0 over `B`) where all samples agree.
        index: `[B]` long, row in the evaluation split: the join key of every score.
        context: name -> `[B, ...]`, passed to the model as it is and never perturbed.
        domain: what is known of the whole space.
    """

    x: Tensor
    units: Tensor
    index: Tensor
    domain: Domain
    context: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def with_x(self, x: Tensor) -> Inputs:
        """The same samples at other points, `[B, *S]`."""
        return replace(self, x=x)

    def without_truth(self) -> Inputs:
        """The same where the written-down truth does not apply, such as to a loss."""
        return replace(self, domain=replace(self.domain, truth=None))

    def take(self, rows: Tensor) -> Inputs:
        """The samples at `rows` (long `[M]`), in that order."""
        shared = self.units.stride(0) == 0 and len(self) > 0
        units = self.units[:1].expand(len(rows), *self.units.shape[1:])
        return Inputs(
            x=self.x[rows],
            units=units if shared else self.units[rows],
            index=self.index[rows],
            domain=self.domain,
            context={name: value[rows] for name, value in self.context.items()},
        )

    def part(self, samples: slice) -> Inputs:
        """The samples of a slice, without a copy."""
        return Inputs(
            x=self.x[samples],
            units=self.units[samples],
            index=self.index[samples],
            domain=self.domain,
            context={name: value[samples] for name, value in self.context.items()},
        )

    def stacked(self, points: Tensor) -> Inputs:
        """`points [B, K, *S]` as one batch of `B * K` rows, sample by sample."""
        n_samples, n_points = points.shape[:2]
        shared = self.units.stride(0) == 0 and n_samples > 0
        units = self.units[:1].expand(n_samples * n_points, *self.units.shape[1:])
        return Inputs(
            x=points.flatten(0, 1),
            units=units if shared else self.units.repeat_interleave(n_points, 0),
            index=_repeated(self.index, n_points),
            domain=self.domain,
            context={name: _repeated(v, n_points) for name, v in self.context.items()},
        )


def _repeated(rows: Tensor, times: int) -> Tensor:
    """Each row so many times."""
    return rows[:, None].expand(-1, times, *rows.shape[1:]).flatten(0, 1)


@dataclass(frozen=True, slots=True)
class Element:
    """What one element of a table's row says in the words of its file.

    Attributes:
        label: the category that it stands for; empty for a number, `mean + scale * x`.
    """

    mean: float = 0.0
    scale: float = 1.0
    label: str = ""
