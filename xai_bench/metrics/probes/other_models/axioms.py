"""Models made from the explained one, whose explanations an axiom constrains."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.calls.model_wrapper import ModelWrapper
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
        """`[B, C]`: each class less the one before it."""
        outputs = self.model.outputs(inputs)
        # An output like any other, so that no explainer knows that it is a difference.
        return outputs - outputs.roll(1, 1)

    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """`[B]`: the target output less that of the class before."""
        other = self.before(targets)
        return self.model.target_output(inputs, targets) - self.model.target_output(inputs, other)

    def before(self, targets: Tensor) -> Tensor:
        """`[B]`: the class whose output is subtracted; the last one for class 0."""
        return (targets - 1) % self.n_outputs


@dataclass(frozen=True, eq=False)
class Symmetric(ModelWrapper):
    """The mean of the model's outputs before and after two units change places.

    Attributes:
        left: the elements of one unit, numbered in the flattened `[*S]`.
        right: as many elements of the other unit.
        domain: that of the inputs, made symmetric in both units.
    """

    left: Tensor
    right: Tensor
    domain: Domain

    @classmethod
    def of(cls, model: Model, inputs: Inputs) -> Symmetric:
        """The model made symmetric in the first unit and the first other of its size.

        Raises `Unsupported` where there is none, or samples do not share their units.
        """
        if inputs.units.stride(0) != 0:
            raise Unsupported("two units change places only where all samples share their units")
        unit, sizes = inputs.units[0].flatten(), units.sizes(inputs.units[:1])[0]
        # Units of different size, such as columns of different categories, cannot change places.
        twins = (sizes == sizes[0]).nonzero()[1:, 0]
        if not len(twins):
            raise Unsupported("no other unit has as many elements as the first")
        left, right = ((unit == u).nonzero()[:, 0] for u in (0, int(twins[0])))
        return cls(model, left, right, _symmetric(inputs.domain, left, right))

    def outputs(self, inputs: Inputs) -> Tensor:
        """`[B, C]`: mean of the outputs in both orders."""
        return (self.model.outputs(inputs) + self.model.outputs(self._swapped(inputs))) / 2

    def target_output(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """`[B]`: mean of the target outputs in both orders."""
        straight = self.model.target_output(inputs, targets)
        return (straight + self.model.target_output(self._swapped(inputs), targets)) / 2

    def evened(self, inputs: Inputs) -> Inputs:
        """The same samples with the values of the first unit in the second one, too."""
        x = inputs.x.flatten(1).clone()
        x[:, self.right] = x[:, self.left]
        return replace(inputs, x=x.view(inputs.x.shape), domain=self.domain)

    def _swapped(self, inputs: Inputs) -> Inputs:
        return inputs.with_x(_swapped(inputs.x, self.left, self.right))


def _symmetric(domain: Domain, left: Tensor, right: Tensor) -> Domain:
    """The domain with every background row in both orders, and one scale for both units."""
    swapped = _swapped(domain.background, left, right)
    scale = domain.scale[None]
    return replace(
        domain,
        background=torch.cat([domain.background, swapped]),
        scale=((scale + _swapped(scale, left, right)) / 2)[0],
        labels=None if domain.labels is None else domain.labels.repeat(2),
        context={name: torch.cat([v, v]) for name, v in domain.context.items()},
        truth=None,
        distribution=None,
    )


def _swapped(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """`[N, *S] -> [N, *S]`: two sets of elements change places."""
    order = torch.arange(x[0].numel())
    order[left], order[right] = right, left
    return x.flatten(1)[:, order].view(x.shape)
