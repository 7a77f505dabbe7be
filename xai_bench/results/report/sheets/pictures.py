"""Which pictures of explained samples a report has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from xai_bench.results.drawing.data_sets import Beeswarm, Dependence, Waterfall
from xai_bench.results.drawing.sheets import BarSheet, Floats, ImageSheet, SeriesSheet
from xai_bench.results.report.figures.export import Picture
from xai_bench.results.report.sheets.samples import Method, Samples

CONTROLS = ("random",)
"""The controls that sheets show; others look the same on every sample."""


def sheet(known: Samples, row: int) -> Picture:
    """One sample, explained by every method."""
    methods = shown(known)
    names = tuple(method.name for method in methods)
    headline = known.headline(row)
    if known.form == "table":
        return BarSheet(headline, known.names, known.held(row), names, _values(methods, row))
    maps = np.stack([method.explanation.attribution[row].double().numpy() for method in methods])
    if known.form == "image":
        return ImageSheet(headline, picture(known.x[row]), names, maps.sum(1))
    channels = tuple(f"channel {i}" for i in range(maps.shape[1])) if maps.shape[1] > 1 else ("",)
    return SeriesSheet(headline, channels, names, known.x[row].numpy(), maps)


def of_data_set(known: Samples, name: str) -> Iterator[tuple[str, Picture]]:
    """Beeswarm and dependence of one method over a table's rows."""
    method = next((m for m in known.methods if m.name == name), None)
    if method is None or known.form != "table" or len(known.names) < 2:
        return
    headline = f"{name} on {known.place}, {len(known)} samples: {known.cell.target}"
    values, numbers = method.values.numpy(), known.numbers().numpy()
    yield "beeswarm", Beeswarm(headline, known.names, values, numbers)
    if np.isfinite(numbers).all(0).any():
        yield "dependence", Dependence(headline, known.names, values, numbers)


def waterfall(known: Samples, name: str, row: int) -> Picture | None:
    """How one method's contributions add up; None where they do not, or the output is unknown."""
    method = next((m for m in known.methods if m.name == name), None)
    output = known.output(row)
    if method is None or method.kind != "contribution" or known.form != "table":
        return None
    if not np.isfinite(output):
        return None
    return Waterfall(
        headline=f"{name}: {known.headline(row)}",
        units=known.names,
        held=known.held(row),
        values=method.values[row].numpy(),
        output=output,
        what=known.explained(row),
    )


def shown(known: Samples) -> list[Method]:
    """The methods, and the controls worth a look."""
    return [m for m in known.methods if not m.control or m.name in CONTROLS]


def picture(x: Tensor) -> Floats:
    """`[C, H, W]` as `[H, W]`, or `[H, W, 3]` where there are three channels; 0 .. 1."""
    flat = x.double() if len(x) == 3 else x.double().mean(0, keepdim=True)
    low, high = flat.min(), flat.max()
    scaled = (flat - low) / (high - low).clamp(min=1e-12)
    return np.asarray(scaled.movedim(0, -1).squeeze(-1).numpy())


def _values(methods: list[Method], row: int) -> Floats:
    return np.stack([method.values[row].double().numpy() for method in methods])
