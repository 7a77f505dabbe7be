"""Whatever a caller brings, as what an evaluation takes: samples, background, a way to predict."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from xai_bench.adapters import devices
from xai_bench.adapters.forms import (
    Form,
    NumberFrameForm,
    SeveralForm,
    TableForm,
    TensorForm,
    each_element,
    is_frame,
    numbers,
    table_of,
)
from xai_bench.adapters.modules import module_for, named_inputs
from xai_bench.adapters.tokens import NamedEmbedding, embedding_of, ids_of, symbols_of
from xai_bench.adapters.units import fitted_units
from xai_bench.core.caller_tensors import first_nan
from xai_bench.core.spelling import listed
from xai_bench.core.system.devices import CPU
from xai_bench.data.tables.encoding import TableEncoding
from xai_bench.models.base import Predictor, TorchPredictor
from xai_bench.models.caller import ElsewherePredictor, modules_of
from xai_bench.models.libraries import onnx
from xai_bench.models.libraries.recognise import encoding_of, is_fitted_model, predictor_of
from xai_bench.models.precision import deviation
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.types import Actionability, Domain, Inputs, Symbols

log = logging.getLogger(__name__)
_FEW = 2


@dataclass(frozen=True, eq=False)
class Brought:
    """What a caller brought.

    Attributes:
        x, background: `[N, *S]`, `[M, *S]`.
        form: how rows as the caller has them lie in x.
        predictor: makes the predictor, inside of `borrowed(modules)`.
        predictor_of: the same of another model of that kind, fitted to such rows.
        original: the predictor of the model as it came, where it is asked in another precision.
        modules: the torch modules that it uses, as far as they can be seen.
        symbols: the vocabulary, where x holds token ids.
        actionability: what counterfactuals may change, where columns say so.
    """

    x: Tensor
    background: Tensor
    form: Form
    predictor: Callable[[], Predictor]
    modules: tuple[nn.Module, ...] = ()
    symbols: Symbols | None = None
    actionability: Actionability | None = None
    predictor_of: Callable[[Any], Predictor] | None = None
    original: Callable[[], Predictor] | None = None

    def inputs(self, units: Any = None) -> Inputs:
        """The samples as inputs, with these units or their own. Raises ValueError for a shape."""
        rows = self.background
        scale = rows.std(0, correction=0)
        domain = Domain(
            rows,
            torch.where(scale > 0, scale, 1.0),
            actionability=self.actionability,
            symbols=self.symbols,
        )
        return Inputs(
            x=self.x,
            units=fitted_units(self._units(units), self.x),
            index=torch.arange(len(self.x)),
            domain=domain,
        )

    def deviation(self, predictor: Predictor, inputs: Inputs) -> float | None:
        """How far the predictor is from that of the model as it came; None where that is it."""
        return None if self.original is None else deviation(self.original(), predictor, inputs)

    def _units(self, given: Any) -> Any:
        """`[*S]`, or `[N, *S]` where some samples have padding."""
        own: Tensor = self.form.units(self.x.shape[1:])
        if isinstance(given, Mapping):
            return units_of_inputs(given, self.form)
        if given is not None:
            return given
        padding = None if self.symbols is None else self.symbols.padding
        if padding is None or not bool((self.x == padding).any()):
            return own
        return torch.where(self.x == padding, -1, own.expand(self.x.shape))


def units_of_inputs(given: Mapping[str, Any], form: Form) -> Tensor:
    """`[E]`: the units `[*S]` of some inputs; the elements of all others are their own.

    Raises ValueError where x is one input, or has none of such a name.
    """
    if not isinstance(form, SeveralForm) or not set(given) <= set(form.shapes):
        expected = listed(form.shapes) if isinstance(form, SeveralForm) else "one, without a name"
        raise ValueError(
            f"units are given for {listed(map(str, given))}; the inputs are {expected}"
        )
    parts, start = [], 0
    for name, shape in form.shapes.items():
        x = torch.empty(1, *shape)
        own = fitted_units(given.get(name, each_element(shape)), x)[0].flatten()
        parts.append(torch.where(own < 0, -1, own + start))
        start += int(own.max()) + 1
    return torch.cat(parts)


def brought(
    model: Any,
    x: Any,
    background: Any,
    embedding: str | None = None,
    device: object = None,
    precision: object = None,
) -> Brought:
    """Samples `x` and rows of `background`, left out: those of x, for a model of any library.

    Raises ValueError where they do not fit together.
    """
    if isinstance(model, type):
        raise ValueError(f"the model is the class {model.__name__}; make an instance, and fit it")
    place = devices.Placing.of(device, precision, model, x)
    own = _brought(place.placed(model), x, background, embedding, place)
    if place.dtype is None:
        return own

    def original() -> Predictor:
        there = _brought(model, x, background, embedding, devices.Placing(place.device))
        known = there.predictor()
        # Asked with x in the other precision.
        return replace(known, dtype=there.x.dtype) if isinstance(known, TorchPredictor) else known

    # The caller's own model, too, which is asked for the comparison.
    return replace(own, modules=(*own.modules, model), original=original)


def _brought(
    model: Any, x: Any, background: Any, embedding: str | None, place: devices.Placing
) -> Brought:
    if isinstance(x, tuple):
        x = named_inputs(model, x)
        background = (
            named_inputs(model, background) if isinstance(background, tuple) else background
        )
    if background is None:
        log.warning("no background is given: x itself stands for the training rows")
        background = x
    if embedding is not None:
        return _of_tokens(model, x, background, embedding)
    if isinstance(x, Mapping):
        return _of_several(model, x, background, place)
    # An ONNX model is one of a table where it is given a data frame, else one of tensors.
    if is_fitted_model(model) and not (onnx.is_onnx(model) and not is_frame(x)):
        return _of_table(model, x, background)
    if not callable(model) and not is_fitted_model(model):
        raise ValueError(
            f"the model is a {type(model).__name__}; expected a torch module, a function, a fitted "
            "model of scikit-learn, XGBoost, LightGBM or CatBoost, or an ONNX file or session"
        )
    if is_frame(x) and not isinstance(model, nn.Module):
        form: Form = TableForm(TableEncoding.of(_all_rows(x, background)))
    elif is_frame(x):
        columns = tuple(str(name) for name in x.columns)
        form = NumberFrameForm(columns, dtype_of(model) or torch.float32)
    else:
        form = tensor_form(model, numbers(x, "x"), isinstance(x, Tensor))
    return _of_callable(model, x, background, form, place)


def dtype_of(model: Any) -> torch.dtype | None:
    """The type of a module's weights; None where it has none of real numbers, and for bf16, in
    which nothing else is computed.
    """
    weights = model.parameters() if isinstance(model, nn.Module) else ()
    found = next((w.dtype for w in weights if w.is_floating_point()), None)
    return None if found == torch.bfloat16 else found


def tensor_form(model: Any, rows: Tensor, is_tensor: bool) -> TensorForm:
    """X in the type of the model's weights, or else in its own."""
    own = rows.dtype if rows.is_floating_point() else torch.float32
    if own == torch.float32 and not rows.is_floating_point() and _beyond_single(rows):
        own = torch.float64
    array = not is_tensor and not isinstance(model, nn.Module)
    kind: Any = rows.numpy().dtype if array else None
    given = rows.dtype
    dtype = dtype_of(model) or own
    if rows.is_floating_point() and not array:
        given = dtype
    return TensorForm(dtype, given, array and not onnx.is_onnx(model), kind)


def _beyond_single(rows: Tensor) -> bool:
    # Above that, not every whole number has a float32 of its own.
    return bool(rows.numel()) and int(rows.abs().max()) > 2**24


def _of_callable(
    model: Any, x: Any, background: Any, form: Form, place: devices.Placing
) -> Brought:
    samples, rows = _encoded(form, x, background)
    modules = modules_of(model)

    def predictor_of_rows(model: Any) -> Predictor:
        if onnx.is_onnx(model):
            return cast(Predictor, onnx.predictor_of(model, samples))
        # A function cannot be moved, and without float64 nobody looks into a module.
        if place.device != CPU and not (place.looks_inside and dtype_of(model)):
            return ElsewherePredictor(devices.caller_of(model, form, place.device))
        dtype = place.rows(model)
        example = samples[:_FEW].to(place.device, dtype)
        return TorchPredictor(module_for(model, form, example), 1, dtype=dtype)

    rules = form.encoding.actionability() if isinstance(form, TableForm) else None
    return Brought(
        samples,
        rows,
        form,
        partial(predictor_of_rows, model),
        modules,
        actionability=rules,
        predictor_of=lambda other: predictor_of_rows(place.placed(other)),
    )


def _of_table(model: Any, x: Any, background: Any) -> Brought:
    table = _all_rows(table_of(x, "x"), table_of(background, "background"))
    form = TableForm(encoding_of(model, table))
    samples, rows = _encoded(form, x, background)

    def predictor_of_rows(model: Any) -> Predictor:
        return predictor_of(model, torch.cat([samples, rows])[:64], encoding=form.encoding)

    return Brought(
        samples,
        rows,
        form,
        partial(predictor_of_rows, model),
        actionability=form.encoding.actionability(),
        predictor_of=predictor_of_rows,
    )


def _of_several(
    model: Any, x: Mapping[str, Any], background: Any, place: devices.Placing
) -> Brought:
    if not x:
        raise ValueError("x is an empty mapping; expected inputs by name")
    tensors = {str(name): numbers(rows, f"x[{name!r}]") for name, rows in x.items()}
    is_tensor = all(isinstance(rows, Tensor) for rows in x.values())
    forms = {name: tensor_form(model, rows, is_tensor) for name, rows in tensors.items()}
    if not any(isinstance(f, TensorForm) and f.dtype == torch.float64 for f in forms.values()):
        dtype = torch.float32
    else:
        dtype = torch.float64
    shapes = {name: tuple(rows.shape[1:]) for name, rows in tensors.items()}
    form = SeveralForm(forms, shapes, dtype)
    if not onnx.is_onnx(model):
        return _of_callable(model, x, background, form, place)
    samples, rows = _encoded(form, x, background)
    return Brought(samples, rows, form, lambda: OnnxOfSeveral.of(model, samples, form))


def _of_tokens(model: Any, x: Any, background: Any, embedding: str) -> Brought:
    layer = embedding_of(model, embedding)
    samples = ids_of(x, "x", layer.num_embeddings)
    rows = ids_of(background, "background", layer.num_embeddings)
    if rows.shape[1] != samples.shape[1]:
        raise ValueError(
            f"background rows have {rows.shape[1]} tokens; expected as many as samples of x, "
            f"{samples.shape[1]}: pad them to one length"
        )
    form = TensorForm(torch.float32, torch.int64)

    def predictor_of_rows(model: Any) -> Predictor:
        return TokenPredictor(NamedEmbedding(model, embedding), 1)

    return Brought(
        samples,
        rows,
        form,
        partial(predictor_of_rows, model),
        (model,),
        symbols_of(layer, torch.cat([samples, rows])),
        predictor_of=predictor_of_rows,
    )


@dataclass(frozen=True, eq=False)
class OnnxOfSeveral:
    """An ONNX model that takes several inputs by name."""

    inner: onnx.OnnxPredictor
    form: SeveralForm
    differentiable: bool = False
    module: None = None

    @classmethod
    def of(cls, model: Any, x: Tensor, form: SeveralForm) -> OnnxOfSeveral:
        """Tried on the rows `x [N, E]`."""
        parts = form.decode(x)
        first, *others = parts
        context = {name: torch.as_tensor(parts[name]) for name in others}
        inner = onnx.predictor_of(model, torch.as_tensor(parts[first]), context=context)
        return cls(replace(inner, x_name=first), form)

    @property
    def n_outputs(self) -> int:
        return self.inner.n_outputs

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.inner.class_names

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        parts = {name: torch.as_tensor(part) for name, part in self.form.decode(x).items()}
        first = self.inner.x_name
        others = {name: part for name, part in parts.items() if name != first}
        return self.inner(parts[first], {**others, **context}).to(x.dtype)


def _encoded(form: Form, x: Any, background: Any) -> tuple[Tensor, Tensor]:
    """Samples and background in x. Raises ValueError where they are of different shapes."""
    samples = form.encode(x, "x")
    rows = samples if background is x else form.encode(background, "background")
    if rows.shape[1:] != samples.shape[1:]:
        raise ValueError(
            f"background rows have shape {tuple(rows.shape[1:])}; "
            f"expected that of one sample, {tuple(samples.shape[1:])}"
        )
    # Copies, here and below: the caller may write into its own.
    rows = rows.detach().to(samples, copy=True)
    if len(rows) == 1:
        log.warning("the background is one row: how far elements spread is taken to be 1")
    for problem in (first_nan("x", samples), first_nan("the background", rows)):
        if problem:
            log.warning("%s: what is computed from it is NaN, or refused", problem)
    return samples.detach().clone(), rows


def _all_rows(x: Any, background: Any) -> Any:
    """The rows of both, from which categories are learned. Raises ValueError."""
    if not is_frame(x):
        rows = background if isinstance(background, np.ndarray) else np.asarray(background)
        if rows.shape[1:] != x.shape[1:]:
            raise ValueError(
                f"background rows have shape {tuple(rows.shape[1:])}; "
                f"expected that of one sample, {tuple(x.shape[1:])}"
            )
        return x if background is x else np.concatenate([x, rows])
    if not is_frame(background):
        raise ValueError(
            f"x is a data frame and background a {type(background).__name__}; give a data frame "
            "with the same columns"
        )
    import pandas as pd

    from xai_bench.data.tables.encoding import require_same_columns

    names = [str(name) for name in x.columns]
    require_same_columns([str(name) for name in background.columns], names, "x has")
    return x if background is x else pd.concat([x, background], ignore_index=True)
