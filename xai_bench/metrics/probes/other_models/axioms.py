"""Models made from the explained one, of which an axiom says what an explanation must be."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.model_wrapper import ModelWrapper
from xai_bench.types import Domain, Inputs, Model, Unsupported


@dataclass(frozen=True, eq=False)
class WithoutUnit(ModelWrapper):
    """The model, blind to one unit: there it is always given the mean of the background.

    Attributes:
        mean: `[*S]`, the mean of the background.
        place: where the unit lies among those of each sample, from 0 to 1.
    """

    mean: Tensor
    place: float

    def ignored(self, inputs: Inputs) -> Tensor:
        """`[B, *S]` bool: the elements of the unit."""
        number = (units.count(inputs.units) * self.place).long()
        return inputs.units == number.view(-1, *[1] * (inputs.units.dim() - 1))

    def inner_inputs(self, inputs: Inputs) -> Inputs:
        """The same samples with the mean in place of the unit."""
        return inputs.with_x(torch.where(self.ignored(inputs), self.mean.to(inputs.x), inputs.x))


@dataclass(frozen=True, eq=False)
class Difference(ModelWrapper):
    """The explained output less that of the class before it."""

    def outputs(self, inputs: Inputs) -> Tensor:
        outputs = self.model.outputs(inputs)
        return outputs - outputs.roll(1, 1)

    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        other = self.before(targets)
        return self.model.target_output(inputs, targets) - self.model.target_output(inputs, other)

    def before(self, targets: Tensor) -> Tensor:
        """`[B]`: the class whose output is taken away."""
        return (targets - 1) % self.n_outputs


@dataclass(frozen=True, eq=False)
class Symmetric(ModelWrapper):
    """The mean of the model's answers before and after two units change places.

    Attributes:
        left, right: elements of the two units, as long as each other, numbered in `[*S]`.
        domain: what is known of the inputs, the same for both units.
    """

    left: Tensor
    right: Tensor
    domain: Domain

    @classmethod
    def of(cls, model: Model, inputs: Inputs) -> Symmetric:
        """The first unit, and the first other of its size.

        Raises `Unsupported` where there is none, or samples do not share their units.
        """
        if inputs.units.stride(0) != 0:
            raise Unsupported("two units change places only where all samples share their units")
        unit, sizes = inputs.units[0].flatten(), units.sizes(inputs.units[:1])[0]
        twins = (sizes == sizes[0]).nonzero()[1:, 0]
        if not len(twins):
            raise Unsupported("no other unit has as many elements as the first")
        left, right = ((unit == u).nonzero()[:, 0] for u in (0, int(twins[0])))
        known = inputs.domain
        swapped = _swapped(known.background, left, right)
        spread = known.scale[None]
        domain = replace(
            known,
            background=torch.cat([known.background, swapped]),
            scale=((spread + _swapped(spread, left, right)) / 2)[0],
            labels=None if known.labels is None else known.labels.repeat(2),
            context={name: torch.cat([v, v]) for name, v in known.context.items()},
            truth=None,
            distribution=None,
        )
        return cls(model, left, right, domain)

    def outputs(self, inputs: Inputs) -> Tensor:
        return (self.model.outputs(inputs) + self.model.outputs(self._turned(inputs))) / 2

    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        here = self.model.target_output(inputs, targets)
        return (here + self.model.target_output(self._turned(inputs), targets)) / 2

    def evened(self, inputs: Inputs) -> Inputs:
        """The same samples where the second unit has the values of the first."""
        x = inputs.x.flatten(1).clone()
        x[:, self.right] = x[:, self.left]
        return replace(inputs, x=x.view(inputs.x.shape), domain=self.domain)

    def _turned(self, inputs: Inputs) -> Inputs:
        return inputs.with_x(_swapped(inputs.x, self.left, self.right))


def _swapped(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """`[N, *S] -> [N, *S]`: two sets of elements change places."""
    order = torch.arange(x[0].numel())
    order[left], order[right] = right, left
    return x.flatten(1)[:, order].view(x.shape)
