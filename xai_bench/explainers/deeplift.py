"""DeepLIFT: differences in place of slopes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xai_bench.explainers.gradient import references, value_and_gradient
from xai_bench.types import Baseline, Inputs, Kind, Model, Rng, Rows, Unsupported

ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid,
    nn.Hardswish,
)  # fmt: skip
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)


@dataclass(frozen=True)
class DeepLIFT:
    """The rescale rule: in the backward pass, the slope of a nonlinearity is replaced by the ratio
    of its output difference to its input difference between sample and reference.

    Attributions must add up to the difference of the outputs. `Unsupported` is raised where they
    miss it by more than `tolerance`, relative to their size. Shrikumar+ 2017.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Shrikumar+ 2017, arXiv:1704.02685"
    version: ClassVar[int] = 1

    baseline: Baseline
    tolerance: float = 1e-3

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        if model.module is None:
            raise Unsupported(
                "DeepLIFT hooks the layers of a torch module, and this model has none"
            )
        starts = references(self.baseline, inputs, rng=rng)
        batches = torch.arange(len(inputs)).split(max(model.max_rows // 2, 1))
        with rescaled(model.module):
            parts = [
                torch.cat([self._against(s[r], model, inputs.take(r), targets[r]) for r in batches])
                for s in starts.unbind(1)
            ]
        return sum(parts[1:], start=parts[0]) / len(parts)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(2 * n_references, 2 * n_references)

    def _against(self, start: Tensor, model: Model, inputs: Inputs, targets: Tensor) -> Tensor:
        """`start [B, *S] -> [B, *S]`: contributions to the change of output from one reference."""
        pairs = inputs.stacked(torch.stack([inputs.x, start], dim=1))
        outputs, multipliers = value_and_gradient(model, pairs, targets.repeat_interleave(2))
        attribution = multipliers[::2] * (inputs.x - start)
        self._check(attribution, outputs.view(-1, 2))
        return attribution

    def _check(self, attribution: Tensor, outputs: Tensor) -> None:
        parts, change = attribution.double().flatten(1), (outputs[:, 0] - outputs[:, 1]).double()
        rounding = 100 * torch.finfo(outputs.dtype).eps * outputs.double().abs().sum(1)
        gap = (parts.sum(1) - change).abs()
        n_off = int((gap > self.tolerance * (parts.abs().sum(1) + change.abs()) + rounding).sum())
        if n_off:
            raise Unsupported(
                f"DeepLIFT's contributions miss the change of the output in {n_off} of {len(gap)} "
                "samples: the network or the target has nonlinearities that are not layers it knows"
            )


@contextmanager
def rescaled(module: nn.Module) -> Iterator[None]:
    """Backward passes inside the block follow the rescale rule; rows `2i` and `2i + 1` are a pair.

    Rows that only fill up a batch are copies of each other, and keep their ordinary slopes.
    """
    layers = list(module.modules())
    handles = [m.register_forward_hook(_rescale) for m in layers if isinstance(m, ELEMENTWISE)]
    handles += [m.register_forward_hook(_rescale_pool) for m in layers if isinstance(m, MAX_POOLS)]
    # A layer that overwrites its input would leave no difference to read.
    in_place = [m for m in layers if getattr(m, "inplace", False)]
    try:
        for layer in in_place:
            layer.inplace = False  # type: ignore[assignment]
        yield
    finally:
        for layer in in_place:
            layer.inplace = True  # type: ignore[assignment]
        for handle in handles:
            handle.remove()


def _rescale(layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
    """The same output, whose slope is the ratio of differences."""
    x = args[0]
    with torch.enable_grad():
        middle = ((x + _partner(x)) / 2).detach().requires_grad_()
        (slope,) = torch.autograd.grad(layer.forward(middle).sum(), middle)
    return _along(x, out, slope)


def _rescale_pool(layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
    """The winner of the larger of the two maxima answers for the whole difference."""
    x = args[0]
    indexed = copy.copy(layer)
    indexed.return_indices = True  # type: ignore[assignment]
    mine = indexed.forward(x)[1]
    theirs, lead = _partner(mine), out - _partner(out)
    tied = torch.minimum(mine, theirs)  # whichever, as long as both rows of a pair agree
    chosen = torch.where(lead > 0, mine, torch.where(lead < 0, theirs, tied))
    inputs = x.flatten(2).gather(2, chosen.flatten(2)).view_as(out)
    return _along(inputs, out, torch.ones_like(out))


def _along(x: Tensor, out: Tensor, slope: Tensor) -> Tensor:
    """`out` as a linear function of `x`; `slope` stands in where the change is rounding noise."""
    with torch.no_grad():
        change = x - _partner(x)
        noise = torch.finfo(x.dtype).eps ** 0.5 * (x.abs() + _partner(x).abs())
        equal = change.abs() <= noise
        ratio = (out - _partner(out)) / torch.where(equal, 1, change)
        multiplier = torch.where(equal, slope, ratio)
    return out.detach() + multiplier * (x - x.detach())


def _partner(rows: Tensor) -> Tensor:
    """`[N, ...]`: rows `2i` and `2i + 1` swapped; the last row of an odd number is its own pair."""
    swapped = (torch.arange(len(rows)) ^ 1).clamp(max=len(rows) - 1)
    return rows.detach()[swapped]
