"""Whether a model answers each sample on its own: a few rows alone, in company, and twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.core.calls.layer_outputs import output_of
from xai_bench.core.calls.module_state import same
from xai_bench.core.system.devices import device_of
from xai_bench.models.base import Predictor
from xai_bench.types import ROW_BLOCK, Inputs

N_ALONE = 3
"""Rows that are also asked alone."""
_LARGE, _FEW = 10_000, 4
"""Rows of so many numbers are asked a few at a time: a network of real size takes long."""


CALLERS_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    RuntimeError,
    TypeError,
)
"""What a model may raise at rows that do not suit it; a ValueError speaks for itself."""


_TRIES = 8
"""How often the place is looked for where answers differ by chance."""


@torch.no_grad()
def require_independent_rows(predictor: Predictor, inputs: Inputs) -> None:
    """Ask for a few samples in company, again, in another order, and each alone.

    Raises ValueError where the model cannot take such rows, gives no row of numbers for each, gives
    other answers when asked again, or where the answer for one depends on the others; it names the
    layer where there is one. Costs about six blocks of `ROW_BLOCK` rows.
    """
    rows = _Rows.of(inputs)
    asked = partial(_asked, predictor)
    together = asked(rows)
    again = asked(rows)
    if _apart(together, again, _rounding(together.dtype)):
        # Of a row, a random layer may well give the same twice.
        tries = (_place(predictor, rows, rows) for _ in range(_TRIES))
        place = next(filter(None, tries), "")
        raise ValueError(
            f"the model answers differently when asked the same twice{place}; explanations need "
            "the same answer: F.dropout needs training=self.training, random numbers a fixed seed"
        )
    # Half of the digits: kernels round differently for other rows; a real influence is larger.
    company = torch.finfo(together.dtype).eps ** 0.5
    for number in range(min(N_ALONE, len(rows.x) // 2, len(inputs))):
        # A block of copies in place of one row, for which kernels round differently.
        alone = rows.take(torch.full((len(rows.x),), number))
        if _apart(together[number], asked(alone)[number], company):
            raise ValueError(_seen(number, predictor, rows, alone))
    back = torch.arange(len(rows.x)).flip(0)
    if _apart(together, asked(rows.take(back))[back], company):
        raise ValueError(_seen(0, predictor, rows, rows.take(back)))


def differentiable(predictor: Predictor, inputs: Inputs) -> bool:
    """Whether gradients flow from the outputs to x; tried on a few rows."""
    rows = _Rows.of(inputs).take(torch.arange(2))  # a way back keeps all that was computed
    with torch.enable_grad():
        x = rows.x.clone().requires_grad_()
        try:
            return predictor(x.clone(), rows.context).requires_grad
        except RuntimeError:  # such as `x.numpy()`, which torch refuses where x has a gradient
            return False


@dataclass(frozen=True, eq=False)
class _Rows:
    x: Tensor
    context: Mapping[str, Tensor]

    @classmethod
    def of(cls, inputs: Inputs) -> _Rows:
        """The first samples and, as their company, background rows: `ROW_BLOCK` in all, or few."""
        domain = inputs.domain
        block = ROW_BLOCK if inputs.x[0].numel() < _LARGE else _FEW
        half, parts = block // 2, [(inputs.x, inputs.context)]
        # Background rows may lack what the model takes beside x.
        if set(domain.context) == set(inputs.context):
            parts.append((domain.background.to(inputs.x), domain.context))
        x = torch.cat([values[:half] for values, _ in parts])
        context = {k: torch.cat([of[k][:half] for _, of in parts]) for k in inputs.context}
        return cls(x, context).take(torch.arange(block) % len(x))

    def take(self, rows: Tensor) -> _Rows:
        return _Rows(self.x[rows], {name: value[rows] for name, value in self.context.items()})


def _asked(predictor: Predictor, rows: _Rows) -> Tensor:
    """`[n, C]`, or one sentence of what is wrong with what came back."""
    try:
        # Copies, because a model may write into its input, and the next call must get the same.
        out = predictor(rows.x.clone(), {k: v.clone() for k, v in rows.context.items()})
    except CALLERS_ERRORS as error:
        raise ValueError(_refused(predictor, rows.x, error)) from error
    if not out.is_floating_point():
        raise ValueError(
            f"the model gives {out.dtype}; expected real numbers, such as logits, not classes"
        )
    if out.dim() != 2 or len(out) != len(rows.x) or not out.shape[1]:
        raise ValueError(
            f"the model gives outputs of shape {list(out.shape)} for {len(rows.x)} samples; "
            f"expected [{len(rows.x)}, C], one row for each"
        )
    return out.detach()


def _refused(predictor: Predictor, x: Tensor, error: Exception) -> str:
    what = " ".join(str(error).split("\n")[0].split()) or type(error).__name__
    sentence = f"the model cannot take x of shape {list(x.shape)} in {x.dtype}: {what}"
    weights = None if predictor.module is None else next(predictor.module.parameters(), None)
    if weights is not None and weights.is_floating_point() and weights.dtype != x.dtype:
        sentence += f"; its weights are {weights.dtype}: convert x, or the model, to the same type"
    if "does not require grad" in what:
        sentence += "; a forward that computes gradients needs torch.enable_grad() around them"
    if what.startswith("Guard failed"):  # of torch.export
        sentence += "; export it with dynamic_shapes, so that it takes any number of rows"
    return sentence


def _apart(first: Tensor, second: Tensor, tolerance: float) -> bool:
    """Whether outputs differ by more than the tolerance, relative to the largest; NaN is NaN."""
    if first.shape != second.shape:
        return True
    finite = first.isfinite() & second.isfinite()
    if not torch.equal(first.nan_to_num()[~finite], second.nan_to_num()[~finite]):
        return True
    size = torch.where(finite, first, 0).abs().max()
    return bool((torch.where(finite, first - second, 0).abs() > tolerance * size).any())


def _rounding(dtype: torch.dtype) -> float:
    """What the same call may differ by; in half precision it would hide random numbers."""
    return min(64 * torch.finfo(dtype).eps, 0.01)


def _seen(number: int, predictor: Predictor, rows: _Rows, others: _Rows) -> str:
    return (
        f"what the model answers for sample {number} depends on the other samples of the batch"
        f"{_place(predictor, rows, others, number)}; explanations need each sample on its own: "
        "BatchNorm needs running statistics, attention and recurrent layers batch_first=True, "
        "quantised layers a fixed scale"
    )


def _place(predictor: Predictor, rows: _Rows, others: _Rows, number: int = 0) -> str:
    """` (layer ...)` where the first difference arises, as far as it can be seen."""
    module = predictor.module
    if module is None:
        return ""
    # Not strict: where chance decides, one call may run through more layers than the other.
    steps = zip(*(_trace(module, part, number) for part in (rows, others)), strict=False)
    # Inner layers end before those around them, so the first difference is in the innermost.
    for (layer, before, after), (_, other_before, other_after) in steps:
        if before is not None and other_before is not None and not _close(before, other_before):
            return f" (in the code before {layer})"
        if after is not None and other_after is not None and not _close(after, other_after):
            return f" ({layer})"
    return ""


def _close(first: Tensor, second: Tensor) -> bool:
    return same(first, second) or not _apart(first, second, torch.finfo(first.dtype).eps ** 0.5)


_Step = tuple[str, Tensor | None, Tensor | None]


def _trace(module: nn.Module, rows: _Rows, number: int) -> list[_Step]:
    """Each layer in the order in which it ends: its name, and the row of what it took and gave."""
    steps: list[_Step] = []

    def keep(name: str, layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        label = f"layer {name!r}, {type(layer).__name__}"
        taken = _row(args[0] if args else None, number, len(rows.x))
        steps.append((label, taken, _row(output_of(layer, output), number, len(rows.x))))

    named = [(name, layer) for name, layer in module.named_modules() if name]
    handles = [layer.register_forward_hook(partial(keep, name)) for name, layer in named]
    try:
        device = device_of(module)
        there = {name: value.to(device) for name, value in rows.context.items()}
        module(rows.x.clone().to(device), **there)
    finally:
        for handle in handles:
            handle.remove()
    return steps


def _row(value: object, number: int, n_rows: int) -> Tensor | None:
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.dim() == 0:
        return None
    # A copy, because later layers may write into it.
    return (value[number] if len(value) == n_rows else value).detach().clone()
