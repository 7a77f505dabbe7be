"""Gradients whose way back through ReLU layers is changed: guided backpropagation, deconvnet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from xai_bench.explainers.backprop.layer_types import functions, hooked, module_of
from xai_bench.explainers.gradient.engine import gradient
from xai_bench.explainers.layerwise.cam import GradCAM
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported

Pass = Callable[[Tensor], Tensor]
"""What a ReLU layer multiplies the gradient by, from its output."""


@dataclass(frozen=True)
class GuidedBackprop:
    """The gradient, of which each ReLU lets through what is positive, where its input is positive.

    Needs ReLU layers, and no nonlinearity but ReLU and maxima. Springenberg+ 2015.
    """

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Springenberg+ 2015, arXiv:1412.6806"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(_rectified(model, inputs, targets, lambda out: (out > 0).to(out)))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class DeconvNet:
    """The gradient, of which each ReLU lets through what is positive, whatever its input.

    Needs ReLU layers, and no nonlinearity but ReLU and maxima. Zeiler & Fergus 2014.
    """

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Zeiler & Fergus 2014, arXiv:1311.2901"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(_rectified(model, inputs, targets, lambda out: out.new_ones(())))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class GuidedGradCAM:
    """Guided backpropagation, seen through Grad-CAM: their product. Selvaraju+ 2017.

    `layer` is Grad-CAM's. Needs ReLU layers, and no nonlinearity but ReLU and maxima.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Selvaraju+ 2017, arXiv:1610.02391"

    layer: str | None = None

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        heat = GradCAM(self.layer).explain(model, inputs, targets, rng=rng).attribution
        guided = GuidedBackprop().explain(model, inputs, targets, rng=rng).attribution
        return Explanation(
            heat * heat.shape[1] * guided
        )  # a place's heat is whole in every channel

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(2, 2)


def _rectified(model: Model, inputs: Inputs, targets: Tensor, open_: Pass) -> Tensor:
    """`[B, *S]`: the gradient, rectified at each ReLU on its way back."""
    module = module_of(model.module, "rectified backpropagation")
    n_layers = 0

    def rectify(layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        nonlocal n_layers
        n_layers += 1
        x = args[0]
        linear: Tensor = out.detach() + open_(out.detach()) * (x - x.detach())
        if linear.requires_grad:
            linear.register_hook(lambda slope: slope.clamp(min=0))
        return linear

    def inspect(layer: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
        others = functions(out)
        if n_layers == 0 or others:
            found = f"{', '.join(others)} beside them" if others and n_layers else "none"
            raise Unsupported(
                "guided backpropagation and deconvnet are rules for nn.ReLU layers; "
                f"this network has {found}"
            )

    with hooked(module, {(nn.ReLU,): rectify}), module.register_forward_hook(inspect):
        return gradient(model, inputs, targets)
