"""DeepLIFT: ratios of differences between sample and reference in place of slopes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xai_bench.core.baselines import references
from xai_bench.core.calls.model_outputs import gradient_rows
from xai_bench.explainers.backprop.layer_types import (
    ELEMENTWISE,
    MAX_POOLS,
    hooked,
    module_of,
    require_no_products,
)
from xai_bench.explainers.backprop.linear_graph import require_linear
from xai_bench.explainers.estimates import BudgetedExplainer, require_rows, running_means
from xai_bench.explainers.function_calls import FunctionCalls
from xai_bench.explainers.gradient.engine import value_and_gradient
from xai_bench.explainers.precision import allowed_gap, cancelled, precision_hint
from xai_bench.explainers.stated_rows import in_equal_shares
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


@dataclass(frozen=True)
class DeepLIFT:
    """The rescale rule: in the backward pass, the slope of a nonlinearity is replaced by the ratio
    of its output difference to its input difference between sample and reference.

    `Unsupported` is raised where network or target hold a function that is not linear and has no
    rule, and where attributions miss the difference of the outputs by more than `tolerance`,
    relative to their size. Functions such as `relu(x)` follow the rule of their layer.
    Shrikumar+ 2017.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Shrikumar+ 2017, arXiv:1704.02685"
    version: ClassVar[int] = 2

    baseline: Baseline
    tolerance: float = 1e-3

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The mean over references; raises `Unsupported` where the contributions do not add up."""
        module = module_of(model.module, "DeepLIFT")
        require_no_products(module, "DeepLIFT")
        starts = references(self.baseline, inputs, rng=rng).unbind(1)
        with rescaled(module) as calls:
            parts = [_against(s, model, inputs, targets, self.tolerance, calls) for s in starts]
        return Explanation(sum(parts[1:], start=parts[0]) / len(parts))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """The sample beside every reference, forward and back."""
        return Rows(2 * n_references, 2 * n_references)


@dataclass(frozen=True)
class DeepLiftShap(BudgetedExplainer):
    """DeepLIFT averaged over background rows drawn at random: for networks of linear layers and
    nonlinearities, an approximation of Shapley values. Lundberg & Lee 2017.

    A draw costs two model rows of `budget`. `tolerance` as for DeepLIFT.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Lundberg & Lee 2017, arXiv:1705.07874"
    version: ClassVar[int] = 2
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)  # rows in which columns differ

    budget: int = 200
    tolerance: float = 1e-3

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Explanation]:
        """One explanation per budget, ascending, in one run.

        Raises `Unsupported` where contributions do not add up or a budget is below 2, ValueError
        where budgets do not ascend.
        """
        require_rows(budgets, 2)
        module = module_of(model.module, "DeepLIFT")
        require_no_products(module, "DeepLIFT")
        background = inputs.domain.background.to(inputs.x)
        row = rng.child("background").integers(len(background), max(budgets) // 2)

        def draws(numbers: range) -> Iterator[Tensor]:
            for k in numbers:
                start = torch.where(inputs.units < 0, inputs.x, background[row[:, k]])
                # Not around the `yield`: the caller must find the module as it left it.
                with rescaled(module) as calls:
                    parts = _against(start, model, inputs, targets, self.tolerance, calls)
                yield parts

        return running_means(draws, inputs, [budget // 2 for budget in budgets])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """The sample beside every background row drawn, forward and back."""
        spent = in_equal_shares(self.budget, 2)
        return Rows(spent, spent)


def _against(
    start: Tensor,
    model: Model,
    inputs: Inputs,
    targets: Tensor,
    tolerance: float,
    calls: FunctionCalls,
) -> Tensor:
    """`start [B, *S] -> [B, *S]`: contributions to the change of output from one reference."""

    def checked(pairs: Inputs, of: Tensor) -> Tensor:
        out = model.target_output(pairs, of)
        require_linear("DeepLIFT", out, pairs.x, calls.places, paired=True)
        return out

    parts = []
    for rows in torch.arange(len(inputs)).split(max(gradient_rows(model) // 2, 1)):
        part, ends = inputs.take(rows), torch.stack([inputs.x[rows], start[rows]], dim=1)
        outputs, multipliers = value_and_gradient(
            model, part.stacked(ends), targets[rows].repeat_interleave(2), checked
        )
        # Both rows of a pair have the same multipliers; the sample's are taken.
        attribution = multipliers[::2] * (part.x - start[rows])
        _check(attribution, outputs.view(-1, 2), tolerance)
        parts.append(attribution)
    return torch.cat(parts)


def _check(attribution: Tensor, outputs: Tensor, tolerance: float) -> None:
    """Raise `Unsupported` where `[b, *S]` misses the change of the outputs `[b, 2]`."""
    parts, change = attribution.double().flatten(1), (outputs[:, 0] - outputs[:, 1]).double()
    # Two large outputs that are nearly equal leave the rounding of their size behind.
    rounding = cancelled(outputs.dtype) * outputs.double().abs().sum(1)
    gap = (parts.sum(1) - change).abs()
    allowed = allowed_gap(tolerance, outputs.dtype) * (parts.abs().sum(1) + change.abs())
    n_off = int((gap > allowed + rounding).sum())
    if n_off:
        raise Unsupported(
            f"DeepLIFT's contributions miss the change of the output in {n_off} of {len(gap)} "
            "samples: the network or the target has nonlinearities that it has no rule for"
            f"{precision_hint(outputs.dtype)}"
        )


@contextmanager
def rescaled(module: nn.Module) -> Iterator[FunctionCalls]:
    """Backward passes inside the block follow the rescale rule; rows `2i` and `2i + 1` are a pair.

    Rows that only fill up a batch are copies of each other, and keep their ordinary slopes.
    """
    with hooked(module, {ELEMENTWISE: _rescale, MAX_POOLS: _rescale_pool}) as calls:
        yield calls


def _rescale(layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
    """The same output, whose slope is the ratio of differences."""
    x = args[0]
    with torch.enable_grad():
        # Where both rows agree, the ratio is 0 / 0; its limit is the slope, taken halfway between
        # them.
        middle = ((x + _partner(x)) / 2).detach().requires_grad_()
        (slope,) = torch.autograd.grad(layer.forward(middle).sum(), middle)
    return _along(x, out, slope)


def _rescale_pool(layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
    """The whole difference goes to the element that is the larger of the two maxima."""
    x = args[0]
    indexed = copy.copy(layer)
    indexed.return_indices = True  # type: ignore[assignment]
    own = indexed.forward(x)[1]
    partners, lead = _partner(own), out - _partner(out)
    tied = torch.minimum(own, partners)  # whichever, as long as both rows of a pair agree
    chosen = torch.where(lead > 0, own, torch.where(lead < 0, partners, tied))
    inputs = x.flatten(2).gather(2, chosen.flatten(2)).view_as(out)
    return _along(inputs, out, torch.ones_like(out))


def _along(x: Tensor, out: Tensor, slope: Tensor) -> Tensor:
    """`out` as a linear function of `x`; `slope` stands in where the change is rounding noise."""
    with torch.no_grad():
        change = x - _partner(x)
        # Half the digits: a ratio of two differences of that size would have none left.
        noise = torch.finfo(x.dtype).eps ** 0.5 * (x.abs() + _partner(x).abs())
        equal = change.abs() <= noise
        ratio = (out - _partner(out)) / torch.where(equal, 1, change)
        multiplier = torch.where(equal, slope, ratio)
    return out.detach() + multiplier * (x - x.detach())


def _partner(rows: Tensor) -> Tensor:
    """`[N, ...]`: rows `2i` and `2i + 1` swapped; the last row of an odd number is its own pair."""
    swapped = (torch.arange(len(rows)) ^ 1).clamp(max=len(rows) - 1)
    return rows.detach()[swapped]
