"""What the rows of a bundle hold, in the words of their file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from xai_bench.core.spelling import listed
from xai_bench.data.bundle import Bundle
from xai_bench.types import Element

AT_MOST = 12
"""Columns that a sentence names."""


def fed(bundle: Bundle) -> str:
    """What a model is given for one row, in one line: shape, and columns and scaling of a table."""
    shape = f"x {['B', *bundle.test.x.shape[1:]]}".replace("'", "")
    kind = str(bundle.test.x.dtype).removeprefix("torch.")
    context = [f"{name} (as a keyword)" for name in bundle.test.context]
    columns = list(columns_of(bundle))
    more = f", and {len(columns) - AT_MOST} more columns" if len(columns) > AT_MOST else ""
    shown = f": {', '.join(columns[:AT_MOST])}{more}" if columns else ""
    return f"{shape} {kind}{shown}{''.join(f'; {name}' for name in context)}"


def columns_of(bundle: Bundle) -> Iterator[str]:
    """How each column of a table stands in x, in the order of x; nothing where nobody knows."""
    if not bundle.elements:
        return
    units = bundle.train.units[0].flatten().tolist()
    for unit, name in enumerate(bundle.unit_names):
        own = [e for e, of in zip(bundle.elements, units, strict=True) if of == unit]
        yield f"{name} {_written(own)}"


def _written(own: Sequence[Element]) -> str:
    if own and own[0].label:
        return f"[one-hot: {listed(element.label for element in own)}]"
    if len(own) != 1:
        return f"[{len(own)} numbers]"
    if own[0] == Element():
        return "[as in the file]"
    return f"[(value - {own[0].mean:.5g}) / {own[0].scale:.5g}]"


@dataclass(frozen=True, slots=True)
class ColumnSummary:
    """One unit of a table as it was understood.

    Attributes:
        kind: `number`, `category`, or `numbers` where several share a unit.
        values: the categories, or range, mean and deviation over the training rows, in the words of
            the file.
        n_elements: how many elements of x it has.
        n_missing: missing values in the file.
    """

    name: str
    kind: str
    values: str
    n_elements: int
    n_missing: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A bundle as it was understood, before any work.

    Attributes:
        columns: of a table; empty for other data.
        x: shape, type and range of the values a model is given.
        target: classes with their training rows, or range and mean.
        n_rows: training, validation and test rows.
        n_units: how many things are removed or ranked as one.
        groups: sensitive column -> names of its groups.
        fed: what a checkpoint would be given.
        notes: what a user should know.
    """

    task: str
    modality: str
    columns: tuple[ColumnSummary, ...]
    x: str
    target: str
    n_rows: tuple[int, int, int]
    n_units: int
    groups: Mapping[str, Sequence[str]]
    fed: str
    notes: Sequence[str]


def summary(bundle: Bundle) -> Summary:
    """What was understood of the data that a bundle was made of."""
    train = bundle.train
    return Summary(
        task=bundle.task,
        modality=bundle.modality,
        columns=tuple(_columns(bundle)),
        x=f"{list(train.x.shape[1:])}, {_range(train.x.double())}",
        target=_target(bundle),
        n_rows=(len(train), len(bundle.valid), len(bundle.test)),
        n_units=int(train.units.max()) + 1,
        groups={name: tuple(names) for name, names in bundle.group_names.items()},
        fed=fed(bundle),
        notes=tuple(bundle.notes),
    )


def _columns(bundle: Bundle) -> Iterator[ColumnSummary]:
    if not bundle.elements:
        return
    units, x = bundle.train.units[0].flatten(), bundle.train.x.flatten(1).double()
    for unit in range(int(units.max()) + 1):
        places = (units == unit).nonzero()[:, 0]
        own = [bundle.elements[place] for place in places.tolist()]
        name = bundle.unit_names[unit] if bundle.unit_names else f"unit {unit}"
        kind = "category" if own[0].label else "number" if len(own) == 1 else "numbers"
        yield ColumnSummary(
            name, kind, _values(own, x[:, places]), len(own), bundle.n_missing.get(name, 0)
        )


def _values(own: Sequence[Element], x: Tensor) -> str:
    """`[N, E]` training values of one column, in the words of its file."""
    if own[0].label:
        shares = x.mean(0).tolist()
        named = zip(own, shares, strict=True)
        return _joined([f"{element.label} ({share:.0%})" for element, share in named])
    return "; ".join(
        _range(column * element.scale + element.mean)
        for element, column in zip(own[:3], x.T, strict=False)
    )


def _range(values: Tensor) -> str:
    # What is 0 in the file is not quite 0 after single precision.
    least = 1e-5 * values.abs().max().item()
    numbers = (values.min().item(), values.max().item(), values.mean().item())
    low, high, mean = (f"{0 if abs(end) < least else end:.5g}" for end in numbers)
    return f"{low} to {high}, mean {mean}"


def _target(bundle: Bundle) -> str:
    y = bundle.train.y
    if bundle.task == "regression":
        return _range(y.double() * bundle.y_element.scale + bundle.y_element.mean)
    counts = y.bincount(minlength=len(bundle.class_names)).tolist()
    named = zip(bundle.class_names, counts, strict=True)
    return _joined([f"{name} ({count:,} training rows)" for name, count in named])


def _joined(parts: Sequence[str]) -> str:
    more = f" and {len(parts) - AT_MOST} more" if len(parts) > AT_MOST else ""
    return ", ".join(parts[:AT_MOST]) + more
