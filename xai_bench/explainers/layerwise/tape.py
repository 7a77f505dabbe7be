"""The calls of a network's layers, written down while it answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.core.calls.layer_outputs import SEQUENCES, network_output, output_of, with_output
from xai_bench.explainers.function_calls import function_calls, require_open

_RESHAPING = (nn.Flatten, nn.Unflatten, nn.Identity, nn.modules.dropout._DropoutNd)
CONVOLUTION = nn.modules.conv._ConvNd


_CALL = re.compile(r"(.*) \(call (\d+)\)")


def split_call(name: str) -> tuple[str, int]:
    """The name of a layer, and which of its calls is meant, counted from 1."""
    match = _CALL.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, 1)


def is_function(name: str) -> bool:
    """Whether the name is that of a function that stands for a layer, such as `relu()`."""
    return split_call(name)[0].endswith("()")


@dataclass(frozen=True, eq=False)
class _Call:
    """One call: the name of the layer, itself, its output, and the places of what it was given.

    `version` counts what had been written into the output when it was recorded.
    """

    name: str
    layer: nn.Module
    output: Tensor
    axes: tuple[int, ...]
    version: int = 0

    @property
    def is_intact(self) -> bool:
        """Whether nothing has been written into the output since."""
        return self.output._version == self.version


@dataclass(eq=False)
class Tape:
    """What the hooks of `recorded` write down during one pass.

    Attributes:
        copies: whether the next layer gets a copy of an output, which it may overwrite.
        calls: in their order.
        passed_on: the output of the last layer, as the next one gets it; the first one of several.
        owners: the layers whose output that is: a layer, and those that hold it or only pass it on.
        last: the owners of the network's output.
        n_rows: rows of the network's output, those that fill up a batch among them.
        given: what the network was given.
        of_pass, by_name: the calls that were named last, and what came of it.
    """

    copies: bool = True
    calls: list[_Call] = field(default_factory=list)
    passed_on: Tensor | None = None
    owners: frozenset[int] = frozenset()
    last: frozenset[int] = frozenset()
    n_rows: int = 0
    given: Tensor | None = None
    of_pass: list[_Call] = field(default_factory=list)
    by_name: dict[str, _Call] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget the calls before another pass."""
        self.calls.clear()
        self.passed_on = None

    def n_calls(self, name: str) -> int:
        """How often the layer of this name was called."""
        return sum(call.name == name for call in self.calls)

    def named(self) -> dict[str, _Call]:
        """The calls whose output has a row per sample, by a name of their own."""
        if len(self.of_pass) != len(self.calls) or self.of_pass != self.calls:
            self.of_pass, self.by_name = list(self.calls), self._named()
        return self.by_name

    def _named(self) -> dict[str, _Call]:
        numbers, by_name = Counter[str](), {}
        n_calls = Counter(call.name for call in self.calls)
        for call in self.calls:
            numbers[call.name] += 1
            several = n_calls[call.name] > 1
            name = f"{call.name} (call {numbers[call.name]})" if several else call.name
            if call.output.dim() > 1 and len(call.output) == self.n_rows:
                by_name[name] = call
        return by_name

    def layers(self) -> dict[str, Tensor]:
        """The outputs with a row per sample; rows of filling last."""
        return {name: call.output for name, call in self.named().items()}

    def last_names(self) -> frozenset[str]:
        """The names of the owners of the network's output."""
        places = {id(call): place for place, call in enumerate(self.calls)}
        named = self.named().items()
        return frozenset(name for name, call in named if places[id(call)] in self.last)

    def recorder(self, name: str) -> Callable[..., Any]:
        """A forward hook that writes down the output of the layer of this name."""

        def record(layer: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            return self.record(name, layer, args, output)

        return record

    def record(self, name: str, layer: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Write down a call; the output to hand on."""
        # Of a recurrent or attention layer the sequence; None for what is no tensor of numbers.
        value = output_of(layer, output)
        if value is None:
            return None
        # Of every convolution: under a view the first of the network is not the first behind x.
        axes = _axes(args[0], self.given) if isinstance(layer, CONVOLUTION) else ()
        self.calls.append(_Call(name, layer, value, axes, value._version))
        # A layer that holds others, or only passes on, gives the very tensor of the one before it.
        self.owners = self.owners if _first(output) is self.passed_on else frozenset()
        self.owners |= {len(self.calls) - 1}
        if not self.copies:
            self.passed_on = _first(output)
            return None
        # A copy, for the next layer may overwrite what it is given.
        handed_on = with_output(layer, output, value.clone())
        self.passed_on = _first(handed_on)
        return handed_on

    def open(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """A forward pre-hook of the whole network."""
        self.given = args[0].detach() if args and isinstance(args[0], Tensor) else None

    def close(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A forward hook of the whole network, which runs last."""
        given = network_output(output)
        self.n_rows = len(given)
        self.last = self.owners if given is self.passed_on else frozenset()
        self.passed_on = None


def _axes(given: Tensor, x: Tensor | None) -> tuple[int, ...]:
    """The places of what a convolution is given; those of x where that is x with a margin."""
    places = tuple(given.shape[2:])
    if x is None or given.shape[:2] != x.shape[:2] or given.dim() != x.dim():
        return places
    spare = [many - few for many, few in zip(places, x.shape[2:], strict=True)]
    if not any(spare) or min(spare) < 0:
        return places
    # As much on both sides, the odd one on either, or all of it on one.
    for starts in product(*({n // 2, n - n // 2, 0, n} for n in spare)):
        inner = given.detach()
        for axis, (start, size) in enumerate(zip(starts, x.shape[2:], strict=True)):
            inner = inner.narrow(axis + 2, start, size)
        if torch.equal(inner, x):
            return tuple(x.shape[2:])
    return places


@contextmanager
def recorded(module: nn.Module, layer: str | None, *, copies: bool = True) -> Iterator[Tape]:
    """Calls inside the block are written on the tape; after it, the hooks are gone.

    Recorded are layers that hold no others and do more than reshape, functions that could have been
    such layers, and the layer named `layer`. Raises `Unsupported` for a scripted network.
    """
    require_open(module)
    tape = Tape(copies)
    leaves = leaf_layers(module)
    named = (
        {} if layer is None else {name: p for name, p in module.named_modules() if name == layer}
    )
    handles = [module.register_forward_pre_hook(tape.open)]
    # Layers that hold others are left out: their output is that of the last one inside.
    for name, part in {**leaves, **named}.items():
        handles.append(part.register_forward_hook(tape.recorder(name)))
    handles.append(module.register_forward_hook(tape.close))
    as_one = set(leaves.values())

    def record(function: str, *call: Any) -> Any:
        return tape.record(f"{function}()", *call)

    try:
        with function_calls(module, record, as_one.__contains__, notes=False):
            yield tape
    finally:
        for handle in handles:
            handle.remove()


def leaf_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Name -> the layers that hold no others and do more than reshape."""
    return {name: part for name, part in module.named_modules() if name and _is_leaf(name, part)}


def _is_leaf(name: str, part: nn.Module) -> bool:
    """Whether it holds no other layer that is called as one, and does more than reshape.

    What gives a layer its weights, such as a weight norm, is not called as one.
    """
    if "parametrizations" in name.split("."):
        return False
    parts = [child for child, _ in part.named_children() if child != "parametrizations"]
    holds = bool(parts) and not isinstance(part, (*SEQUENCES, CONVOLUTION))
    return not (holds or isinstance(part, _RESHAPING))


def _first(output: Any) -> Any:
    """The first of several outputs, or the only one."""
    return output[0] if isinstance(output, tuple) and output else output
