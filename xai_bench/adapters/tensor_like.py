"""An object that stands for a tensor: what can be done with one can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class TensorLike:
    """Base of objects with an `attribution`, which is meant wherever a tensor is expected.

    So attributions of two explainers are subtracted, compared by `torch.allclose`, or written into,
    as if they were no more than tensors.
    """

    @property
    def attribution(self) -> Tensor:
        """What it stands for."""
        raise NotImplementedError

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        plain = {name: _tensors(value) for name, value in (kwargs or {}).items()}
        return function(*(_tensors(value) for value in args), **plain)

    def __getattr__(self, name: str) -> Any:
        """A method or field of tensors, such as `abs` or `dtype`, of the attribution."""
        # Copying and pickling ask for private names before there is an attribution.
        if name.startswith("_") or name == "attribution" or not hasattr(Tensor, name):
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        return getattr(self.attribution, name)

    def __setitem__(self, samples: Any, values: Any) -> None:
        self.attribution[samples] = _tensors(values)

    def __add__(self, other: Any) -> Any:
        return self.attribution + _tensors(other)

    def __radd__(self, other: Any) -> Any:
        return _tensors(other) + self.attribution

    def __sub__(self, other: Any) -> Any:
        return self.attribution - _tensors(other)

    def __rsub__(self, other: Any) -> Any:
        return _tensors(other) - self.attribution

    def __mul__(self, other: Any) -> Any:
        return self.attribution * _tensors(other)

    def __rmul__(self, other: Any) -> Any:
        return _tensors(other) * self.attribution

    def __truediv__(self, other: Any) -> Any:
        return self.attribution / _tensors(other)

    def __rtruediv__(self, other: Any) -> Any:
        return _tensors(other) / self.attribution

    def __neg__(self) -> Any:
        return -self.attribution

    def __abs__(self) -> Any:
        return self.attribution.abs()

    def __lt__(self, other: Any) -> Any:
        return self.attribution < _tensors(other)

    def __gt__(self, other: Any) -> Any:
        return self.attribution > _tensors(other)


def _tensors(value: Any) -> Any:
    """With the attribution in the place of each object that stands for one."""
    if isinstance(value, TensorLike):
        return value.attribution
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return type(value)(_tensors(each) for each in value)
    return value
