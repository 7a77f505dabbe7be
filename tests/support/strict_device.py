"""A device that is only pretended: its tensors hold numbers, and mix with no tensor of the CPU.

What works here works on an accelerator, as far as it goes by where tensors are: numbers are
computed on the CPU, and whatever an accelerator refuses raises (a product of two devices,
`.numpy()`, an index on the device into a tensor of the CPU). Single numbers, and indices on the
CPU, are accepted as there.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("lazy")
"""A kind that torch knows by name and this machine does not have."""

CPU = torch.device("cpu")

_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
_COPYING = {"copy_", "_to_copy"}


class Pretended(Tensor):
    """A tensor of the pretended device around one of the CPU that holds its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Pretended:
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
            requires_grad=False,
        )
        made.inner = inner
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Pretended({self.inner!r})"

    def tolist(self) -> Any:
        return self.inner.tolist()

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        with torch.no_grad():
            copied = self.detach().clone()
        made = (
            nn.Parameter(copied, self.requires_grad) if isinstance(self, nn.Parameter) else copied
        )
        memo[id(self)] = made
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class StrictDevice(TorchDispatchMode):
    """Inside, tensors can be made on the pretended device and moved there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Any, kwargs: Any) -> Any:
    flat, _ = tree_flatten((args, kwargs))
    tensors = [each for each in flat if isinstance(each, Tensor)]
    there = any(isinstance(each, Pretended) for each in tensors)
    asked = kwargs.get("device")
    if not there and asked != DEVICE:
        return func(*args, **kwargs)
    name = func._schema.name.rpartition("::")[2]
    _require_one_device(name, args, tensors)
    wanted = DEVICE if there and asked is None else asked
    if asked is not None:
        kwargs = {**kwargs, "device": CPU}
    out = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    if name.endswith("_") or name == "_index_put_impl_":  # in place
        return args[0]
    if func._schema.is_mutable and "out" in kwargs:
        return kwargs["out"]
    return tree_map(_wrapped, out) if wanted == DEVICE else out


def _require_one_device(name: str, args: Any, tensors: list[Tensor]) -> None:
    if name in _COPYING:
        return
    checked = tensors
    if name in _INDEXING:
        indices = [each for each in args[1] if isinstance(each, Tensor)]
        if not isinstance(args[0], Pretended) and any(isinstance(i, Pretended) for i in indices):
            raise RuntimeError(f"{name}: an index on {DEVICE} into a tensor of the CPU")
        checked = [args[0], *(each for each in args[2:3] if isinstance(each, Tensor))]
    # Single numbers of the CPU go anywhere; those of a device do not.
    checked = [each for each in checked if each.dim() > 0 or isinstance(each, Pretended)]
    if len({isinstance(each, Pretended) for each in checked}) > 1:
        shapes = [tuple(each.shape) for each in checked]
        raise RuntimeError(f"{name}: tensors of {DEVICE} and of the CPU together, {shapes}")


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, Pretended) else value


def _wrapped(value: Any) -> Any:
    fresh = isinstance(value, Tensor) and not isinstance(value, Pretended)
    return Pretended(value) if fresh else value


@contextmanager
def strict_device() -> Iterator[torch.device]:
    """Inside, the pretended device is there."""
    with StrictDevice():
        yield DEVICE


def placed(module: nn.Module) -> nn.Module:
    """A copy of a module whose weights and buffers are on the pretended device."""
    there = copy.deepcopy(module)
    for layer in there.modules():
        for name, parameter in layer._parameters.items():
            if parameter is not None:
                moved = Pretended(parameter.detach())
                layer._parameters[name] = nn.Parameter(moved, parameter.requires_grad)
        for name, buffer in layer._buffers.items():
            if buffer is not None:
                layer._buffers[name] = Pretended(buffer)
    return there
