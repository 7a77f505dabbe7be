"""The same function written differently: an explanation of the function stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from xai_bench.core.model_wrapper import ModelWrapper
from xai_bench.core.tokens import require_numbers
from xai_bench.types import Case, Domain, Inputs, Model, Unsupported

_SUMS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_SHARES = (1.5, -0.5)


def split_units(case: Case) -> Model:
    """The model with two copies of every hidden unit, whose outgoing weights are 1.5 and -0.5 times
    what they were; made once per explainer and cell.

    Raises `Unsupported` where no `nn.Sequential` of linear and convolutional layers is found, or
    where the outputs change, as they do if what lies between these layers mixes their units.
    """
    if split_units not in case.cell:
        made = copy.deepcopy(case.model)
        if made.module is None:
            raise Unsupported("splitting hidden units needs a torch module; this model has none")
        chains = [chain for chain in _chains(made.module) if len(chain) > 1]
        if not chains:
            raise Unsupported(
                "splitting hidden units needs an nn.Sequential with two or more linear or "
                "convolutional layers; this model has none"
            )
        for chain in chains:
            for left, right in pairwise(chain):
                _split(left, right)
        _require_equal(case.model, made, case.inputs)
        case.cell[split_units] = made
    found: Model = case.cell[split_units]
    return found


def _chains(module: nn.Module) -> Iterator[list[nn.Module]]:
    """The layers with weights of every outermost `nn.Sequential`, in order."""
    if not isinstance(module, nn.Sequential):
        for part in module.children():
            yield from _chains(part)
        return
    layers = [layer for layer in _leaves(module) if list(layer.parameters())]
    if all(isinstance(m, _SUMS) and getattr(m, "groups", 1) == 1 for m in layers):
        yield layers


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    for part in module.children():
        if isinstance(part, nn.Sequential):
            yield from _leaves(part)
        else:
            yield part


def _split(left: nn.Module, right: nn.Module) -> None:
    """Write every unit between two layers twice."""
    for name, old in list(left.named_parameters()):
        _put(left, name, torch.cat([old, old]))
    weight = right.get_parameter("weight")
    _put(right, "weight", torch.cat([share * weight for share in _SHARES], dim=1))


def _put(layer: nn.Module, name: str, value: Tensor) -> None:
    setattr(layer, name, nn.Parameter(value.detach(), requires_grad=False))


@torch.no_grad()
def _require_equal(model: Model, made: Model, inputs: Inputs) -> None:
    expected = model.outputs(inputs)
    reason = "splitting hidden units changes this model: its layers do not follow each other simply"
    try:
        found = made.outputs(inputs)
    except RuntimeError as error:
        raise Unsupported(reason) from error
    tolerance = 1e3 * torch.finfo(expected.dtype).eps * expected.abs().max().clamp(min=1)
    if (found - expected).abs().max() > tolerance:
        raise Unsupported(reason)


@dataclass(frozen=True, eq=False)
class Shifted(ModelWrapper):
    """A model of inputs that were measured from another zero: it shifts them back first.

    Attributes:
        shift: in standard deviations of each element; padding stays.
        domain: what is known of the shifted inputs.
    """

    shift: float
    domain: Domain

    @classmethod
    def of(cls, model: Model, domain: Domain, shift: float) -> Shifted:
        require_numbers(domain, "measuring from another zero")
        step, distribution, truth = shift * domain.scale, domain.distribution, domain.truth

        def moved_truth(inputs: Inputs, targets: Tensor) -> Tensor:
            assert truth is not None
            return truth(replace(inputs, x=_moved(inputs, -shift), domain=domain), targets)

        moved = replace(
            domain,
            background=domain.background + step.to(domain.background),
            distribution=None
            if distribution is None
            else _Law(
                distribution.mean + step.flatten().to(distribution.mean), distribution.covariance
            ),
            truth=None if truth is None else moved_truth,
        )
        return cls(model, shift, moved)

    def inner_inputs(self, inputs: Inputs) -> Inputs:
        """The same samples, measured from the model's own zero."""
        return inputs.with_x(_moved(inputs, -self.shift))

    def moved(self, inputs: Inputs) -> Inputs:
        """The same samples, measured from the other zero."""
        return replace(inputs, x=_moved(inputs, self.shift), domain=self.domain)


@dataclass(frozen=True, eq=False)
class _Law:
    mean: Tensor
    covariance: Tensor


def _moved(inputs: Inputs, shift: float) -> Tensor:
    step = (shift * inputs.domain.scale).to(inputs.x)
    return inputs.x + torch.where(inputs.units < 0, 0, step)
