"""A model that belongs to the caller: used in evaluation mode, and given back as it was."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from xai_bench.core.module_state import borrowed, fingerprint
from xai_bench.models.base import TorchPredictor
from xai_bench.models.libraries.recognise import Function
from xai_bench.models.row_check import differentiable, require_independent_rows
from xai_bench.types import Inputs

N_PROBED = 16
"""Samples whose outputs show whether a model still answers as it did."""


@dataclass(frozen=True, eq=False)
class CallerModel:
    """A module or a function of the caller as a predictor.

    Attributes:
        modules: the module, or those that the function calls, as far as they can be seen.
        state: the fingerprint of their weights when the predictor was made.
        answered: the first samples and the outputs for them then.
    """

    predictor: TorchPredictor
    modules: tuple[nn.Module, ...]
    state: str
    answered: tuple[Inputs, Tensor]

    @classmethod
    def of(cls, model: nn.Module | Callable[[Tensor], Tensor], inputs: Inputs) -> CallerModel:
        """Try the model on a few of the samples.

        Raises ValueError where it cannot be called, or cannot be explained sample by sample.
        """
        if not callable(model):
            raise ValueError(f"the model is a {type(model).__name__}; expected a torch module")
        modules = (model,) if isinstance(model, nn.Module) else modules_of(model)
        module = model if isinstance(model, nn.Module) else Function(model)
        state = fingerprint(modules)
        with borrowed(modules):
            predictor = TorchPredictor(module, 1)
            require_independent_rows(predictor, inputs)
            gradients = differentiable(predictor, inputs)
            first = inputs.take(torch.arange(min(N_PROBED, len(inputs))))
            outputs = _outputs(predictor, first)
            predictor = TorchPredictor(module, outputs.shape[1], gradients)
        return cls(predictor, modules, state, (first, outputs))

    @contextmanager
    def used(self) -> Iterator[None]:
        """Inside, the modules are in evaluation mode with frozen weights.

        Raises ValueError where their weights, or their answers, are no longer those that the
        targets were chosen by.
        """
        with torch.enable_grad(), borrowed(self.modules):
            if fingerprint(self.modules) != self.state or self._answers_differ():
                raise ValueError(
                    "the model has changed since this workbench was made, and what was measured "
                    "before no longer holds: make a new one with workbench(model, x, ...)"
                )
            yield

    def _answers_differ(self) -> bool:
        """Whether a function, or what is no weight of a module, has changed."""
        inputs, before = self.answered
        now = _outputs(self.predictor, inputs)
        tolerance = torch.finfo(now.dtype).eps ** 0.5
        return not torch.allclose(now, before, rtol=tolerance, atol=tolerance, equal_nan=True)


def modules_of(function: Callable[[Tensor], Tensor]) -> tuple[nn.Module, ...]:
    """The modules that a function calls: its own `self`, and those it names from outside."""
    if isinstance(function, partial):
        parts = (*function.args, *function.keywords.values())
        own = [each for each in parts if isinstance(each, nn.Module)]
        return (*own, *modules_of(function.func))
    found: list[object] = [getattr(function, "__self__", None)]
    try:
        seen = inspect.getclosurevars(function)
        found += [*seen.nonlocals.values(), *seen.globals.values()]
    except TypeError:  # an object with `__call__`, or a function of C
        found += list(getattr(function, "__dict__", {}).values())
    return tuple({id(each): each for each in found if isinstance(each, nn.Module)}.values())


@torch.no_grad()
def _outputs(predictor: TorchPredictor, inputs: Inputs) -> Tensor:
    return predictor(inputs.x.clone(), inputs.context).detach()
