"""Cost is counted, then timed: rows through the model, seconds, peak memory."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from xai_bench.core.calls.model_wrapper import ModelWrapper
from xai_bench.core.system import memory
from xai_bench.types import Inputs, Model, ReadableStructure, Rows, Structure


@dataclass
class Usage:
    """What was spent inside `timed`.

    Attributes:
        forward, gradient: the sample ids of the rows sent through the model, one tensor per call.
        seconds: wall time, once `timed` has ended.
        peak_bytes: highest resident memory above that at the start; NaN where unknown.
        started, resident: the clock in seconds and the memory in bytes at the start.
    """

    forward: list[Tensor] = field(default_factory=list)
    gradient: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0
    peak_bytes: float = float("nan")
    started: float = 0.0
    resident: float = float("nan")

    def so_far(self) -> Usage:
        """What was spent since `timed` began; the rows that follow are not on this copy."""
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return Usage(
            forward=list(self.forward),
            gradient=list(self.gradient),
            seconds=time.perf_counter() - self.started,
            peak_bytes=self._peak_bytes(),
        )

    def _peak_bytes(self) -> float:
        return self.resident if math.isnan(self.resident) else max(_peak() - self.resident, 0.0)

    @property
    def rows(self) -> Rows:
        """All rows together."""
        return Rows(sum(map(len, self.forward)), sum(map(len, self.gradient)))

    def rows_of(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """`index [B] -> [B], [B]`: forward and gradient rows of each sample, float64."""
        # Ids up to the largest in the batch are counted, whether they are in the batch or not.
        # Counted by sample, not over the batch: a method may spend more on some than on others.
        forward, gradient = (
            torch.cat([index[:0], *calls]).bincount(minlength=int(index.max()) + 1)[index]
            for calls in (self.forward, self.gradient)
        )
        return forward.double(), gradient.double()


@dataclass(frozen=True)
class Metered(ModelWrapper):
    """A model that writes every row it is asked for onto a usage.

    A gradient row is a row of an output through which a backward pass flowed.
    """

    usage: Usage = field(default_factory=Usage)

    def outputs(self, inputs: Inputs) -> Tensor:
        """`[B, C]`, counted."""
        return self._count(self.model.outputs(inputs), inputs.index)

    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """`[B]`, counted."""
        return self._count(self.model.target_output(inputs, targets), inputs.index)

    def structure(self) -> Structure | None:
        """That of the inner model, whose function this is; reading it costs no row."""
        return self.model.structure() if isinstance(self.model, ReadableStructure) else None

    def _count(self, out: Tensor, index: Tensor) -> Tensor:
        index = index.cpu()
        self.usage.forward.append(index)
        if out.requires_grad:  # a backward pass may follow, and is seen when it flows
            out.register_hook(lambda _: self.usage.gradient.append(index))
        return out


@contextmanager
def timed(model: Model, *, watch_memory: bool = True) -> Iterator[Metered]:
    """Meter, time and watch the memory of what is done with the model inside the block.

    Memory is watched from as little as there can be: what was kept at hand goes back to the system,
    and is asked for again. So that costs time.
    """
    metered = Metered(model)
    usage = metered.usage
    if watch_memory:
        usage.resident = _reset_peak()
    usage.started = time.perf_counter()
    try:
        yield metered
    finally:
        total = usage.so_far()
        usage.seconds, usage.peak_bytes = total.seconds, total.peak_bytes


def _reset_peak() -> float:
    """Forget earlier peaks of resident memory (Linux); the memory in use now, in bytes."""
    if sys.platform != "linux":
        return float("nan")
    memory.give_back()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return float("nan")
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM") if sys.platform == "linux" else float("nan")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith(name + ":"))
    return float(kilobytes) * 1024
