"""Gradients with another rule for ReLU layers: guided backpropagation, deconvnet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from xai_bench.core.calls.layer_outputs import network_output
from xai_bench.explainers.backprop.layer_types import hooked, module_of
from xai_bench.explainers.backprop.linear_graph import MAXIMA, SELECTIONS, without_a_rule
from xai_bench.explainers.gradient.engine import gradient
from xai_bench.explainers.layerwise.cam import GradCAM
from xai_bench.explainers.stated_rows import OneBackwardPass
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported

Gate = Callable[[Tensor], Tensor]
"""The output of a ReLU layer to what it multiplies the gradient by."""


@dataclass(frozen=True)
class GuidedBackprop(OneBackwardPass):
    """The gradient, of which each ReLU lets through what is positive, where its input is positive.

    Needs ReLU layers, and no nonlinearity but ReLU and maxima. Springenberg+ 2015.
    """

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "relu")
    paper: ClassVar[str] = "Springenberg+ 2015, arXiv:1412.6806"
    version: ClassVar[int] = 2

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` for a network with other nonlinearities, or without ReLU layers."""
        return Explanation(_rectified(model, inputs, targets, lambda out: (out > 0).to(out)))


@dataclass(frozen=True)
class DeconvNet(OneBackwardPass):
    """The gradient, of which each ReLU lets through what is positive, whatever its input.

    Needs ReLU layers, and no nonlinearity but ReLU and maxima. Zeiler & Fergus 2014.
    """

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "relu")
    paper: ClassVar[str] = "Zeiler & Fergus 2014, arXiv:1311.2901"
    version: ClassVar[int] = 2

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` for a network with other nonlinearities, or without ReLU layers."""
        return Explanation(_rectified(model, inputs, targets, lambda out: out.new_ones(())))


@dataclass(frozen=True)
class GuidedGradCAM:
    """The product of guided backpropagation and Grad-CAM. Selvaraju+ 2017.

    `layer` is Grad-CAM's. Needs ReLU layers, and no nonlinearity but ReLU and maxima.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "relu", "convolution")
    paper: ClassVar[str] = "Selvaraju+ 2017, arXiv:1610.02391"
    version: ClassVar[int] = 2

    layer: str | None = None

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` where one of the two does."""
        # Class by place from Grad-CAM, detail from guided backpropagation, which hardly depends on
        # the class.
        heat = GradCAM(self.layer).explain(model, inputs, targets, rng=rng).attribution
        guided = GuidedBackprop().explain(model, inputs, targets, rng=rng).attribution
        # Grad-CAM shares a place's value among the channels; the product takes it whole in each.
        return Explanation(heat * heat.shape[1] * guided)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row forward and back for each of the two."""
        return Rows(2, 2)


def _rectified(model: Model, inputs: Inputs, targets: Tensor, gate: Gate) -> Tensor:
    """`[B, *S]`: the gradient, gated and rectified at each ReLU on its way back."""
    module = module_of(model.module, "rectified backpropagation")
    n_layers = 0

    def rectify(layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        nonlocal n_layers
        n_layers += 1
        x = args[0]
        # The same value, linear in x with the gate as its slope: autograd's own rule is out of the
        # way.
        linear: Tensor = out.detach() + gate(out.detach()) * (x - x.detach())
        if linear.requires_grad:
            linear.register_hook(lambda slope: slope.clamp(min=0))
        return linear

    def inspect(layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
        others = without_a_rule(network_output(out), args[0], MAXIMA | set(SELECTIONS))
        if n_layers == 0 or others:
            has = f"{', '.join(others)} beside them" if others and n_layers else "none"
            raise Unsupported(
                "guided backpropagation and deconvnet are rules for nn.ReLU layers; "
                f"this network has {has}"
            )

    with hooked(module, {(nn.ReLU,): rectify}), module.register_forward_hook(inspect):
        return gradient(model, inputs, targets)
