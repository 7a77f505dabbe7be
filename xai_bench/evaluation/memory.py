"""What probes measured, kept for the metrics that follow unless one of them writes into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor


class ProbeMemory(dict[Any, Any]):
    """Probe -> result, with the version of each tensor in it when it was measured."""

    def __init__(self) -> None:
        super().__init__()
        self._versions: dict[Any, list[int]] = {}

    def __setitem__(self, probe: Any, result: Any) -> None:
        super().__setitem__(probe, result)
        self._versions[probe] = _versions(result)

    def drop_altered(self) -> list[str]:
        """Forget the results that were written into, to be measured anew; what they are called."""
        altered = [probe for probe, at in self._versions.items() if _versions(self[probe]) != at]
        for probe in altered:
            del self[probe], self._versions[probe]
        return [f"the measurement {type(probe).__name__}" for probe in altered]


def _versions(result: Any) -> list[int]:
    return [tensor._version for tensor in _tensors(result)]


def _tensors(result: Any) -> Iterator[Tensor]:
    """The tensors in a result, in the fields of dataclasses and in collections."""
    if isinstance(result, Tensor):
        yield result
    elif is_dataclass(result) and not isinstance(result, type):
        for field in fields(result):
            yield from _tensors(getattr(result, field.name))
    elif isinstance(result, Mapping):
        for value in result.values():
            yield from _tensors(value)
    elif isinstance(result, list | tuple):
        for value in result:
            yield from _tensors(value)
