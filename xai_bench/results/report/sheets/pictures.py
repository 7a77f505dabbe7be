"""Which pictures of explained samples a report has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from xai_bench.results.drawing.data_sets import Beeswarm, Dependence, Waterfall
from xai_bench.results.drawing.sheets import BarSheet, Floats, ImageSheet, SeriesSheet
from xai_bench.results.drawing.tokens import TokenSheet, pieces
from xai_bench.results.report.figures.export import Picture
from xai_bench.results.report.sheets.samples import Method, Samples
from xai_bench.results.values import TextUnits

CONTROLS = ("random",)
"""The controls that sheets show; others look the same on every sample."""
MARKED = "marked as evidence"


def sheet(explained: Samples, row: int) -> Picture:
    """One sample, explained by every method."""
    methods = shown(explained)
    names = tuple(method.name for method in methods)
    headline = explained.headline(row)
    if explained.texts is not None:
        return _token_sheet(headline, explained.texts, row, methods)
    if explained.form == "table":
        return BarSheet(
            headline, explained.names, explained.held(row), names, _values(methods, row)
        )
    maps = np.stack([method.explanation.attribution[row].double().numpy() for method in methods])
    if explained.form == "image":
        # Summed over channels: a pixel is one place with all its colours.
        return ImageSheet(headline, picture(explained.x[row]), names, maps.sum(1))
    channels = tuple(f"channel {i}" for i in range(maps.shape[1])) if maps.shape[1] > 1 else ("",)
    return SeriesSheet(headline, channels, names, explained.x[row].numpy(), maps)


def _token_sheet(headline: str, texts: TextUnits, row: int, methods: list[Method]) -> TokenSheet:
    """A line per method, and first what people marked, where they did."""
    words = texts.words[row]
    names, values = [method.name for method in methods], _values(methods, row)[:, : len(words)]
    if texts.marked is not None and any(texts.marked[row]):
        names = [MARKED, *names]
        values = np.concatenate([np.array([texts.marked[row]], dtype=np.float64), values])
    tokens, spread = pieces(words, values)
    return TokenSheet.of(headline, tokens, names, spread)


def of_data_set(explained: Samples, name: str) -> Iterator[tuple[str, Picture]]:
    """Beeswarm and dependence of one method over a table's rows."""
    method = next((m for m in explained.methods if m.name == name), None)
    if method is None or explained.form != "table" or len(explained.names) < 2:
        return
    headline = f"{name} on {explained.place}, {len(explained)} samples: {explained.cell.target}"
    values, numbers = method.values.numpy(), explained.numbers().numpy()
    yield "beeswarm", Beeswarm(headline, explained.names, values, numbers)
    if np.isfinite(numbers).all(0).any():
        yield "dependence", Dependence(headline, explained.names, values, numbers)


def waterfall(explained: Samples, name: str, row: int) -> Picture | None:
    """How one method's contributions add up; None where they do not, or the output is unknown."""
    method = next((m for m in explained.methods if m.name == name), None)
    output = explained.output(row)
    if method is None or method.kind != "contribution" or explained.form != "table":
        return None
    if not np.isfinite(output):
        return None
    return Waterfall(
        headline=f"{name}: {explained.headline(row)}",
        units=explained.names,
        held=explained.held(row),
        values=method.values[row].numpy(),
        output=output,
        what=explained.explained(row),
    )


def shown(explained: Samples) -> list[Method]:
    """The methods, and the controls worth a look."""
    return [m for m in explained.methods if not m.control or m.name in CONTROLS]


def picture(x: Tensor) -> Floats:
    """`[C, H, W]` as `[H, W]`, or `[H, W, 3]` where there are three channels; 0 .. 1."""
    flat = x.double() if len(x) == 3 else x.double().mean(0, keepdim=True)
    # Images are stored as the model gets them, which need not be between 0 and 1.
    low, high = flat.min(), flat.max()
    scaled = (flat - low) / (high - low).clamp(min=1e-12)
    return np.asarray(scaled.movedim(0, -1).squeeze(-1).numpy())


def _values(methods: list[Method], row: int) -> Floats:
    return np.stack([method.values[row].double().numpy() for method in methods])
