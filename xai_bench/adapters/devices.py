"""A model on a device of its own: it is called there, and everything else stays on the CPU.

Random draws, attributions and scores are made on the CPU, so that they are the same wherever the
model is, up to the rounding of its outputs.
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

log = logging.getLogger(__name__)
CPU = torch.device("cpu")


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
    if asked is None:
        weights = model.parameters() if isinstance(model, nn.Module) else ()
        given = x.device if isinstance(x, Tensor) else CPU
        return next((weight.device for weight in weights), given)
    names = [str(device) for device in available()]
    if asked == "auto":
        return torch.device(names[0])
    if str(asked).partition(":")[0] not in names:
        raise ValueError(
            f"device={str(asked)!r} is not there; choose from auto, {', '.join(names)}"
        )
    return torch.device(str(asked))


def available() -> list[torch.device]:
    """The kinds of devices of this machine, the fastest first."""
    kinds = ["cuda"] if torch.cuda.is_available() else []
    kinds += ["mps"] if torch.backends.mps.is_available() else []
    return [torch.device(kind) for kind in (*kinds, "cpu")]


def placed(model: Any, device: torch.device) -> Any:
    """The model itself where it is there already, or has no weights; else a copy on the device."""
    weights = list(model.parameters()) if isinstance(model, nn.Module) else []
    if all(weight.device.type == device.type for weight in weights):
        return model
    log.info("a copy of the model is made on %s; yours stays where it is", device)
    return copy.deepcopy(model).to(device)


def caller_of(model: Callable[..., Any], form: Form, device: torch.device) -> nn.Module:
    """A module `x [N, *S] -> [N, C]` of a model that takes its rows on a device."""
    there = OnDevice(form, device)
    return ByName(model, there) if isinstance(form, SeveralForm) else Adapted(model, there)


def _moved(rows: Any, device: torch.device) -> Any:
    return rows.to(device) if isinstance(rows, Tensor) else rows
