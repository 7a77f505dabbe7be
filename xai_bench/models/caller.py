"""A model that belongs to the caller: used in evaluation mode, and given back as it was."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from xai_bench.core.module_state import ModuleState, borrowed, settings_of
from xai_bench.models.base import Predictor, TorchPredictor, rows_of
from xai_bench.models.row_check import differentiable, require_independent_rows
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.types import Inputs

N_PROBED = 16
"""Samples whose outputs show whether a model still answers as it did."""
_QUICK = 0.005
"""Seconds that asking them may take. A slower module is asked one sample, and only where one of its
plain attributes is another; a slower function is asked one each time."""


@dataclass(frozen=True, eq=False)
class ElsewherePredictor:
    """A module that answers on a device of its own; nobody looks into its layers there."""

    call: nn.Module
    n_outputs: int = 1
    differentiable: bool = True
    module: None = None

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        return rows_of(self.call(x, **context)).to(x.device)


@dataclass(frozen=True, eq=False)
class CallerModel:
    """A model of the caller as a predictor.

    Attributes:
        modules: the module, or those that the function calls, as far as they can be seen.
        states: what they were when the predictor was made.
        settings: their plain attributes then.
        answered: the first samples and the outputs for them then.
        always_asked: whether these are asked again before each use.
    """

    predictor: Predictor
    modules: tuple[nn.Module, ...]
    states: tuple[ModuleState, ...]
    settings: Sequence[Any]
    answered: tuple[Inputs, Tensor]
    always_asked: bool

    @classmethod
    def of(
        cls, make: Callable[[], Predictor], modules: tuple[nn.Module, ...], inputs: Inputs
    ) -> CallerModel:
        """Try the predictor that `make` gives, of these modules, on a few of the samples.

        Raises ValueError where it cannot be called, or cannot be explained sample by sample.
        """
        _require_initialised(modules)
        states = tuple(ModuleState.of(module) for module in modules)
        with borrowed(modules, states):
            predictor = make()
            require_independent_rows(predictor, inputs)
            answered, seconds = _answers(predictor, inputs, N_PROBED)
            predictor = _stated(predictor, inputs, answered[1].shape[1])
            if seconds > _QUICK:
                answered = _answers(predictor, inputs, 1)[0]
        is_module = any(predictor.module is module for module in modules)
        always_asked = seconds <= _QUICK or not is_module
        return cls(predictor, modules, states, _settings(modules), answered, always_asked)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Inside, the modules are in evaluation mode with frozen weights.

        Raises ValueError where their weights, or their answers, are no longer those that the
        targets were chosen by.
        """
        with torch.enable_grad(), borrowed(self.modules, self.states) as now:
            if not self._is_same(now):
                raise ValueError(
                    "the model has changed since this workbench was made, and what was measured "
                    "before no longer holds: make a new one with workbench(model, x, ...)"
                )
            yield

    def state_of(self, module: nn.Module | None) -> ModuleState | None:
        """What a module was when the predictor was made; None where it is not among them."""
        return next((state for state in self.states if state.module is module), None)

    def _is_same(self, now: Sequence[ModuleState]) -> bool:
        if not all(a.same_weights(b) for a, b in zip(self.states, now, strict=True)):
            return False
        if not self.always_asked and _settings(self.modules) == self.settings:
            return True
        return not self._answers_differ()

    def _answers_differ(self) -> bool:
        """Whether a function, or what is no weight of a module, has changed."""
        inputs, before = self.answered
        now = _outputs(self.predictor, inputs)
        tolerance = torch.finfo(now.dtype).eps ** 0.5
        return not torch.allclose(now, before, rtol=tolerance, atol=tolerance, equal_nan=True)


def _require_initialised(modules: tuple[nn.Module, ...]) -> None:
    """Raise ValueError for layers whose weights have no shape yet, which asking would give them."""
    for module in modules:
        for name, layer in module.named_modules():
            own = (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
            if any(is_lazy(weight) for weight in own):
                raise ValueError(
                    f"layer {name!r}, {type(layer).__name__}, has no weights yet: call the model "
                    "once, such as model(x[:2]), or load its weights, before it is explained"
                )


def modules_of(function: Callable[..., object]) -> tuple[nn.Module, ...]:
    """The modules that a function calls: its own `self`, and those it names from outside."""
    if isinstance(function, partial):
        parts = (*function.args, *function.keywords.values())
        own = [each for each in parts if isinstance(each, nn.Module)]
        return (*own, *modules_of(function.func))
    candidates: list[object] = [getattr(function, "__self__", None)]
    try:
        seen = inspect.getclosurevars(function)
        candidates += [*seen.nonlocals.values(), *seen.globals.values()]
    except TypeError:  # an object with `__call__`, or a function of C
        candidates += list(getattr(function, "__dict__", {}).values())
    return tuple({id(each): each for each in candidates if isinstance(each, nn.Module)}.values())


def _stated(predictor: Predictor, inputs: Inputs, n_outputs: int) -> Predictor:
    """The same, which says how many outputs it has, and whether gradients reach x."""
    if isinstance(predictor, TokenPredictor):
        return replace(predictor, n_outputs=n_outputs)
    if isinstance(predictor, ElsewherePredictor):
        gradients = differentiable(predictor, inputs)
        return replace(predictor, n_outputs=n_outputs, differentiable=gradients)
    if isinstance(predictor, TorchPredictor):
        return TorchPredictor(predictor.module, n_outputs, differentiable(predictor, inputs))
    return predictor


def _settings(modules: Sequence[nn.Module]) -> list[Any]:
    return [settings_of(module) for module in modules]


def _answers(
    predictor: Predictor, inputs: Inputs, most: int
) -> tuple[tuple[Inputs, Tensor], float]:
    """The first samples with their outputs, and the seconds that asking took."""
    first = inputs.take(torch.arange(min(most, len(inputs))))
    started = time.perf_counter()
    return (first, _outputs(predictor, first)), time.perf_counter() - started


@torch.no_grad()
def _outputs(predictor: Predictor, inputs: Inputs) -> Tensor:
    return predictor(inputs.x.clone(), inputs.context).detach()
