"""What the wrappers of other libraries share: the scalar as a module, and seeded generators.

Libraries explain one sample after the other and draw from global generators. So each sample is
explained alone, with the generators seeded by its own stream and put back afterwards.
"""

from __future__ import annotations

import io
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from xai_bench.core import units
from xai_bench.core.baselines import references
from xai_bench.core.calls.model_outputs import filled_up, room
from xai_bench.core.system.determinism import generators_as_before
from xai_bench.explainers.gradient.engine import require_gradient
from xai_bench.types import (
    ROW_BLOCK,
    Baseline,
    Explanation,
    Inputs,
    Model,
    Rng,
    Unsupported,
    tags_of,
)

Floats = npt.NDArray[np.float64]
HALF = ROW_BLOCK // 2
"""Models fill up their batches to a multiple of twice this many rows; see `Halves`."""


@dataclass(frozen=True)
class SampleBySample(ABC):
    """Base of explainers whose library is called for one sample after the other."""

    @abstractmethod
    def attribution(self, sample: Sample) -> Tensor:
        """`[*S]`, what the library finds for the sample; padding is set to 0 afterwards."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The attributions of all samples; raises `Unsupported` without what `needs` states."""
        require_needs(self, model)
        return Explanation(one_by_one(self.attribution, model, inputs, targets, rng=rng))


def require_needs(explainer: object, model: Model) -> None:
    """Raise `Unsupported` where the model lacks the gradient or the module that is needed."""
    needs = tags_of(explainer).needs
    if "gradient" in needs:
        require_gradient(model)
    if "module" in needs and model.module is None:
        name = type(explainer).__name__
        raise Unsupported(f"{name} hooks the layers of a torch module, and this model has none")


def not_installed(extra: str) -> Unsupported:
    """The reason why a library that is not installed cannot be used."""
    return Unsupported(f"{extra} is not installed; to use it: pip install 'xai-bench[{extra}]'")


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample to explain.

    Attributes:
        inputs, targets, rng: of one row.
        seed: of its own, for libraries that ask for one.
    """

    model: Model
    inputs: Inputs
    targets: Tensor
    rng: Rng
    seed: int

    @property
    def x(self) -> Tensor:
        """`[1, *S]`, a copy."""
        return self.inputs.x.detach().clone()

    @property
    def units(self) -> Tensor:
        """`[D]` long: the unit of each element, -1 in padding."""
        return self.inputs.units[0].flatten()

    @property
    def n_units(self) -> int:
        """`U`."""
        return int(self.units.max()) + 1

    @property
    def scalar(self) -> Scalar:
        """The target output as a module."""
        return Scalar(self.model, self.inputs, self.targets)

    def references(self, baseline: Baseline) -> Tensor:
        """`[R, *S]`, equal to the sample in padding."""
        return references(baseline, self.inputs, rng=self.rng)[0]

    @property
    def background(self) -> Tensor:
        """`[N, *S]`: all background rows, equal to the sample in padding."""
        rows = self.inputs.domain.background.to(self.inputs.x)
        return torch.where(self.inputs.units < 0, self.inputs.x, rows)

    def drawn(self, n: int) -> Tensor:
        """`[n, *S]`: background rows drawn at random."""
        rows = self.background
        return rows[self.rng.child("background").integers(len(rows), n)[0]]

    @torch.no_grad()
    def values(self, points: Tensor) -> Floats:
        """`points [n, *S] -> [n]`: the target output."""
        values: Floats = self.scalar(points).double().cpu().numpy()
        return values

    def spread(self, values: Tensor) -> Tensor:
        """`[U] -> [*S]`: each unit's value, shared by its elements."""
        return units.spread(values[None].double(), self.inputs.units)[0]


class Scalar(nn.Module):
    """The target output as a module of `x` alone, `[n, *S] -> [n]`, at most `max_rows` a call.

    Row `r` belongs to sample `r % B`. Layers can be found and hooked; every row is counted.
    """

    def __init__(self, model: Model, inputs: Inputs, targets: Tensor) -> None:
        super().__init__()
        self.layers = model.module
        self.model, self.inputs, self.targets = model, inputs, targets
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """`[n]`."""
        # With gradients, what is computed is kept until the way back, whole or in parts.
        most = room(self.model) if torch.is_grad_enabled() else self.model.max_rows
        calls = torch.arange(len(x)).split(most)
        parts = [self._call(x[rows], rows % len(self.inputs)) for rows in calls]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _call(self, x: Tensor, rows: Tensor) -> Tensor:
        part = self.inputs.take(rows).with_x(x.to(self.inputs.x.dtype))
        return self.model.target_output(part, self.targets[rows])


class Halves(nn.Module):
    """A scalar for libraries that pair row `i` with row `n/2 + i` inside the layers.

    A model fills up its batches with copies of the last row, which would shift the pairs: here both
    halves are filled up first. Of two rows the copies pair with each other anyway, and without
    gradients nothing is paired.
    """

    def __init__(self, scalar: Scalar) -> None:
        super().__init__()
        self.scalar = scalar
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """`[n]`; raises `Unsupported` where `max_rows` does not hold all pairs in one call."""
        if len(x) == 2 or not torch.is_grad_enabled():
            plain: Tensor = self.scalar(x)
            return plain
        halves = x.tensor_split(2)
        n_rows = _up_to_half(len(halves[0]))
        require_room(self.scalar.model, 2 * n_rows)
        full = self.scalar(torch.cat([filled_up(half, n_rows) for half in halves])).tensor_split(2)
        return torch.cat([f[: len(h)] for f, h in zip(full, halves, strict=True)])


class Column(nn.Module):
    """A scalar as `[n, 1]`. Until it is `active` it is 0: libraries look at the shape when they are
    built, which their users do once and the wrappers for every sample.
    """

    def __init__(self, scalar: nn.Module, *, active: bool = True) -> None:
        super().__init__()
        self.scalar, self.active = scalar, active
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """`[n, 1]`."""
        values: Tensor = self.scalar(x) if self.active else x.new_zeros(len(x))
        return values[:, None]


def require_room(model: Model, n_rows: int) -> None:
    """Raise `Unsupported` where layers that are hooked would see the rows in several calls."""
    if n_rows > room(model):
        raise Unsupported(
            f"this explainer pairs {n_rows} rows in one call and max_rows is {room(model)}; "
            "set fewer n_samples, or more evaluation.max_rows and evaluation.memory"
        )


def rows_of_pairs(n_pairs: int) -> int:
    """Rows that `Halves` sends for so many pairs."""
    return 2 if n_pairs == 1 else 2 * _up_to_half(n_pairs)


def _up_to_half(n_rows: int) -> int:
    """The next multiple of `HALF`."""
    return n_rows + -n_rows % HALF


def one_by_one(
    attribution: Callable[[Sample], Tensor],
    model: Model,
    inputs: Inputs,
    targets: Tensor,
    *,
    rng: Rng,
) -> Tensor:
    """`[B, *S]`: `attribution` of each sample, `[*S]`; 0 in padding."""
    # Of the sample's own stream, so that its draws do not depend on the batch.
    seeds = rng.child("library").integers(2**31 - 1).tolist()
    attributions = []
    for row, seed in enumerate(seeds):
        at = torch.tensor([row])
        sample = Sample(model, inputs.take(at), targets[at], rng.take(at), seed)
        with undisturbed(model.module, seed), _errors_in_one_sentence():
            attributions.append(attribution(sample).detach().reshape(inputs.x.shape[1:]))
    return torch.where(inputs.units < 0, 0, torch.stack(attributions).to(inputs.x.dtype))


@contextmanager
def undisturbed(module: nn.Module | None, seed: int = 0) -> Iterator[None]:
    """Inside, global generators start from `seed` and nothing is printed; after, all is as before.

    What libraries leave on the layers of a module, hooks among it, is removed, and gradients stay.
    They un-pool maxima, which torch calls not deterministic; with one thread it is, so this is only
    warned of.
    """
    # All attributes, not hooks alone: captum leaves rules, shap leaves inputs and outputs on
    # layers.
    layers = list(module.modules()) if isinstance(module, nn.Module) else []
    slopes = [(p, p.grad) for layer in layers for p in layer.parameters(recurse=False)]
    before = [
        [(key, value, _copied(value)) for key, value in vars(layer).items()] for layer in layers
    ]
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(min(mode, 1))  # 1: warn
    try:
        with generators_as_before(seed), _silence():
            yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        for layer, kept in zip(layers, before, strict=True):
            _put_back(layer, kept)
        for parameter, grad in slopes:
            parameter.grad = grad


@contextmanager
def _errors_in_one_sentence() -> Iterator[None]:
    """What a library raises at a model that it cannot take is long, and speaks of its insides."""
    try:
        yield
    except _ERRORS as error:
        words = " ".join(str(error).split())[:_LONGEST] or "no message"
        raise ValueError(f"the library raised {type(error).__name__}: {words}") from error


_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError)
_LONGEST = 300


@contextmanager
def _silence() -> Iterator[None]:
    """No warnings, no progress bars."""
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _put_back(layer: nn.Module, kept: list[tuple[str, Any, Any]]) -> None:
    """The same attributes as before, and in the same dictionaries: handles of hooks know theirs."""
    vars(layer).clear()
    for key, value, copied in kept:
        if isinstance(value, dict):
            value.clear()
            value.update(copied)
        vars(layer)[key] = value


def _copied(value: Any) -> Any:
    """Dictionaries (of hooks, parameters, children) one level deep."""
    return value.copy() if isinstance(value, dict) else value
