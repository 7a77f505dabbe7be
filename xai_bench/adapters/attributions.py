"""Attributions that were made elsewhere, in the shape that they have there.

Letters: `N` samples, `*S` the shape of one sample in x, `U` units, `F` columns, `C` outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import Tensor

from xai_bench.adapters.forms import SeveralForm, TableForm, is_frame
from xai_bench.adapters.layout import Layout, spread_over
from xai_bench.core.spelling import listed, suggest
from xai_bench.types import Kind


def attribution_of(given: Any, layout: Layout, targets: Tensor, n_outputs: int) -> Tensor:
    """`[N, *S]` float64 of what captum, shap, NumPy, pandas or this package gives.

    Taken are `[N, *S]`, a number for each unit `[N, U]` or column `[N, F]`, images without their
    channels, and any of these with the outputs as a last axis, of which each sample's `targets`
    are taken; a mapping or a tuple for several inputs. Raises ValueError for other shapes.
    """
    values = _tensor(given, layout)
    shape = layout.inputs.x.shape
    if n_outputs > 1 and values.shape != shape and values.shape[-1:] == (n_outputs,):
        # The last axis may as well be that of columns: the outputs, if the rest alone fits x.
        single = _placed(values[..., 0], layout)
        if single is not None:
            values = _of_target(values, targets)
    attribution = _placed(values, layout)
    if attribution is None:
        n_units = len(layout.names)
        raise ValueError(
            f"attributions have shape {tuple(values.shape)}; expected that of x, {tuple(shape)}"
            + (f", or ({len(layout.inputs)}, {n_units}), one for each unit" if n_units else "")
        )
    return attribution


def _placed(values: Tensor, layout: Layout) -> Tensor | None:
    """`[N, *S]`, or None for a shape that says nothing of x."""
    inputs, x = layout.inputs, layout.inputs.x
    if values.shape == x.shape:
        return values.double()
    if isinstance(layout.form, TableForm):
        encoding = layout.form.encoding
        if values.shape == (len(x), len(encoding.columns)):
            ids = encoding.units.expand(x.shape)
            return spread_over(values, replace(inputs, units=ids))
    if values.shape == (len(x), len(layout.names)):
        return spread_over(values, inputs)
    if x.dim() >= 4 and values.dim() >= 3:  # a map without channels, or with one for all
        flat = values.reshape(len(values), *values.shape[-(x.dim() - 2) :])
        if values.numel() == flat.numel() and flat.shape[1:] == x.shape[2:] and len(flat) == len(x):
            # Shared by the channels, so that the sum over a pixel stays.
            return (flat.double()[:, None] / x.shape[1]).expand(x.shape).clone()
    return None


def _of_target(values: Tensor, targets: Tensor) -> Tensor:
    """`[N, ..., C] -> [N, ...]`: the output that each sample explains."""
    place = targets.long().view(-1, *[1] * (values.dim() - 1)).expand(*values.shape[:-1], 1)
    return values.gather(-1, place)[..., 0]


def _tensor(given: Any, layout: Layout) -> Tensor:
    own = getattr(given, "attribution", None)
    if isinstance(own, Tensor):
        return own.detach().cpu()
    if hasattr(given, "base_values") and hasattr(given, "values"):  # a shap.Explanation
        return _numbers(given.values)
    if isinstance(layout.form, SeveralForm) and isinstance(given, Mapping | tuple | list):
        return _joined(given, layout.form)
    if is_frame(given):
        return _of_frame(given, layout)
    if isinstance(given, tuple | list) and given and hasattr(given[0], "shape"):
        parts = [_numbers(part) for part in given]
        # One array for each output, as older shap gives them; a lone one is captum's tuple.
        return parts[0] if len(parts) == 1 else torch.stack(parts, dim=-1)
    return _numbers(given)


def _joined(given: Any, form: SeveralForm) -> Tensor:
    names = list(form.shapes)
    named = given if isinstance(given, Mapping) else dict(zip(names, given, strict=False))
    if set(named) != set(names) or len(given) != len(names):
        raise ValueError(
            f"attributions are of {listed(map(str, named))}; expected one for each input, "
            f"{listed(names)}"
        )
    return form.joined({name: _numbers(named[name]) for name in names})


def _of_frame(given: Any, layout: Layout) -> Tensor:
    names = list(layout.form.encoding.names if isinstance(layout.form, TableForm) else layout.names)
    absent = [name for name in names if name not in given.columns]
    if absent:
        raise ValueError(
            f"attributions lack the column {absent[0]!r}; expected one for each of {listed(names)}"
        )
    return _numbers(given[names].to_numpy())


def _numbers(given: Any) -> Tensor:
    if isinstance(given, Tensor):
        values = given.detach().cpu()
    else:
        try:
            values = torch.from_numpy(np.array(given, dtype=np.float64))
        except (TypeError, ValueError):
            raise ValueError(
                f"attributions are a {type(given).__name__}; expected numbers: a tensor, an "
                "array, nested lists of one length, a data frame or a shap.Explanation"
            ) from None
    if values.is_complex():
        raise ValueError(f"attributions hold {values.dtype}; expected real numbers")
    # A copy: the caller may go on to write into its own.
    return values.clone()


def kind_of(kind: Any, attribution: Any) -> Kind:
    """What was said, or else what the explanation says. Raises ValueError for another word."""
    stated = kind or getattr(attribution, "kind", "contribution")
    if stated not in get_args(Kind):
        raise ValueError(f"there is no kind {stated!r}; {suggest(str(stated), get_args(Kind))}")
    return cast(Kind, stated)
