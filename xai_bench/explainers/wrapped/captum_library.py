"""The one file that imports captum: its methods, called on the scalar we explain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.core import units
from xai_bench.explainers.wrapped.common import Sample, Scalar, missing, undisturbed
from xai_bench.types import Inputs, Model, Unsupported

NOTHING: Mapping[str, Any] = {}


def method(name: str) -> Any:
    """A class of `captum.attr`."""
    try:
        import captum.attr
    except ImportError:
        raise missing("captum") from None
    return getattr(captum.attr, name)


def at_once(name: str, model: Model, inputs: Inputs, targets: Tensor) -> Tensor:
    """`[B, *S]`: a method that passes every sample once."""
    made = method(name)
    return _batches(lambda scalar, x: made(scalar).attribute(x), model, inputs, targets)


def guided_gradcam(model: Model, inputs: Inputs, targets: Tensor, layer: nn.Module) -> Tensor:
    """`[B, *S]`: captum's two parts of the method, multiplied here as captum does.

    A layer sees the rows that only fill up a batch, too, and captum would multiply those as well.
    """
    cam, guided, attribution = map(method, ("LayerGradCam", "GuidedBackprop", "LayerAttribution"))

    def ask(scalar: Scalar, x: Tensor) -> Tensor:
        seen = cam(scalar, layer).attribute(x, relu_attributions=True)[: len(x)]
        if seen.dim() != x.dim():
            raise Unsupported("Grad-CAM needs a convolution with the axes of the input")
        wide = attribution.interpolate(seen, tuple(x.shape[2:]))
        product: Tensor = guided(scalar).attribute(x) * wide
        return product

    return _batches(ask, model, inputs, targets)


def _batches(
    ask: Callable[[Scalar, Tensor], Tensor], model: Model, inputs: Inputs, targets: Tensor
) -> Tensor:
    """`[B, *S]`: at most `max_rows` at a time."""
    found = []
    for rows in torch.arange(len(inputs)).split(model.max_rows):
        part = inputs.take(rows)
        with undisturbed(model.module):
            x = part.x.detach().clone().requires_grad_()
            found.append(ask(Scalar(model, part, targets[rows]), x).detach())
    return torch.where(inputs.units < 0, 0, torch.cat(found).to(inputs.x.dtype))


def masked(
    name: str, sample: Sample, starts: Tensor, options: Mapping[str, Any] = NOTHING
) -> Tensor:
    """`starts [R, *S] -> [*S]`: a method with a `feature_mask`, one feature per unit, averaged over
    the baselines. Padding is not shown to captum, which would take -1 for a feature.

    Captum gives every element of a feature the credit of the whole; here it is shared.
    """
    game = Real(sample)
    made, mask = method(name)(game), game.units[None]
    found = [
        made.attribute(game.x, baselines=start, feature_mask=mask, **options).mean(0)
        for start in game.of(starts)[:, None]
    ]
    return sample.spread(game.per_unit(torch.stack(found).mean(0)))


def permuted(sample: Sample, others: Tensor) -> Tensor:
    """`others [n, *S] -> [*S]`: captum permutes within a batch. Here a batch is the sample and one
    other row, so that a permutation is a swap; the mean of the sample's own credits is taken.
    """
    game = Real(sample)
    made, mask = method("FeaturePermutation")(game), game.units[None]
    found = [
        made.attribute(torch.cat([game.x, other]), feature_mask=mask)[0]
        for other in game.of(others)[:, None]
    ]
    return sample.spread(game.per_unit(torch.stack(found).mean(0)))


class Real:
    """The scalar as a function of the elements that are not padding: `[n, D] -> [n]`."""

    def __init__(self, sample: Sample) -> None:
        self.real = (sample.units >= 0).nonzero()[:, 0]
        self.units = sample.units[self.real]
        self.scalar, self.whole = sample.scalar, sample.x
        self.x = self.of(self.whole)

    def of(self, points: Tensor) -> Tensor:
        """`[n, *S] -> [n, D]`."""
        return points.flatten(1)[:, self.real]

    def per_unit(self, credits: Tensor) -> Tensor:
        """`[D] -> [U]`: the credit that all elements of a unit have."""
        pooled = units.pool(credits.double()[None], self.units[None])
        return (pooled / units.sizes(self.units[None]))[0]

    def __call__(self, x: Tensor) -> Tensor:
        points = self.whole.flatten(1).expand(len(x), -1).clone()
        points[:, self.real] = x.to(points.dtype)
        found: Tensor = self.scalar(points.view(len(x), *self.whole.shape[1:]))
        return found


def lrp(model: Model, inputs: Inputs, targets: Tensor) -> Tensor:
    """`[B, *S]`, by captum's own rule for every layer."""
    assert model.module is not None
    with undisturbed(model.module):
        _rule_for_flatten(model.module)
        try:
            return at_once("LRP", model, inputs, targets)
        except TypeError:
            leaves = {type(m).__name__ for m in model.module.modules() if not [*m.children()]}
            raise Unsupported(
                f"captum's LRP has no rule for one of the layers {', '.join(sorted(leaves))}"
            ) from None
        except RuntimeError as error:
            if "require gradient" not in str(error):
                raise
            raise Unsupported(
                "captum's LRP hooks every layer, and one is not on the way from x to the output"
            ) from None


def _rule_for_flatten(module: nn.Module) -> None:
    """Captum has no rule for this layer, though it computes nothing: epsilon, as for pooling."""
    method("LRP")
    from captum.attr._utils.lrp_rules import EpsilonRule

    for layer in module.modules():
        if isinstance(layer, nn.Flatten):
            layer.rule = EpsilonRule()
