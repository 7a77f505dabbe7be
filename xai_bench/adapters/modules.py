"""Functions and modules of the caller, given rows in the form in which the caller has them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from xai_bench.adapters.forms import Form, SeveralForm
from xai_bench.core.spelling import listed
from xai_bench.models.base import rows_of
from xai_bench.models.checks.row_check import CALLERS_ERRORS


class NamedForm(Protocol):
    """A form of several inputs by name."""

    @property
    def shapes(self) -> Mapping[str, Any]: ...

    def decode(self, x: Tensor) -> Any: ...


class Adapted(nn.Module):
    """A module or a function that is given the rows of x in another form; x itself without one."""

    def __init__(self, model: Callable[..., Any], form: Form | None) -> None:
        super().__init__()
        self.model = model
        self.form = form

    def forward(self, x: Tensor, **context: Tensor) -> Tensor:
        rows = x if self.form is None else self.form.decode(x)
        return as_outputs(self.model(rows, **context), x)


class ByName(nn.Module):
    """A module or a function that takes several inputs by name."""

    def __init__(self, model: Callable[..., Any], form: NamedForm) -> None:
        super().__init__()
        self.model = model
        self.form = form
        self.positional = takes_one_mapping(model, form.shapes)

    def forward(self, x: Tensor, **context: Tensor) -> Tensor:
        parts = self.form.decode(x)
        answer = self.model(parts) if self.positional else self.model(**parts, **context)
        return as_outputs(answer, x)


def as_outputs(answer: Any, x: Tensor) -> Tensor:
    """`[N]` or `[N, C]` real numbers of whatever a function returns, in the type of x.

    Raises ValueError for labels, which are whole numbers or texts.
    """
    if not isinstance(answer, np.ndarray) and not hasattr(answer, "to_numpy"):
        return rows_of(answer)
    values = np.asarray(answer)
    if values.dtype.kind != "f":
        example = values.flat[0] if values.size else ""
        raise ValueError(
            f"the model returns labels only ({values.dtype}, such as {example}), which move by "
            "jumps or not at all; give one that returns scores or probabilities (predict_proba)"
        )
    return rows_of(torch.from_numpy(np.array(values, dtype=np.float64)).to(x.dtype))


def module_for(model: Callable[..., Any], form: Form, example: Tensor) -> nn.Module:
    """A module `x [N, *S] -> [N, C]`, tried on rows `example [n, *S]`.

    A module is given x, or, where it refuses that, what the caller has, such as whole numbers. A
    function is given what the caller has, or, where it refuses that, x.
    """
    if isinstance(form, SeveralForm):
        return ByName(model, form)
    adapted = Adapted(model, form)
    if isinstance(model, nn.Module):
        return adapted if not _works(model, example) and _works(adapted, example) else model
    plain = Adapted(model, None)
    return plain if not _works(adapted, example) and _works(plain, example) else adapted


def named_inputs(model: Any, x: tuple[Any, ...]) -> dict[str, Any]:
    """Several inputs one after the other, by the names of the model's parameters.

    Raises ValueError where it has fewer.
    """
    call = model.forward if isinstance(model, nn.Module) else model
    try:
        names = list(inspect.signature(call).parameters)
    except (TypeError, ValueError):  # no function, or one written in C
        names = []
    if len(names) < len(x):
        raise ValueError(
            f"x is a tuple of {len(x)}, and the model takes {listed(names) or 'one input'}: give a "
            "mapping from name to input, or one array for all rows"
        )
    return dict(zip(names, x, strict=False))


def takes_one_mapping(model: Callable[..., Any], names: Mapping[str, Any]) -> bool:
    """Whether several inputs go to the one parameter of a model; else they go by name.

    Raises ValueError where its parameters have other names.
    """
    call = model.forward if isinstance(model, nn.Module) else model
    try:
        parameters = inspect.signature(call).parameters
    except (TypeError, ValueError):  # written in C
        return False
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) or set(names) <= set(parameters):
        return False
    needed = [n for n, p in parameters.items() if p.default is p.empty]
    if len(needed) == 1 and needed[0] not in names:
        return True
    raise ValueError(
        f"x has the inputs {listed(names)}, and the model takes {listed(parameters)}: give them "
        "the names of its parameters"
    )


@torch.no_grad()
def _works(module: nn.Module, example: Tensor) -> bool:
    """Whether a model takes such rows; in evaluation mode, which `borrowed` has set."""
    try:
        module(example.clone())
    except (*CALLERS_ERRORS, ValueError):
        return False
    return True
