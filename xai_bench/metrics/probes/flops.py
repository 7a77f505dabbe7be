"""Floating-point operations of the model, counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from xai_bench.types import Case, Inputs, Relaxable, Unsupported

BLOCK = 16
"""Rows that are counted at once: models fill their batches up to a multiple of this."""


@dataclass(frozen=True, slots=True)
class Flops:
    """Floating-point operations of one row.

    Attributes:
        forward: of the forward pass.
        gradient: of the backward pass, in addition.
    """

    forward: float
    gradient: float


@dataclass(frozen=True)
class RowFlops:
    """Operations of matrix products, convolutions and attention, by torch's own formulas.

    Element-wise operations are left out. Runs sixteen copies of the first sample, once forward and,
    where the model has gradients, once back. Raises `Unsupported` for models without a torch
    module.
    """

    shared: ClassVar[bool] = True

    def measure(self, case: Case) -> Flops:
        """The operations of sixteen rows, over 16."""
        if case.model.module is None:
            raise Unsupported("operations are counted in a torch module, and this model has none")
        # Copies of one sample, so that the count does not depend on the batch.
        rows = torch.zeros(BLOCK, dtype=torch.long)
        inputs = case.inputs.take(rows)
        forward = _Counter()
        with torch.no_grad(), forward:
            case.model.target_output(inputs, case.targets[rows])
        # Counted apart: explainers differ most in how many of their rows go back.
        gradient = self._backward(case, inputs) if case.model.differentiable else 0
        return Flops(forward.count / BLOCK, gradient / BLOCK)

    def _backward(self, case: Case, inputs: Inputs) -> int:
        """The operations of a backward pass from the target output to x, or to its embeddings."""
        model, counter = case.model, _Counter()
        if inputs.domain.discrete and isinstance(model, Relaxable):
            model, inputs = model.relaxed(inputs)
        x = inputs.x.detach().clone().requires_grad_()
        with torch.enable_grad():
            out = model.target_output(inputs.with_x(x), case.targets[:1].expand(BLOCK))
            # Only the way back is counted here, and only as far as x, not to the weights.
            with counter:
                torch.autograd.grad(out.sum(), x)
        return counter.count


class _Counter(TorchDispatchMode):
    """Adds up the operations that run inside the block.

    Torch's own counter hooks every module, which a metric must not do.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: int = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No, for nothing here is compiled: torch would load its compiler to leave this out."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.count += formula(*args, **(kwargs or {}), out_val=out)
        return out
