"""A model that belongs to the caller: used in evaluation mode, and given back as it was."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from xai_bench.core.calls.module_state import ModuleState, attributes_of, borrowed, settings_of
from xai_bench.core.system.determinism import generators_as_before
from xai_bench.models.base import Predictor, TorchPredictor, rows_of
from xai_bench.models.checks.row_check import differentiable, require_independent_rows
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.types import Inputs

N_PROBED = 16
"""Samples whose outputs show whether a model still answers as it did."""
_QUICK = 0.005
"""Seconds that asking them may take. A slower module is asked one sample, and only where one of its
plain attributes is another; a slower function is asked one each time."""
_MOST_SEEN = 2000
"""Objects that are looked at for modules."""
_LIBRARIES = frozenset({"torch", "numpy", "scipy", "pandas", "sklearn"})
"""Functions of these call no module that they are not given."""


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
        # Before anything is asked: a call may change buffers, and the caller gets all back.
        states = tuple(ModuleState.of(module) for module in modules)
        with generators_as_before(), borrowed(modules, states):
            predictor = make()
            require_independent_rows(predictor, inputs)
            answered, seconds = _answers(predictor, inputs, N_PROBED)
            predictor = _stated(predictor, inputs, answered[1].shape[1])
            if seconds > _QUICK:
                answered = _answers(predictor, inputs, 1)[0]
        is_module = any(predictor.module is module for module in modules)
        # What a function closes over can change unseen; of a module, attributes can be compared.
        always_asked = seconds <= _QUICK or not is_module
        return cls(predictor, modules, states, _settings(modules), answered, always_asked)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Inside, the modules are in evaluation mode with frozen weights.

        Raises ValueError where their weights, or their answers, are no longer those that the
        targets were chosen by.
        """
        with (
            # The caller may be inside of `torch.no_grad()`, where no gradient would come.
            torch.enable_grad(),
            generators_as_before(),
            borrowed(self.modules, self.states) as now,
        ):
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


def modules_of(model: Callable[..., object]) -> tuple[nn.Module, ...]:
    """A module, or those that a function calls, as far as they can be seen.

    Looked at is what a function names from outside, its own attributes and defaults, what lists,
    mappings and objects among these hold, and what functions among these call in turn. A module,
    too, may keep others where it does not count them as layers, such as in a list.
    """
    queue, seen, modules = deque[object]([model]), dict[int, object](), list[nn.Module]()
    for _ in range(_MOST_SEEN):
        if not queue:
            break
        value = queue.popleft()
        if id(value) in seen:
            continue
        # The object too, not its id alone: the id of one that is freed is given to another.
        seen[id(value)] = value
        if isinstance(value, nn.Module):
            modules.append(value)
            layers = list(value.modules())
            seen |= {id(layer): layer for layer in layers}
            queue.extend(held for layer in layers for _, held in attributes_of(layer))
        else:
            queue.extend(_inside(value))
    return tuple(modules)


def _inside(value: Any) -> Iterable[object]:
    """What may hold a module among what a value holds or names."""
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, MethodType):
        return (value.__self__, value.__func__)
    if isinstance(value, FunctionType):
        return _named_by(value)
    # A package leads to all that it imports: of one, only what the function names is looked at.
    if isinstance(value, type | ModuleType | Tensor) or not hasattr(value, "__dict__"):
        return ()
    return (*vars(value).values(), vars(type(value)).get("__call__"))


def _named_by(function: FunctionType) -> Iterator[object]:
    """What a function of the caller names: from outside, in other modules, as defaults."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # it is not bound yet
            yield cell.cell_contents
    yield from (function.__defaults__, function.__kwdefaults__, vars(function))
    outside = function.__globals__
    if str(outside.get("__name__")).partition(".")[0] in _LIBRARIES:
        return
    # Of `package.network(x)`, the code names both, `package` and `network`.
    names = set(_names(function.__code__))
    for value in [outside[name] for name in names & outside.keys()]:
        inner = vars(value) if isinstance(value, ModuleType) else {}
        yield from (value, *(inner[name] for name in names & inner.keys()))


def _names(code: CodeType) -> Iterator[str]:
    """The names in some code and in the functions that are made in it."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _stated(predictor: Predictor, inputs: Inputs, n_outputs: int) -> Predictor:
    """The same, which says how many outputs it has, and whether gradients reach x."""
    if isinstance(predictor, TokenPredictor):
        return replace(predictor, n_outputs=n_outputs)
    if isinstance(predictor, ElsewherePredictor):
        gradients = differentiable(predictor, inputs)
        return replace(predictor, n_outputs=n_outputs, differentiable=gradients)
    if isinstance(predictor, TorchPredictor):
        gradients = differentiable(predictor, inputs)
        return replace(predictor, n_outputs=n_outputs, differentiable=gradients)
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
