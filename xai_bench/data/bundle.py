"""What a dataset yields: three parts, and what is known of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from xai_bench.core.system.devices import CPU
from xai_bench.types import Actionability, Distribution, Domain, Element, Inputs, Symbols

Task = Literal["classification", "regression"]
Modality = Literal["tabular", "image", "text", "series"]


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Where the tokens of a split come from.

    Attributes:
        strings: the text of each of the `N` samples.
        spans: `[N, T, 2]` long, the characters of each token, end excluded; -1 where it has none.
    """

    strings: tuple[str, ...]
    spans: Tensor

    def unit_texts(self, units: Tensor) -> list[list[str]]:
        """`[N, T]`: the text of each unit of each sample, from its first character on."""
        return [
            _cut(text, spans, own)
            for text, spans, own in zip(self.strings, self.spans, units, strict=True)
        ]

    def take(self, rows: Tensor) -> Texts:
        """Those of the samples at `rows` (long `[M]`)."""
        return Texts(tuple(self.strings[row] for row in rows.tolist()), self.spans[rows])


def _cut(text: str, spans: Tensor, own: Tensor) -> list[str]:
    n_units = int(own.max()) + 1
    starts = torch.full((n_units,), len(text)).scatter_reduce(
        0, own[own >= 0], spans[own >= 0, 0], "amin"
    )
    ends = torch.zeros(n_units, dtype=torch.long).scatter_reduce(
        0, own[own >= 0], spans[own >= 0, 1], "amax"
    )
    return [text[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One part of the data.

    Attributes:
        x: `[N, *S]` float; whole numbers where it holds ids of tokens.
        y: `[N]` long class indices, or float values.
        units: `[N, *S]` long, a broadcast view where all samples agree; -1 is padding.
        context: name -> `[N, ...]`, keyword arguments of the model beside `x`.
        groups: sensitive column -> `[N]` long codes.
        rationale: `[N, *S]` bool, the elements that people call the evidence, where known.
        texts: where the tokens come from, for text.
    """

    x: Tensor
    y: Tensor
    units: Tensor
    context: Mapping[str, Tensor] = field(default_factory=dict)
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    rationale: Tensor | None = None
    texts: Texts | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A dataset, split, scaled on its training part and shuffled once: any prefix is a fair sample.

    Attributes:
        unit_names: one name per unit where all samples share their units, else empty.
        class_names: one name per class; empty for regression.
        group_names: sensitive column -> name of each code.
        oracle: the generating function as a module `x -> [B, C]`, for synthetic tasks.
        truth: its exact attributions, `(inputs, targets) -> [B, *S]`, for synthetic tasks.
        distribution: the exact distribution of x, for synthetic tasks where it is known.
        sensitive: `[*S]` bool, the elements of sensitive columns, where there are any.
        actionability: which changes of x are possible, where it is known.
        elements: name, mean and scale of each element of a table's row, as in its file; else empty.
        y_element: mean and scale of `y` as in the file, for regression.
        symbols: the vocabulary whose ids x holds, for text.
        notes: what a user should know of the data, a sentence each, such as columns that look like
            identifiers.
        n_missing: column -> missing values in the file, where it has any names.
        device: where a network of this data is trained and asked. The data itself is on the CPU.
        precision: the type of its weights once it is trained; None leaves them as they are.
    """

    task: Task
    modality: Modality
    train: Split
    valid: Split
    test: Split
    unit_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    group_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    oracle: nn.Module | None = None
    truth: Callable[[Inputs, Tensor], Tensor] | None = None
    distribution: Distribution | None = None
    sensitive: Tensor | None = None
    actionability: Actionability | None = None
    elements: tuple[Element, ...] = ()
    y_element: Element = field(default_factory=Element)
    symbols: Symbols | None = None
    notes: tuple[str, ...] = ()
    n_missing: Mapping[str, int] = field(default_factory=dict)
    device: torch.device = CPU
    precision: torch.dtype | None = None

    def __post_init__(self) -> None:
        for name, split in (("train", self.train), ("valid", self.valid), ("test", self.test)):
            _validate(name, split)

    @property
    def n_outputs(self) -> int:
        """The outputs of a model of this task: one per class, or 1."""
        return len(self.class_names) if self.task == "classification" else 1

    def domain(self, n_background: int) -> Domain:
        """What explainers and baselines may read: the first `n_background` training rows."""
        background = self._in_double(self.train.x[:n_background])
        scale = background.std(0, correction=0)
        if self.symbols is not None:
            scale = torch.zeros_like(scale)  # ids have no size
        return Domain(
            background=background,
            scale=torch.where(scale > 0, scale, 1.0),
            labels=self.train.y[:n_background],
            truth=self.truth,
            distribution=self.distribution,
            sensitive=self.sensitive,
            actionability=self.actionability,
            context={name: value[:n_background] for name, value in self.train.context.items()},
            symbols=self.symbols,
        )

    def evaluation(self, n_samples: int, n_background: int) -> Inputs:
        """The first `n_samples` test rows (all if there are fewer), ready to be explained."""
        part = self.test
        n = min(n_samples, len(part))
        return Inputs(
            x=self._in_double(part.x[:n]),
            units=part.units[:n],
            index=torch.arange(n),
            domain=self.domain(n_background),
            context={name: value[:n] for name, value in part.context.items()},
        )

    def _in_double(self, x: Tensor) -> Tensor:
        """In float64 where the network is; ids of tokens stay as they are."""
        double = self.precision == torch.float64 and self.symbols is None
        return x.double() if double else x

    def fingerprint(self) -> str:
        """A hash of every number in the data; changes when any of them does."""
        digest = hashlib.sha256(f"{self.task} {self.modality} {self.class_names}".encode())
        if self.symbols is not None:
            digest.update("\0".join(self.symbols.tokens).encode())
        for split in (self.train, self.valid, self.test):
            marked = () if split.rationale is None else (split.rationale,)
            parts = (*split.context.values(), *split.groups.values(), *marked)
            for tensor in (split.x, split.y, split.units, *parts):
                digest.update(str(tuple(tensor.shape)).encode())
                digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


class Dataset(Protocol):
    """One class and one YAML make a dataset; constructors only store."""

    def load(self) -> Bundle:
        """Read, split and scale. A user's mistake raises ValueError with one clear sentence."""
        ...


def shared_units(units: Tensor, n_samples: int) -> Tensor:
    """`[*S] -> [N, *S]`: the same units for every sample, without a copy."""
    return units.expand(n_samples, *units.shape)


def _validate(name: str, split: Split) -> None:
    """Raise ValueError for no rows, numbers that are not finite, or gaps in the unit ids."""
    if len(split) == 0:
        raise ValueError(
            f"the {name} part of the data has no rows; use more data or other fractions"
        )
    n_bad = int((~split.x.isfinite()).sum())
    if n_bad:
        raise ValueError(
            f"the {name} part has {n_bad} values that are NaN or infinite; "
            "clean the data, or for tables set data.missing=mean or data.missing=drop"
        )
    # Units that all rows share are a view with stride 0: one row says it all.
    flat = split.units[:1].flatten(1) if split.units.stride(0) == 0 else split.units.flatten(1)
    ordered = flat.sort(dim=1).values
    steps = ordered.diff(dim=1, prepend=torch.full_like(ordered[:, :1], -1))
    if bool((ordered < -1).any()) or bool((steps > 1).any()):
        raise ValueError("unit ids must be dense from 0 for every sample; -1 marks padding")
