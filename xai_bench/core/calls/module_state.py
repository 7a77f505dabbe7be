"""Everything a caller can see of a torch module, so that it can be given back as it was."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_PARTS = {
    "_parameters": "parameters",
    "_buffers": "buffers",
    "_modules": "layers",
    "_forward_hooks": "hooks",
    "_forward_hooks_with_kwargs": "hooks",
    "_forward_hooks_always_called": "hooks",
    "_forward_pre_hooks": "hooks",
    "_forward_pre_hooks_with_kwargs": "hooks",
    "_backward_hooks": "hooks",
    "_backward_pre_hooks": "hooks",
}
"""Dictionaries that every module has, and what their entries are called in a message."""


@dataclass(frozen=True, eq=False)
class ModuleState:
    """A copy of what a module holds: values, gradients, modes and hooks of all its layers.

    Attributes:
        layers: each layer with its name, its mode and its dictionaries, one level deep.
        tensors: each parameter and buffer once.
        others: each tensor that is an attribute of a layer and neither of both. They are put back
            as all attributes are, and never count as changes: a forward may keep what it saw.
    """

    module: nn.Module
    layers: Sequence[_Layer]
    tensors: Sequence[_Tensor]
    others: Sequence[_Tensor] = ()

    @classmethod
    def of(cls, module: nn.Module, earlier: ModuleState | None = None) -> ModuleState:
        """The state now; copies of an `earlier` one serve again where nothing was written since."""
        named = dict(module.named_modules())
        layers = [_Layer.of(name, layer) for name, layer in named.items()]
        copied = () if earlier is None else (*earlier.tensors, *earlier.others)
        copies = {id(each.tensor): each for each in copied}
        tensors = [_Tensor.of(n, t, copies.get(id(t))) for n, t in named_tensors(module)]
        others = [_Tensor.of(n, t, copies.get(id(t))) for n, t in _other_tensors(layers, tensors)]
        return cls(module, layers, tensors, others)

    def changes(self, *, buffers: bool = True) -> list[str]:
        """What differs from then, each as a few words; empty where nothing does.

        Without `buffers` these do not count: a module may write into its own as it is called.
        """
        parts = [key for key in _PARTS if buffers or key != "_buffers"]
        changed = [words for layer in self.layers for words in layer.changes(parts)]
        tensors = [t for t in self.tensors if buffers or isinstance(t.tensor, nn.Parameter)]
        changed += [words for tensor in tensors for words in tensor.changes()]
        return list(dict.fromkeys(changed))

    def same_weights(self, other: ModuleState) -> bool:
        """Whether both have the same parameters and buffers, and the same values in them."""
        names = [[each.name for each in state.tensors] for state in (self, other)]
        return names[0] == names[1] and all(
            left.seen is right.seen or same(left.values, right.values)
            for left, right in zip(self.tensors, other.tensors, strict=True)
        )

    def restore(self) -> None:
        """Make the module again what it was, in the same tensors and dictionaries."""
        for layer in self.layers:
            layer.restore_parts()
        for tensor in (*self.tensors, *self.others):
            tensor.restore()
        if self.layers and is_training(self.module) != self.layers[0].training:
            # A module may do more in `train` than to set the mode, such as to unmerge weights.
            set_mode(self.module, training=self.layers[0].training)
        for layer in self.layers:
            if is_training(layer.layer) != layer.training:
                layer.layer.training = layer.training


@dataclass(frozen=True, eq=False)
class _Layer:
    name: str
    layer: nn.Module
    training: bool
    parts: dict[str, dict[str, Any]]
    attributes: Sequence[tuple[str, Any, Any]]

    @classmethod
    def of(cls, name: str, layer: nn.Module) -> _Layer:
        own = [
            (key, value, copy(value) if type(value) in _CONTAINERS else None)
            for key, value in attributes_of(layer)
        ]
        return cls(name, layer, is_training(layer), _parts(layer), own)

    def changes(self, parts: Iterable[str]) -> Iterator[str]:
        if is_training(self.layer) != self.training:
            yield f"the mode of {_layer(self.name)}"
        now = vars(self.layer)
        for key in parts:
            if not _same_items(now.get(key), self.parts.get(key)):
                yield f"the {_PARTS[key]} of {_layer(self.name)}"

    def restore_parts(self) -> None:
        now = vars(self.layer)
        for key in _PARTS:
            part = self.parts.get(key)
            if not _same_items(now.get(key), part):
                # In the same dictionary: handles of hooks, and views of weights, hold on to it.
                now[key].clear()
                now[key].update(part or {})
        self._restore_attributes(now)

    def _restore_attributes(self, now: dict[str, Any]) -> None:
        """The same objects as before, with the same items in lists, mappings and sets."""
        kept = {key for key, _, _ in self.attributes}
        for key in [key for key, _ in attributes_of(self.layer) if key not in kept]:
            del now[key]
        for key, value, items in self.attributes:
            if now.get(key, now) is not value:
                now[key] = value
            if items is not None and not _same_container(value, items):
                value.clear()
                (value.extend if isinstance(value, list) else value.update)(items)


@dataclass(frozen=True, eq=False)
class _Tensor:
    name: str
    tensor: Tensor
    values: Tensor
    seen: Sighting
    requires_grad: bool
    grad: Tensor | None
    grad_values: Tensor | None

    @classmethod
    def of(cls, name: str, tensor: Tensor, earlier: _Tensor | None) -> _Tensor:
        grad = tensor.grad if tensor.is_leaf else None
        copied = None if grad is None else grad.detach().clone()
        # Weights may take gigabytes, and hardly ever change between two calls.
        if earlier is not None and earlier.seen.holds():
            values, seen = earlier.values, earlier.seen
        else:
            values, seen = tensor.detach().clone(), Sighting.of(tensor)
        return cls(name, tensor, values, seen, tensor.requires_grad, grad, copied)

    def is_same(self) -> bool:
        return self.seen.holds() or same(self.tensor, self.values)

    def changes(self) -> Iterator[str]:
        if not self.is_same():
            yield f"the values of {self.name!r}"
        if self.tensor.requires_grad != self.requires_grad:
            yield f"requires_grad of {self.name!r}"
        if self.tensor.is_leaf and not _same_grad(self):
            yield f"the gradient of {self.name!r}"

    @torch.no_grad()
    def restore(self) -> None:
        if not self.is_same():
            _write(self.tensor, self.values)
        if not self.tensor.is_leaf:
            return
        if self.tensor.requires_grad != self.requires_grad:
            self.tensor.requires_grad_(self.requires_grad)
        if not _same_grad(self):
            self.tensor.grad = self.grad
            if self.grad is not None and self.grad_values is not None:
                self.grad.copy_(self.grad_values)


_WHOLE, _SAMPLED = 1 << 12, 1 << 7
"""Up to so many numbers a tensor is compared as a whole; how many of a larger one."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """A tensor as it was seen, to be recognised without comparing all of its numbers.

    Autograd counts what is written into a tensor, but for what goes through `.data`: for its sake
    numbers are compared, all of a small tensor and evenly many of a large one.

    Attributes:
        window: some of its numbers, where they are; None where they cannot be looked at.
    """

    tensor: Tensor
    place: int
    version: int
    window: npt.NDArray[Any] | None
    numbers: bytes

    @classmethod
    def of(cls, tensor: Tensor) -> Sighting:
        """The tensor now."""
        window = _window(tensor)
        numbers = b"" if window is None else window.tobytes()
        return cls(tensor, tensor.data_ptr(), _version(tensor), window, numbers)

    def holds(self) -> bool:
        """Whether nothing has been written into it; False where nobody can tell."""
        if self.window is None or _version(self.tensor) != self.version:
            return False
        return self.tensor.data_ptr() == self.place and self.window.tobytes() == self.numbers


def _window(tensor: Tensor) -> npt.NDArray[Any] | None:
    """Some of the numbers, where they are in memory."""
    if tensor.layout is not torch.strided or tensor.device.type != "cpu" or _version(tensor) < 0:
        return None
    inwards = sorted(range(tensor.dim()), key=lambda axis: -tensor.stride()[axis])
    laid_out = tensor.detach().permute(inwards)
    if not laid_out.is_contiguous() or tensor.is_conj() or tensor.is_neg():
        return None
    flat = laid_out.view(-1)
    step = 1 if tensor.numel() <= _WHOLE else tensor.numel() // _SAMPLED
    if flat.dtype is torch.bfloat16:  # which NumPy does not have
        flat = flat.view(torch.int16)
    window: npt.NDArray[Any] = flat.numpy()[::step]
    return window


def _version(tensor: Tensor) -> int:
    """How often it was written into; -1 where nobody counts."""
    return -1 if tensor.is_inference() else tensor._version


@contextmanager
def borrowed(
    modules: Sequence[nn.Module], earlier: Sequence[ModuleState] = ()
) -> Iterator[list[ModuleState]]:
    """The modules in evaluation mode with frozen weights inside; as they were after, whatever
    happened. States seen `earlier`, one per module, spare copies.
    """
    states = list[ModuleState]()
    with ExitStack() as stack:
        for number, module in enumerate(modules):
            state = ModuleState.of(module, earlier[number] if earlier else None)
            stack.callback(state.restore)
            freeze(module)
            states.append(state)
        yield states


def freeze(module: nn.Module) -> None:
    """Evaluation mode, and weights without gradients; scripted modules have the long way only."""
    if any(map(is_training, module.modules())):
        set_mode(module, training=False)
    for parameter in module.parameters():
        # Weights made in inference mode have none, and would not take the setting back.
        if parameter.requires_grad and not parameter.is_inference():
            parameter.requires_grad_(False)


def is_training(layer: nn.Module) -> bool:
    """The mode of a layer; what was frozen by `torch.jit` knows none."""
    return bool(getattr(layer, "training", False))


def set_mode(module: nn.Module, *, training: bool) -> None:
    """`train` or `eval` of all layers, also of those of `torch.export`, which refuse both."""
    try:
        module.train(training)
    except NotImplementedError:
        for layer in module.modules():
            if is_training(layer) != training:
                layer.training = training


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer once, with its name; those not yet initialised are left out."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if not is_lazy(tensor):
            yield name, tensor


_CONTAINERS = frozenset({list, dict, set})
"""Attributes of these types are put back with what they held."""


def attributes_of(layer: nn.Module) -> Iterator[tuple[str, Any]]:
    """What a layer holds beside its mode, its hooks and what it counts as layers and weights."""
    return ((k, v) for k, v in vars(layer).items() if k not in _PARTS and k != "training")


_PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None)})
_OWN = frozenset({"training", "_is_full_backward_hook"})
"""What a module keeps beside its layers and weights, and may be another one at every call."""


def settings_of(module: nn.Module) -> list[tuple[str, str, Any]]:
    """The plain attributes of all layers: numbers, texts, and tuples of them."""
    return [
        (name, key, value)
        for name, layer in module.named_modules()
        for key, value in vars(layer).items()
        if (type(value) in _PLAIN or _is_plain_tuple(value)) and key not in _OWN
    ]


def _is_plain_tuple(value: Any) -> bool:
    return type(value) is tuple and all(type(each) in _PLAIN for each in value)


def _other_tensors(
    layers: Iterable[_Layer], tensors: Iterable[_Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """The tensors among the attributes of layers that are neither parameters nor buffers."""
    known = {id(each.tensor) for each in tensors}
    for layer in layers:
        for key, value, _ in layer.attributes:
            if isinstance(value, Tensor) and id(value) not in known and not is_lazy(value):
                known.add(id(value))
                yield f"{layer.name}.{key}", value


def _same_container(first: Any, second: Any) -> bool:
    """Whether two lists, mappings or sets hold the same objects in the same order."""
    if isinstance(first, dict):
        return _same_items(first, second)
    return len(first) == len(second) and all(map(operator.is_, first, second))


def _all_tensors(modules: Iterable[nn.Module]) -> Iterator[tuple[str, Tensor]]:
    for module in modules:
        yield from named_tensors(module)


def fingerprint(modules: Iterable[nn.Module]) -> str:
    """A hash of all weights and buffers, bit by bit."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in _all_tensors(modules):
        digest.update(name.encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors have the same shape and values; NaN equals NaN."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if torch.equal(first, second):
        return True
    # NaN is the only value that is not equal to itself.
    return bool(((first == second) | ((first != first) & (second != second))).all())


def _parts(layer: nn.Module) -> dict[str, dict[str, Any]]:
    """A copy of each dictionary that is not empty; scripted modules have something else there."""
    parts = vars(layer)
    return {key: dict(parts[key]) for key in _PARTS if _is_filled(parts.get(key))}


def _is_filled(part: Any) -> bool:
    return isinstance(part, dict) and bool(part)


def _write(tensor: Tensor, values: Tensor) -> None:
    """The values into the tensor itself, whatever shape it was given meanwhile."""
    if tensor.shape == values.shape and tensor.dtype == values.dtype:
        tensor.copy_(values)
    else:
        tensor.data = values.clone()


def _same_items(first: dict[str, Any] | None, second: dict[str, Any] | None) -> bool:
    if not first or not second or not isinstance(first, dict):
        return not second and (not first or not isinstance(first, dict))
    return list(first) == list(second) and all(first[key] is second[key] for key in first)


def _same_grad(state: _Tensor) -> bool:
    now = state.tensor.grad
    if now is None or state.grad_values is None:
        return now is state.grad
    return now is state.grad and same(now, state.grad_values)


def _layer(name: str) -> str:
    return f"layer {name!r}" if name else "the model"
