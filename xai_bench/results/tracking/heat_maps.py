"""Heat maps of attributions, of x and of layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.system.printable import printable
from xai_bench.results.drawing.grid import name_width
from xai_bench.results.drawing.style import png, shortened
from xai_bench.results.values import ExplainerResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_N_BARS = 20
_N_MAPS = 6
_N_LAYERS = 12
_N_UNITS = 8
_N_PLACES = 3
"""At most so many bars, samples, layers, units of a layer, and spatial maps in one picture."""


def heat_map(
    result: ExplainerResult, inputs: Mapping[str, Tensor] | None, unit_names: Sequence[str]
) -> bytes | None:
    """A PNG: maps beside the inputs for `[C, H, W]` and `[C, T]`, mean sizes per unit otherwise.

    `inputs` are `x` and `units` where the store has them. None without an attribution.
    """
    if result.explanation is None:
        return None
    maps = result.explanation.attribution.double()
    if maps.dim() == 4:
        return png(_images(maps, None if inputs is None else inputs["x"]))
    if maps.dim() == 3 and not unit_names and _shared(inputs):
        return png(_grid(maps))
    sizes = maps.flatten(1) if inputs is None else units.pool(maps, inputs["units"])
    names = [printable(name) for name in unit_names]
    return png(_bars(sizes.abs().mean(0), names, printable(result.explainer)))


def layer_report(result: ExplainerResult) -> bytes | None:
    """A PNG with a row per layer, from input to output; None without layers.

    A row shows the layer's most important units, all units of all samples, and for layers with
    spatial axes the maps of the first samples.
    """
    from matplotlib.figure import Figure

    layers = {} if result.explanation is None else result.explanation.layers
    if not layers:
        return None
    names = list(layers)
    shown = [names[i] for i in _spread(len(names), _N_LAYERS)]
    n_maps = _N_PLACES if any(layers[name].dim() > 2 for name in shown) else 0
    figure = Figure(figsize=(6 + 1.5 * n_maps, 0.7 + 1.75 * len(shown)), layout="constrained")
    axes = figure.subplots(
        len(shown), 2 + n_maps, squeeze=False, width_ratios=[2, 3, *[1] * n_maps]
    )
    for row, name in zip(axes, shown, strict=True):
        _layer(row, name, layers[name].double())
    axes[-1, 0].set_xlabel("mean absolute attribution", fontsize=7)
    axes[-1, 1].set_xlabel("unit", fontsize=7)
    part = "" if len(shown) == len(names) else f", {len(shown)} of {len(names)} layers"
    figure.suptitle(
        f"{printable(result.explainer)}, layer by layer{part}\n"
        "red raises the output, blue lowers it",
        fontsize=9,
    )
    return png(figure)


def _spread(n: int, most: int) -> list[int]:
    """At most `most` of `range(n)`, evenly spaced, with the first and the last."""
    return sorted({round(i * (n - 1) / max(min(n, most) - 1, 1)) for i in range(min(n, most))})


def _layer(row: Any, name: str, values: Tensor) -> None:
    """`values [N, units, *places]` on a row of axes."""
    totals = values.flatten(2).sum(2) if values.dim() > 2 else values
    _top_units(row[0], totals)
    row[0].set_title(f"{name}  {list(values.shape[1:])}", fontsize=8, loc="left")
    _signed(row[1], totals)
    row[1].set_ylabel("sample", fontsize=7)
    row[1].tick_params(labelsize=6)
    n_samples, n_units = totals.shape
    row[1].set_xticks(range(0, n_units, math.ceil(n_units / 10)))
    row[1].set_yticks(range(0, n_samples, math.ceil(n_samples / 10)))
    for column, axis in enumerate(row[2:]):
        axis.set_axis_off()
        if values.dim() > 2 and column < len(values):
            places = values[column].sum(0)
            _signed(axis, places if places.dim() > 1 else places[None])
            axis.set_title(f"sample {column}", fontsize=7)


def _top_units(axis: Any, totals: Tensor) -> None:
    """`[N, units]`: bars of mean sizes, the largest on top, coloured by the mean's sign."""
    sizes, means = totals.abs().mean(0), totals.mean(0)
    order = sizes.argsort(descending=True, stable=True)[:_N_UNITS].tolist()
    colours = ["#b2182b" if means[unit] > 0 else "#2166ac" for unit in order]
    axis.barh(range(len(order)), sizes[order].tolist(), color=colours)
    axis.set_yticks(range(len(order)), labels=[str(unit) for unit in order], fontsize=6)
    axis.set_ylabel("unit", fontsize=7)
    axis.tick_params(axis="x", labelsize=6)
    # Room for as many in every row of the picture, so that bars are equally thick.
    axis.set_ylim(_N_UNITS - 0.5, -0.5)


def _shared(inputs: Mapping[str, Tensor] | None) -> bool:
    """Whether all samples have the same units, as channels and time steps are; words are not."""
    return inputs is None or bool((inputs["units"] == inputs["units"][:1]).all())


def _bars(sizes: Tensor, unit_names: Sequence[str], title: str) -> Figure:
    """Bars of the largest of `sizes [U]`, the largest on top."""
    from matplotlib.figure import Figure

    order = sizes.argsort(descending=True, stable=True)[:_N_BARS].tolist()
    named = len(unit_names) == len(sizes)
    labels = [shortened(unit_names[i], 40) if named else f"unit {i}" for i in order]
    # In places that are known beforehand: to find them, everything would be drawn three times.
    width, height = 6.0, 0.75 + 0.25 * len(order)
    left = min(0.2 + name_width(labels), width / 2) / width
    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((left, 0.45 / height, 0.97 - left, 1 - 0.75 / height))
    axis.barh(range(len(order)), sizes[order].tolist(), color="#0b5fa5")
    axis.set_yticks(range(len(order)), labels=labels, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("mean absolute attribution")
    axis.set_title(title, fontsize=10)
    return figure


def _images(maps: Tensor, x: Tensor | None) -> Figure:
    """The first inputs above their attributions `[N, C, H, W]`, summed over channels."""
    from matplotlib.figure import Figure

    shown = maps[:_N_MAPS].sum(1)
    n_rows = 1 if x is None else 2
    size = (1.6 * len(shown), 1.7 * n_rows)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(n_rows, len(shown), squeeze=False)
    for column, summed in enumerate(shown):
        if x is not None:
            axes[0, column].imshow(_picture(x[column]), cmap="gray")
        _signed(axes[-1, column], summed)
    for axis in axes.flatten():
        axis.set_axis_off()
    return figure


def _grid(maps: Tensor) -> Figure:
    """Attributions `[N, C, T]`, one map per sample: channels downwards, time to the right."""
    from matplotlib.figure import Figure

    shown = maps[:_N_MAPS]
    figure = Figure(figsize=(7, 1.1 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), 1, squeeze=False)
    for row, channels in enumerate(shown):
        _signed(axes[row, 0], channels)
        axes[row, 0].set_yticks([])
    return figure


def _signed(axis: Any, values: Tensor) -> None:
    """Red for what raises the output, blue for what lowers it, white for zero."""
    bound = max(values.abs().max().item(), 1e-12)
    axis.imshow(values.numpy(), cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto")


def _picture(x: Tensor) -> Any:
    """`[C, H, W]` scaled to 0 .. 1, as colours where there are three channels."""
    flat = x.double() if len(x) == 3 else x.double().mean(0, keepdim=True)
    low, high = flat.min(), flat.max()
    scaled = (flat - low) / torch.clamp(high - low, min=1e-12)
    return scaled.movedim(0, -1).squeeze(-1).numpy()
