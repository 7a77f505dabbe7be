"""Models that compute the same function in another way."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from xai_bench.core.calls.model_outputs import own_outputs
from xai_bench.core.calls.model_wrapper import ModelWrapper
from xai_bench.core.tokens import require_numbers
from xai_bench.metrics.common import once_per_cell
from xai_bench.types import Case, Domain, Inputs, Model, Unsupported

_SUMS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose output is a weighted sum of the hidden units before them."""

_SHARES = (1.5, -0.5)
"""What each copy keeps of a unit's outgoing weight: they add up to 1, and differ in sign."""


def split_units(case: Case) -> Model:
    """The model with two copies of every hidden unit; made once per explainer and cell.

    The outgoing weights of the copies are 1.5 and -0.5 times those of the unit. Raises
    `Unsupported` where there is no `nn.Sequential` of linear and convolutional layers, or where the
    outputs change, as they do where a module between these layers mixes their units.
    """
    return once_per_cell(case, split_units, lambda: _with_split_units(case))


def _with_split_units(case: Case) -> Model:
    split = copy.deepcopy(case.model)
    if split.module is None:
        raise Unsupported("splitting hidden units needs a torch module; this model has none")
    chains = [chain for chain in _chains(split.module) if len(chain) > 1]
    if not chains:
        raise Unsupported(
            "splitting hidden units needs an nn.Sequential with two or more linear or "
            "convolutional layers; this model has none"
        )
    for chain in chains:
        for layer, following in pairwise(chain):
            _split(layer, following)
    _require_equal(case.model, split, case.inputs)
    return split


def _chains(module: nn.Module) -> Iterator[list[nn.Module]]:
    """The layers with weights of every outermost `nn.Sequential`, in order."""
    if not isinstance(module, nn.Sequential):
        for part in module.children():
            yield from _chains(part)
        return
    layers = [layer for layer in _leaves(module) if list(layer.parameters())]
    # A grouped convolution ties input to output channels, so that copies would change its groups.
    if all(isinstance(m, _SUMS) and getattr(m, "groups", 1) == 1 for m in layers):
        yield layers


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """The modules of nested `nn.Sequential`s, in order."""
    for part in module.children():
        if isinstance(part, nn.Sequential):
            yield from _leaves(part)
        else:
            yield part


def _split(layer: nn.Module, following: nn.Module) -> None:
    """Copy every unit between two layers that follow each other."""
    for name, old in list(layer.named_parameters()):
        _put(layer, name, torch.cat([old, old]))
    # Incoming weights are copied, outgoing ones divided: the sum of both copies is the unit.
    weight = following.get_parameter("weight")
    _put(following, "weight", torch.cat([share * weight for share in _SHARES], dim=1))


def _put(layer: nn.Module, name: str, value: Tensor) -> None:
    setattr(layer, name, nn.Parameter(value.detach(), requires_grad=False))


@torch.no_grad()
def _require_equal(model: Model, split: Model, inputs: Inputs) -> None:
    """Raises `Unsupported` where the outputs differ by more than rounding."""
    expected = own_outputs(model, inputs)
    reason = "splitting hidden units changes this model: its layers do not follow each other simply"
    try:
        outputs = own_outputs(split, inputs)
    except RuntimeError as error:
        raise Unsupported(reason) from error
    # 1.5 w - 0.5 w is w but for rounding, which many layers add up.
    tolerance = 1e3 * torch.finfo(expected.dtype).eps * expected.abs().max().clamp(min=1)
    if (outputs - expected).abs().max() > tolerance:
        raise Unsupported(reason)


@dataclass(frozen=True, eq=False)
class Shifted(ModelWrapper):
    """The model of inputs that have a constant added: it subtracts the constant first.

    Attributes:
        shift: the constant, in standard deviations of each element; padding stays.
        domain: that of the shifted inputs.
    """

    shift: float
    domain: Domain

    @classmethod
    def of(cls, model: Model, domain: Domain, shift: float) -> Shifted:
        """The model with background, distribution and truth shifted as the inputs are."""
        require_numbers(domain, "a shift of the inputs")
        step, distribution, truth = shift * domain.scale, domain.distribution, domain.truth

        def shifted_truth(inputs: Inputs, targets: Tensor) -> Tensor:
            assert truth is not None
            return truth(replace(inputs, x=_shifted(inputs, -shift), domain=domain), targets)

        shifted = replace(
            domain,
            background=domain.background + step.to(domain.background),
            distribution=None
            if distribution is None
            else _Gaussian(
                distribution.mean + step.flatten().to(distribution.mean), distribution.covariance
            ),
            truth=None if truth is None else shifted_truth,
        )
        return cls(model, shift, shifted)

    def inner_inputs(self, inputs: Inputs) -> Inputs:
        """The same samples with the constant subtracted."""
        return inputs.with_x(_shifted(inputs, -self.shift))

    def shifted(self, inputs: Inputs) -> Inputs:
        """The same samples with the constant added, in the shifted domain."""
        return replace(inputs, x=_shifted(inputs, self.shift), domain=self.domain)


@dataclass(frozen=True, eq=False)
class _Gaussian:
    """`mean [F]` and `covariance [F, F]`: a `Distribution` of inputs."""

    mean: Tensor
    covariance: Tensor


def _shifted(inputs: Inputs, shift: float) -> Tensor:
    """`[B, *S]`: x with `shift` standard deviations added; padding stays."""
    step = (shift * inputs.domain.scale).to(inputs.x)
    return inputs.x + torch.where(inputs.units < 0, 0, step)
