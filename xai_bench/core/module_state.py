"""Everything a caller can see of a torch module, so that it can be given back as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

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
    """

    module: nn.Module
    layers: Sequence[_Layer]
    tensors: Sequence[_Tensor]

    @classmethod
    def of(cls, module: nn.Module) -> ModuleState:
        """The state now."""
        named = dict(module.named_modules())
        layers = [
            _Layer(name, layer, layer.training, _parts(layer)) for name, layer in named.items()
        ]
        return cls(module, layers, [_Tensor.of(*each) for each in named_tensors(module)])

    def changes(self, *, buffers: bool = True) -> list[str]:
        """What differs from then, each as a few words; empty where nothing does.

        Without `buffers` these do not count: a module may write into its own as it is called.
        """
        parts = [key for key in _PARTS if buffers or key != "_buffers"]
        changed = [words for layer in self.layers for words in layer.changes(parts)]
        tensors = [t for t in self.tensors if buffers or isinstance(t.tensor, nn.Parameter)]
        changed += [words for tensor in tensors for words in tensor.changes()]
        return list(dict.fromkeys(changed))

    def restore(self) -> None:
        """Make the module again what it was, in the same tensors and dictionaries."""
        for layer in self.layers:
            layer.restore_parts()
        for tensor in self.tensors:
            tensor.restore()
        if self.layers and self.module.training != self.layers[0].training:
            # A module may do more in `train` than to set the mode, such as to unmerge weights.
            self.module.train(self.layers[0].training)
        for layer in self.layers:
            layer.layer.training = layer.training


@dataclass(frozen=True, eq=False)
class _Layer:
    name: str
    layer: nn.Module
    training: bool
    parts: dict[str, dict[str, Any]]

    def changes(self, parts: Iterable[str]) -> Iterator[str]:
        if self.layer.training != self.training:
            yield f"the mode of {_layer(self.name)}"
        for key in self.parts.keys() & set(parts):
            if not _same_items(getattr(self.layer, key), self.parts[key]):
                yield f"the {_PARTS[key]} of {_layer(self.name)}"

    def restore_parts(self) -> None:
        for key, part in self.parts.items():
            now = getattr(self.layer, key)
            if not _same_items(now, part):
                now.clear()
                now.update(part)


@dataclass(frozen=True, eq=False)
class _Tensor:
    name: str
    tensor: Tensor
    values: Tensor
    requires_grad: bool
    grad: Tensor | None
    grad_values: Tensor | None

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> _Tensor:
        grad = tensor.grad if tensor.is_leaf else None
        copied = None if grad is None else grad.detach().clone()
        values = tensor.detach().clone()
        return cls(name, tensor, values, tensor.requires_grad, grad, copied)

    def changes(self) -> Iterator[str]:
        if not same(self.tensor, self.values):
            yield f"the values of {self.name!r}"
        if self.tensor.requires_grad != self.requires_grad:
            yield f"requires_grad of {self.name!r}"
        if self.tensor.is_leaf and not _same_grad(self):
            yield f"the gradient of {self.name!r}"

    @torch.no_grad()
    def restore(self) -> None:
        if not same(self.tensor, self.values):
            _write(self.tensor, self.values)
        if not self.tensor.is_leaf:
            return
        self.tensor.requires_grad_(self.requires_grad)
        if not _same_grad(self):
            self.tensor.grad = self.grad
            if self.grad is not None and self.grad_values is not None:
                self.grad.copy_(self.grad_values)


@contextmanager
def borrowed(modules: Iterable[nn.Module]) -> Iterator[None]:
    """The modules in evaluation mode with frozen weights inside; as they were after, whatever
    happened.
    """
    with ExitStack() as stack:
        for module in modules:
            stack.callback(ModuleState.of(module).restore)
            freeze(module)
        yield


def freeze(module: nn.Module) -> None:
    """Evaluation mode, and weights without gradients; scripted modules have the long way only."""
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer once, with its name; those not yet initialised are left out."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if not nn.parameter.is_lazy(tensor):
            yield name, tensor


def fingerprint(modules: Iterable[nn.Module]) -> str:
    """A hash of all weights and buffers, bit by bit."""
    digest = hashlib.blake2b(digest_size=16)
    for module in modules:
        for name, tensor in named_tensors(module):
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
    return bool(((first == second) | ((first != first) & (second != second))).all())


def _parts(layer: nn.Module) -> dict[str, dict[str, Any]]:
    """A copy of each dictionary; scripted modules have something else in the place of some."""
    parts = {key: getattr(layer, key, None) for key in _PARTS}
    return {key: dict(part) for key, part in parts.items() if isinstance(part, dict)}


def _write(tensor: Tensor, values: Tensor) -> None:
    """The values into the tensor itself, whatever shape it was given meanwhile."""
    if tensor.shape == values.shape and tensor.dtype == values.dtype:
        tensor.copy_(values)
    else:
        tensor.data = values.clone()


def _same_items(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return list(first) == list(second) and all(first[key] is second[key] for key in first)


def _same_grad(state: _Tensor) -> bool:
    now = state.tensor.grad
    if now is None or state.grad_values is None:
        return now is state.grad
    return now is state.grad and same(now, state.grad_values)


def _layer(name: str) -> str:
    return f"layer {name!r}" if name else "the model"
