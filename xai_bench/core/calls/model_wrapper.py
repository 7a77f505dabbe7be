"""Models made from another model: counted, blinded, shifted, or otherwise changed in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from xai_bench.core.calls.model_outputs import gradient_rows, room
from xai_bench.types import Inputs, Model, Relaxable, Unsupported


@dataclass(frozen=True, eq=False)
class ModelWrapper:
    """A model that passes everything on to another one; a subclass overrides what differs.

    What can be read of the inner model (`ReadableStructure`) is not passed on: it describes the
    inner function, and a wrapper is there to explain another one.
    """

    model: Model

    def inner_inputs(self, inputs: Inputs) -> Inputs:
        """What the inner model is given in place of `inputs`: the same, unless overridden."""
        return inputs

    @property
    def differentiable(self) -> bool:
        """As the inner model."""
        return self.model.differentiable

    @property
    def module(self) -> nn.Module | None:
        """The torch module of the inner model, which hooks see."""
        return self.model.module

    @property
    def n_outputs(self) -> int:
        """As the inner model."""
        return self.model.n_outputs

    @property
    def max_rows(self) -> int:
        """As the inner model."""
        return self.model.max_rows

    @property
    def max_gradient_rows(self) -> int:
        """As the inner model."""
        return gradient_rows(self.model)

    @property
    def room(self) -> int:
        """As the inner model."""
        return room(self.model)

    def relaxed(self, inputs: Inputs) -> tuple[Model, Inputs]:
        """As in `Relaxable`, wrapped alike; raises `Unsupported` where the inner model cannot."""
        if not isinstance(self.model, Relaxable):
            raise Unsupported("this model has no word embeddings, so there is nothing between ids")
        model, there = self.model.relaxed(inputs)
        # Wrapped again, or what the wrapper counts or changes would be passed by at the embeddings.
        return replace(self, model=model), there

    def outputs(self, inputs: Inputs) -> Tensor:
        """`[B, C]`: those of the inner model at `inner_inputs`."""
        return self.model.outputs(self.inner_inputs(inputs))

    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """`[B]`: that of the inner model at `inner_inputs`."""
        return self.model.target_output(self.inner_inputs(inputs), targets)
