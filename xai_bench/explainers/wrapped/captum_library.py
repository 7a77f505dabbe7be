"""The one file that imports captum: its methods, called on the explained scalar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.core import units
from xai_bench.core.calls.model_outputs import row_batches
from xai_bench.explainers.wrapped.common import Sample, Scalar, not_installed, undisturbed
from xai_bench.types import Inputs, Model, Unsupported

NO_OPTIONS: Mapping[str, Any] = {}


def method(name: str) -> Any:
    """A class of `captum.attr`; raises `Unsupported` where captum is not installed."""
    try:
        import captum.attr
    except ImportError:
        raise not_installed("captum") from None
    return getattr(captum.attr, name)


def in_batches(name: str, model: Model, inputs: Inputs, targets: Tensor) -> Tensor:
    """`[B, *S]`: a method that passes every sample once."""
    build = method(name)
    return _batches(lambda scalar, x: build(scalar).attribute(x), model, inputs, targets)


def guided_gradcam(model: Model, inputs: Inputs, targets: Tensor, layer: nn.Module) -> Tensor:
    """`[B, *S]`: captum's two parts of the method, multiplied here as captum does.

    A layer is also given the rows that only fill up a batch, which captum would multiply as well.
    """
    cam, guided, attribution = map(method, ("LayerGradCam", "GuidedBackprop", "LayerAttribution"))

    def product(scalar: Scalar, x: Tensor) -> Tensor:
        heat = cam(scalar, layer).attribute(x, relu_attributions=True)[: len(x)]
        # Interpolation lays the axes of the layer over those of x, and has to find as many.
        if heat.dim() != x.dim():
            raise Unsupported("Grad-CAM needs a convolution with the axes of the input")
        large = attribution.interpolate(heat, tuple(x.shape[2:]))
        result: Tensor = guided(scalar).attribute(x) * large
        return result

    return _batches(product, model, inputs, targets)


def _batches(
    attribute: Callable[[Scalar, Tensor], Tensor], model: Model, inputs: Inputs, targets: Tensor
) -> Tensor:
    """`[B, *S]`: at most `max_rows` at a time."""
    parts = []
    for rows in row_batches(model, len(inputs), gradient=True):
        part = inputs.take(rows)
        with undisturbed(model.module):
            x = part.x.detach().clone().requires_grad_()
            parts.append(attribute(Scalar(model, part, targets[rows]), x).detach())
    return torch.where(inputs.units < 0, 0, torch.cat(parts).to(inputs.x.dtype))


def masked(
    name: str, sample: Sample, starts: Tensor, options: Mapping[str, Any] = NO_OPTIONS
) -> Tensor:
    """`starts [R, *S] -> [*S]`: a method with a `feature_mask`, one feature per unit, averaged over
    the baselines.

    Captum gives every element of a feature the attribution of the whole; here it is shared.
    """
    scalar = WithoutPadding(sample)
    explainer, mask = method(name)(scalar), scalar.units[None]
    attributions = [
        explainer.attribute(scalar.x, baselines=start, feature_mask=mask, **options).mean(0)
        for start in scalar.of(starts)[:, None]
    ]
    return sample.spread(scalar.per_unit(torch.stack(attributions).mean(0)))


def permuted(sample: Sample, others: Tensor) -> Tensor:
    """`others [n, *S] -> [*S]`: captum permutes within a batch. Here a batch is the sample and one
    other row, so that a permutation is a swap; the mean of the sample's own attributions is taken.
    """
    scalar = WithoutPadding(sample)
    explainer, mask = method("FeaturePermutation")(scalar), scalar.units[None]
    attributions = [
        explainer.attribute(torch.cat([scalar.x, other]), feature_mask=mask)[0]
        for other in scalar.of(others)[:, None]
    ]
    return sample.spread(scalar.per_unit(torch.stack(attributions).mean(0)))


class WithoutPadding:
    """The scalar as a function of the elements that are not padding: `[n, D] -> [n]`.

    Captum would take the unit -1 of padding for a feature.
    """

    def __init__(self, sample: Sample) -> None:
        self.real = (sample.units >= 0).nonzero()[:, 0]
        self.units = sample.units[self.real]
        self.scalar, self.whole = sample.scalar, sample.x
        self.x = self.of(self.whole)

    def of(self, points: Tensor) -> Tensor:
        """`points [n, *S] -> [n, D]`."""
        return points.flatten(1)[:, self.real]

    def per_unit(self, values: Tensor) -> Tensor:
        """`[D] -> [U]`: the value that all elements of a unit have."""
        # Captum repeats a feature's value at each of its elements; the mean is that value again.
        pooled = units.pool(values.double()[None], self.units[None])
        return (pooled / units.sizes(self.units[None]))[0]

    def __call__(self, x: Tensor) -> Tensor:
        points = self.whole.flatten(1).expand(len(x), -1).clone()
        points[:, self.real] = x.to(points.dtype)
        values: Tensor = self.scalar(points.view(len(x), *self.whole.shape[1:]))
        return values


def lrp(model: Model, inputs: Inputs, targets: Tensor) -> Tensor:
    """`[B, *S]`, by captum's own rule for every layer.

    Raises `Unsupported` where a layer has none, or is not between x and the output.
    """
    assert model.module is not None
    with undisturbed(model.module):
        _rule_for_flatten(model.module)
        try:
            return in_batches("LRP", model, inputs, targets)
        except TypeError:
            leaves = {type(m).__name__ for m in model.module.modules() if not [*m.children()]}
            raise Unsupported(
                f"captum's LRP has no rule for one of the layers {', '.join(sorted(leaves))}"
            ) from None
        except RuntimeError as error:
            if "require gradient" not in str(error):
                raise
            raise Unsupported(
                "captum's LRP hooks every layer, and one does not lie between x and the output"
            ) from None


def _rule_for_flatten(module: nn.Module) -> None:
    """Captum has no rule for this layer, though it computes nothing: epsilon, as for pooling."""
    method("LRP")
    from captum.attr._utils.lrp_rules import EpsilonRule

    for layer in module.modules():
        if isinstance(layer, nn.Flatten):
            layer.rule = EpsilonRule()
