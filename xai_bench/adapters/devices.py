"""A caller's model on another device, or in another precision: a copy of it, where it is not so.

Random numbers are drawn on the CPU, so that scores are the same wherever the model is, up to the
rounding of its outputs.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.adapters.forms import Form, SeveralForm
from xai_bench.adapters.modules import Adapted, ByName
from xai_bench.core.system.devices import CPU, computes_in_double, device_named
from xai_bench.models.precision import precision_named

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Placing:
    """Where a model is asked, and in which precision.

    Attributes:
        dtype: of its weights; None leaves them as they are.
    """

    device: torch.device
    dtype: torch.dtype | None = None

    @classmethod
    def of(cls, device: object, precision: object, model: Any, x: Any) -> Placing:
        """What was asked for. Raises ValueError for a device or precision that there is not."""
        dtype = precision_named(precision)
        if dtype is not None and not _weights(model):
            raise ValueError(
                f"precision={precision!r} is that of a network's weights, and the model is a "
                f"{type(model).__name__}: leave it out, or give a torch module"
            )
        return cls(device_of(device, model, x), dtype)

    def rows(self, model: Any) -> torch.dtype | None:
        """The type in which the model takes its rows where x has another one: bf16 only."""
        half = any(weight.dtype == torch.bfloat16 for weight in _weights(model))
        return torch.bfloat16 if half or self.dtype == torch.bfloat16 else None

    @property
    def looks_inside(self) -> bool:
        """Whether what looks into layers can work where the model is."""
        return computes_in_double(self.device)

    def placed(self, model: Any) -> Any:
        """The model itself where it is so already, or has no weights; else a copy."""
        weights = _weights(model)
        there = all(_same(weight.device, self.device) for weight in weights)
        so = self.dtype is None or all(weight.dtype == self.dtype for weight in weights)
        if there and so:
            return model
        log.info("a copy of the model is made on %s; yours stays as it is", self.device)
        moved = copy.deepcopy(model).to(self.device)
        return moved if self.dtype is None else moved.to(self.dtype)


@dataclass(frozen=True, eq=False)
class OnDevice:
    """A form whose rows are decoded on a device."""

    form: Form
    device: torch.device

    @property
    def unit_names(self) -> tuple[str, ...]:
        """Those of the form."""
        return self.form.unit_names

    @property
    def shapes(self) -> Mapping[str, Any]:
        """Name -> shape, where there are several inputs; else empty."""
        return self.form.shapes if isinstance(self.form, SeveralForm) else {}

    def encode(self, rows: Any, name: str) -> Tensor:
        """As the form does, on the CPU."""
        return self.form.encode(rows, name)

    def decode(self, x: Tensor) -> Any:
        """As the form does, moved to the device."""
        rows = self.form.decode(x)
        if isinstance(rows, dict):
            return {name: _moved(part, self.device) for name, part in rows.items()}
        return _moved(rows, self.device)

    def units(self, shape: Any) -> Tensor:
        """Those of the form."""
        return self.form.units(shape)


def device_of(asked: object, model: Any, x: Any) -> torch.device:
    """Where the model is called: what is asked for, or else where its weights, or x, are.

    `auto` is the first of CUDA, MPS and the CPU that there is. Raises ValueError for a device that
    there is not.
    """
    if asked is not None:
        return device_named(asked)
    given = x.device if isinstance(x, Tensor) else CPU
    return next((weight.device for weight in _weights(model)), given)


def caller_of(model: Callable[..., Any], form: Form, device: torch.device) -> nn.Module:
    """A module `x [N, *S] -> [N, C]` of a model that takes its rows on a device."""
    there = OnDevice(form, device)
    return ByName(model, there) if isinstance(form, SeveralForm) else Adapted(model, there)


def _same(first: torch.device, second: torch.device) -> bool:
    """Whether both name one device; one without a number is the first of its kind."""
    return first.type == second.type and (first.index or 0) == (second.index or 0)


def _weights(model: Any) -> list[Tensor]:
    return list(model.parameters()) if isinstance(model, nn.Module) else []


def _moved(rows: Any, device: torch.device) -> Any:
    return rows.to(device) if isinstance(rows, Tensor) else rows
