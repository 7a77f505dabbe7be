"""Devices: which there are, where a network is, and the same tensors beside it.

Random numbers are drawn on the CPU and then moved, so that they are the same on every device.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from xai_bench.types import Domain, Explanation, Infill, Inputs

CPU = torch.device("cpu")

T = TypeVar("T")


def available() -> list[torch.device]:
    """The kinds of devices of this machine, the fastest first."""
    # Asked of the driver's own library: after asking CUDA itself, no process may be forked.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    kinds = ["cuda"] if torch.cuda.is_available() else []
    kinds += ["mps"] if torch.backends.mps.is_available() else []
    return [torch.device(kind) for kind in (*kinds, "cpu")]


def device_named(asked: object) -> torch.device:
    """The device of a name such as `cuda` or `cuda:1`; of `auto`, the fastest that there is.

    Raises ValueError for one that this machine does not have.
    """
    known = [str(device) for device in available()]
    if asked == "auto":
        return torch.device(known[0])
    kind, _, number = str(asked).partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if kind not in known or (number and not (number.isdigit() and int(number) < count)):
        raise ValueError(
            f"device={str(asked)!r} is not there; choose from auto, {', '.join(known)}"
        )
    return torch.device(str(asked))


def device_of(module: nn.Module | None) -> torch.device:
    """Where the first weight of a module is; the CPU where there is none."""
    if module is None:
        return CPU
    first: Tensor | None = next(module.parameters(), None)
    if first is None:
        first = next(module.buffers(), None)
    return CPU if first is None else first.device


def computes_in_double(device: torch.device) -> bool:
    """Whether there is float64, in which attributions are added up; Apple's devices have none."""
    return device.type != "mps"


def inputs_on(inputs: Inputs, device: torch.device, domain: Domain | None = None) -> Inputs:
    """The same samples on a device, with their `domain` where it is there already."""
    if inputs.x.device == device:
        return inputs
    return Inputs(
        x=inputs.x.to(device),
        units=_units_on(inputs.units, device),
        index=inputs.index.to(device),
        domain=domain_on(inputs.domain, device) if domain is None else domain,
        context={name: value.to(device) for name, value in inputs.context.items()},
    )


def explanation_on(explanation: Explanation, device: torch.device) -> Explanation:
    """The same explanation on a device."""
    if explanation.attribution.device == device:
        return explanation
    moved = {name: value.to(device) for name, value in explanation.tensors().items()}
    return Explanation.from_tensors(moved)


def domain_on(domain: Domain, device: torch.device) -> Domain:
    """The same domain on a device. Its truth and its infill are still computed on the CPU."""
    moved = _tensors_on(domain, device)
    distribution, symbols, truth = domain.distribution, domain.symbols, domain.truth

    def truth_there(inputs: Inputs, targets: Tensor) -> Tensor:
        assert truth is not None
        return truth(inputs_on(inputs, CPU, domain), targets.to(CPU)).to(device)

    infill = None if symbols is None or symbols.infill is None else _InfillOnCPU(symbols.infill)
    return replace(
        moved,
        truth=None if truth is None else truth_there,
        context={name: value.to(device) for name, value in domain.context.items()},
        distribution=None
        if distribution is None
        else _Normal(distribution.mean.to(device), distribution.covariance.to(device)),
        actionability=None
        if domain.actionability is None
        else _tensors_on(domain.actionability, device),
        symbols=None if symbols is None else replace(_tensors_on(symbols, device), infill=infill),
    )


@dataclass(frozen=True, eq=False)
class _InfillOnCPU:
    infill: Infill

    def sample(self, tokens: Tensor, missing: Tensor, draws: Tensor) -> Tensor:
        given = (part.to(CPU) for part in (tokens, missing, draws))
        return self.infill.sample(*given).to(tokens.device)

    def log_probability(self, tokens: Tensor) -> Tensor:
        return self.infill.log_probability(tokens.to(CPU)).to(tokens.device)


@dataclass(frozen=True, eq=False)
class _Normal:
    """A `Distribution`."""

    mean: Tensor
    covariance: Tensor


def _tensors_on(value: T, device: torch.device) -> T:
    """A dataclass with its tensors on a device."""
    named = {f.name: getattr(value, f.name) for f in fields(value)}  # type: ignore[arg-type]
    tensors = {k: v.to(device) for k, v in named.items() if isinstance(v, Tensor)}
    return replace(value, **tensors)  # type: ignore[type-var]


def _units_on(units: Tensor, device: torch.device) -> Tensor:
    """Units that all samples share stay a view."""
    if len(units) and units.stride(0) == 0:
        return units[:1].to(device).expand(units.shape)
    return units.to(device)
