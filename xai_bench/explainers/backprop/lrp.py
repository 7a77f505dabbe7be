"""Layer-wise relevance propagation: an output is distributed back, layer by layer, in full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from xai_bench.core.calls.model_outputs import row_batches
from xai_bench.explainers.backprop import lrp_rules as rules
from xai_bench.explainers.backprop.layer_types import (
    AVERAGE_POOLS,
    ELEMENTWISE,
    LINEAR,
    MAX_POOLS,
    NORMS,
    SHAPES,
    Hook,
    hooked,
    module_of,
    require_no_products,
)
from xai_bench.explainers.backprop.linear_graph import MAXIMA, SELECTIONS, require_linear
from xai_bench.explainers.backprop.lrp_rules import Affine, Rule, Shares
from xai_bench.explainers.function_calls import FunctionCalls
from xai_bench.explainers.gradient.engine import Scalar, value_and_gradient
from xai_bench.explainers.precision import allowed_gap, precision_hint
from xai_bench.explainers.stated_rows import OneBackwardPass
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Unsupported

First = Literal["same", "flat", "z_box"]
# A maximum gives all relevance to the largest, a selection to what it takes; rules clamp.
_WITH_RULES = MAXIMA | set(SELECTIONS) | {"Clamp", "ClampMin", "ClampMax"}
SUPPORTED = {*AVERAGE_POOLS, *ELEMENTWISE, *LINEAR, *MAX_POOLS, *NORMS, *SHAPES, nn.Sequential}


@dataclass(frozen=True)
class LRP(OneBackwardPass):
    """The output's relevance, distributed by each layer over its inputs in proportion to what they
    contributed to its outputs, as its rule counts it.

    Activations pass relevance on, maxima give it to the largest input, averages by size; batch
    normalisation is merged with the linear layer before it, or follows the epsilon rule. What
    biases and epsilon absorb is counted: `Unsupported` is raised where it and the attributions
    together miss the output by more than `tolerance`, relative to their size. Bach+ 2015; Montavon+
    2019.

    Attributes:
        dense, convolution: the rule of linear layers and of convolutions.
        first: another rule for the first of them: `flat`, equal shares; `z_box`, shares of the
            distance from the least favourable corner of the range of the background.
        epsilon, gamma: strengths of the rules of that name, `epsilon` in units of a layer's output.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Bach+ 2015, doi:10.1371/journal.pone.0130140; Montavon+ 2019"
    version: ClassVar[int] = 2

    dense: Rule = "epsilon"
    convolution: Rule = "epsilon"
    first: First = "same"
    epsilon: float = 0.01
    gamma: float = 0.25
    tolerance: float = 1e-3

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` for a layer without a rule, or where relevance is lost."""
        module = module_of(model.module, "LRP")
        require_rules(module)
        # What is absorbed is counted in one pass: a batch is never split once more on its way back.
        batches = row_batches(model, len(inputs), gradient=True)
        parts = [self._batch(module, model, inputs.take(r), targets[r]) for r in batches]
        return Explanation(torch.where(inputs.units < 0, 0, torch.cat(parts)))

    def _batch(self, module: nn.Module, model: Model, inputs: Inputs, targets: Tensor) -> Tensor:
        background = inputs.domain.background.to(inputs.x)
        backward = _BackwardRules(self, (background.amin(0), background.amax(0)))
        # Padding gets relevance, too, and counts in the check below; it is set to 0 afterwards.
        unpadded = replace(inputs, units=inputs.units.clamp(min=0))
        with backward.installed(module):
            outputs, slopes = value_and_gradient(model, unpadded, targets, backward.checked(model))
        x = inputs.x.detach()
        # Slopes are such that input times gradient is relevance: one way back gives all of it.
        attribution = slopes * (x if self.first == "same" else _apart_from_zero(x))
        self._check(attribution, outputs, backward.absorbed[: len(inputs)])
        return attribution

    def _check(self, attribution: Tensor, outputs: Tensor, absorbed: Tensor) -> None:
        dtype = outputs.dtype
        parts, outputs = attribution.double().flatten(1), outputs.double()
        gap = (parts.sum(1) + absorbed - outputs).abs()
        # Relative to all parts, not to the output, which may be 0 where large parts cancel.
        size = parts.abs().sum(1) + absorbed.abs() + outputs.abs()
        n_off = int((gap > allowed_gap(self.tolerance, dtype) * size).sum())
        if n_off:
            raise Unsupported(
                f"LRP's relevance is not conserved in {n_off} of {len(gap)} samples: the network "
                "or the target has nonlinearities or products that it has no rule for"
                f"{precision_hint(dtype)}"
            )


def require_rules(module: nn.Module) -> None:
    """Raise `Unsupported`, naming the first layer without a rule."""
    require_no_products(module, "LRP")
    for name, layer in module.named_modules():
        leaf = next(layer.children(), None) is None
        if (leaf and type(layer) not in SUPPORTED) or (not leaf and layer._parameters):
            raise Unsupported(
                f"LRP has no rule for {type(layer).__name__} (layer '{name}'); it has rules for "
                "linear layers, convolutions, elementwise activations, pooling and batch "
                "normalisation"
            )


@dataclass(eq=False)
class _BackwardRules:
    """One backward pass by the rules.

    Each layer's output is replaced by a linear function of its input, with the same value, whose
    slopes are such that input times gradient is the input's relevance.

    Attributes:
        box: least and largest value of each input element, `[*S]`.
        absorbed: `[N]`, relevance of biases and of epsilon.
        x, first: the input of the network, and that of its first linear layer.
        last: the linear layer that ran last: its output, itself, its map and its input.
        calls: the functions that are called outside of layers.
    """

    method: LRP
    # The range of the background stands for that of the data, which z_box needs; see `rules.z_box`.
    box: tuple[Tensor, Tensor]
    absorbed: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    x: Tensor | None = None
    first: Tensor | None = None
    last: tuple[Tensor, nn.Module, Affine, Tensor] | None = None
    calls: FunctionCalls = field(init=False)

    @contextmanager
    def installed(self, module: nn.Module) -> Iterator[None]:
        hooks: dict[tuple[type, ...], Hook] = {
            LINEAR: self._linear,
            NORMS: self._norm,
            ELEMENTWISE: self._activation,
        }
        with ExitStack() as stack:
            stack.enter_context(module.register_forward_pre_hook(self._start))
            self.calls = stack.enter_context(hooked(module, hooks))
            yield

    def checked(self, model: Model) -> Scalar:
        """The target output; raises `Unsupported` where a function on the way has no rule."""

        def scalar(inputs: Inputs, targets: Tensor) -> Tensor:
            out = model.target_output(inputs, targets)
            require_linear("LRP", out, inputs.x, self.calls.places, allowed=_WITH_RULES)
            for name, place in self.calls.weighted.items():
                raise Unsupported(
                    f"LRP has rules for layers, and {name} is called as a function"
                    f"{f' ({place})' if place else ''}: use a layer, such as nn.Linear or nn.Conv2d"
                )
            return out

        return scalar

    def _start(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.x, self.first = args[0].detach(), None
        self.absorbed = self.x.new_zeros(len(self.x), dtype=torch.float64)

    def _activation(self, layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        """Relevance stays as it is: the slope is output over input."""
        x = args[0].detach()
        # An input of 0 has no relevance to pass on; the inner `where` keeps 0 / 0 out of the graph.
        slope = torch.where(x == 0, 0, out.detach() / torch.where(x == 0, 1, x))
        replaced: Tensor = out.detach() + slope * (args[0] - x)
        return replaced

    def _linear(self, layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        f = rules.affine_of(layer, out.dim())
        replaced = self._by_rule(layer, f, args[0], out)
        self.last = (replaced, layer, f, args[0])
        return replaced

    def _norm(self, layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        """Merged with the layer before it, where that gave the input; else the epsilon rule."""
        norm, last = rules.affine_of_norm(layer, out.dim()), self.last
        # The same tensor, not an equal one: only then is nothing between the two layers.
        if last is None or last[0] is not args[0] or not _has_channels(last[1], out):
            return self._replaced(out, rules.epsilon(norm, args[0], self.method.epsilon))
        _, inner, f, a = last
        return self._by_rule(inner, rules.merged(f, norm), a, out)

    def _by_rule(self, layer: nn.Module, f: Affine, a: Tensor, out: Tensor) -> Tensor:
        """The layer's output by its rule; once more, with the same `a`, for a norm after it."""
        method = self.method
        self.first = a if self.first is None else self.first
        if method.first != "same" and self.first is a:
            return self._replaced(out, self._first_shares(f, a))
        # Composites choose by the kind of layer: epsilon where it is dense, z_plus in convolutions.
        rule = method.dense if isinstance(layer, nn.Linear) else method.convolution
        if rule == "epsilon":
            return self._replaced(out, rules.epsilon(f, a, method.epsilon))
        if rule == "gamma":
            return self._replaced(out, rules.gamma(f, a, method.gamma))
        return self._replaced(out, rules.z_plus(f, a))

    def _first_shares(self, f: Affine, a: Tensor) -> Shares:
        """Shares that do not vanish with the input: `_apart_from_zero` is multiplied back later."""
        if self.x is None or not torch.equal(a.detach().flatten(1), self.x.flatten(1)):
            raise Unsupported(
                f"LRP's rule {self.method.first} is for a first layer that gets the input itself; "
                "here something comes before it: take first=same"
            )
        carrier = 1 + (a - a.detach()) / _apart_from_zero(a.detach())
        if self.method.first == "flat":
            return rules.flat(f, carrier)
        low, high = (end.view(1, *a.shape[1:]) for end in self.box)
        return rules.z_box(f, a, carrier, (low, high))

    def _replaced(self, out: Tensor, shares: Shares) -> Tensor:
        """`out` as a linear function whose parts are `shares`; what they lack is `absorbed`."""
        out, whole = out.detach(), shares.whole.detach()
        # An output whose parts add up to 0 has nobody to give its relevance to: all of it is lost.
        per_whole = torch.where(whole == 0, 0, out / torch.where(whole == 0, 1, whole))
        given = shares.given.detach()
        lost = out - per_whole * given

        def absorb(slope: Tensor) -> None:
            part = (slope * lost).double()
            self.absorbed = self.absorbed + part.reshape(len(self.absorbed), -1).sum(1)

        replaced = out + per_whole * (shares.given - given)
        if replaced.requires_grad:
            replaced.register_hook(absorb)
        return replaced


def _has_channels(layer: nn.Module, out: Tensor) -> bool:
    """Whether axis 1 of the layer's output `out` is that of its weights."""
    return isinstance(layer, nn.Linear) == (out.dim() == 2)


def _apart_from_zero(x: Tensor) -> Tensor:
    """x, and 1 where it is too small to divide by and multiply back."""
    return torch.where(x.abs() > torch.finfo(x.dtype).tiny ** 0.5, x, 1)
