"""Explainers that read the gradient of the target output, at the input and on the way to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from xai_bench.explainers.gradient.engine import gradient, value_and_gradient
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


@dataclass(frozen=True)
class Gradient:
    """The signed gradient of the target output. Baehrens+ 2010."""

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Baehrens+ 2010, arXiv:0912.1128"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(gradient(model, inputs, targets))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class Saliency:
    """The size of the gradient. Simonyan+ 2014."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Simonyan+ 2014, arXiv:1312.6034"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(gradient(model, inputs, targets).abs())

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class InputXGradient:
    """Input times gradient: the first-order change of the output from 0. Shrikumar+ 2016."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Shrikumar+ 2016, arXiv:1605.01713"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(inputs.x.detach() * gradient(model, inputs, targets))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class LossInfluence:
    """The gradient of the loss of the explained class, cross-entropy: how each element of the input
    raises the cost of naming that class. For softmax regression it is `W^T (p - e_y)`.
    """

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Goodfellow+ 2015, arXiv:1412.6572"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        if model.n_outputs < 2 or targets.is_floating_point():
            raise Unsupported(
                "the loss of a regressor needs the true value, which targets do not hold; "
                "explain it with target=loss and explainer=gradient"
            )

        def loss(there: Inputs, classes: Tensor) -> Tensor:
            return functional.cross_entropy(model.outputs(there), classes, reduction="none")

        return Explanation(value_and_gradient(model, inputs, targets, loss)[1])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)
