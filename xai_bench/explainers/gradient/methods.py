"""Explainers that read the gradient at the input itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from xai_bench.explainers.gradient.engine import gradient, value_and_gradient
from xai_bench.explainers.stated_rows import OneBackwardPass
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Unsupported


@dataclass(frozen=True)
class Gradient(OneBackwardPass):
    """The signed gradient of the target output. Baehrens+ 2010."""

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Baehrens+ 2010, arXiv:0912.1128"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The gradient; raises `Unsupported` where the model has none."""
        return Explanation(gradient(model, inputs, targets))


@dataclass(frozen=True)
class Saliency(OneBackwardPass):
    """The size of the gradient. Simonyan+ 2014."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Simonyan+ 2014, arXiv:1312.6034"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("linearity",)  # sizes do not add up

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`|gradient|`; raises `Unsupported` where the model has none."""
        return Explanation(gradient(model, inputs, targets).abs())


@dataclass(frozen=True)
class InputXGradient(OneBackwardPass):
    """Input times gradient: the first-order change of the output from 0. Shrikumar+ 2016."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Shrikumar+ 2016, arXiv:1605.01713"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`x * gradient`; raises `Unsupported` where the model has none."""
        # By x itself, not by the distance from a baseline: the linear change from 0.
        return Explanation(inputs.x.detach() * gradient(model, inputs, targets))


@dataclass(frozen=True)
class LossInfluence(OneBackwardPass):
    """The gradient of the loss of the explained class, cross-entropy: how each element of the input
    raises the cost of naming that class. For softmax regression it is `W^T (p - e_y)`.

    Goodfellow+ 2015.
    """

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Goodfellow+ 2015, arXiv:1412.6572"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` for a regressor, or where the model has no gradient."""
        if model.n_outputs < 2 or targets.is_floating_point():
            raise Unsupported(
                "the loss of a regressor needs the true value, which targets do not hold; "
                "explain it with target=loss and explainer=gradient"
            )

        def loss(at: Inputs, classes: Tensor) -> Tensor:
            # Outputs are logits, so the softmax is taken here, and nowhere before.
            return functional.cross_entropy(model.outputs(at), classes, reduction="none")

        return Explanation(value_and_gradient(model, inputs, targets, loss)[1])
