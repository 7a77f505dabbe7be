"""What makes a point a counterfactual, and how far away it is.

A classifier's counterfactual has another class than the target; that of a regressor lies on the
other side of the median output of the background. Distances are sums of absolute changes in median
absolute deviations of the background, in which another category counts 1 (Wachter+ 2017, Mothilal+
2020); in texts, numbers of tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xai_bench.core.calls import model_outputs
from xai_bench.types import Inputs, Model


def threshold_of(model: Model, background: Inputs) -> Tensor | None:
    """`[]`: the median output of a regressor, which takes `N` rows; None for a classifier.

    It splits a regressor's outputs into two classes of equal size.
    """
    if model.n_outputs > 1:
        return None
    return model_outputs.outputs(model, background).flatten().quantile(0.5)


def classes(outputs: Tensor, threshold: Tensor | None) -> Tensor:
    """`[..., C] -> [...]` long: the class; of a regressor, 1 above the threshold and else 0."""
    # Above, not at: a background of equal outputs then has one class only.
    return outputs.argmax(-1) if threshold is None else (outputs[..., 0] > threshold).long()


def margin(outputs: Tensor, present: Tensor, threshold: Tensor | None) -> Tensor:
    """`outputs [B, C]`, the present class `[B]` to `[B]`: how far the output is from another class;
    negative once it has one.
    """
    if threshold is not None:
        return (outputs[:, 0] - threshold) * (2 * present - 1)
    is_present = torch.nn.functional.one_hot(present, outputs.shape[1]).bool()
    output = outputs.gather(1, present[:, None])[:, 0]
    # The largest of the others, whichever it is: a counterfactual may take any other class.
    return output - torch.where(is_present, -torch.inf, outputs).amax(1)


def prices(inputs: Inputs) -> Tensor:
    """`[*S]` float64: what a change of 1 in each element adds to a distance.

    One over the median absolute deviation, or over the standard deviation where most background
    rows agree; 1/2 for parts of a category, two of which change together. 1 where x holds ids.
    """
    if inputs.domain.discrete:
        return torch.ones_like(inputs.x[0], dtype=torch.float64)
    rows, rules = inputs.domain.background.double(), inputs.domain.actionability
    # Robust, as Wachter+ 2017 argue: one outlier must not make a column cheap to change.
    spread = (rows - rows.quantile(0.5, dim=0)).abs().quantile(0.5, dim=0)
    price = 1 / torch.where(spread > 0, spread, inputs.domain.scale.double())
    return price if rules is None else torch.where(rules.codes, 0.5, price)


def changes(inputs: Inputs, points: Tensor, price: Tensor) -> Tensor:
    """`[B, K, *S] -> [B, K, *S]` float64: the share of every element in the distance from x.

    Another token counts 1, whichever it is.
    """
    size = (points.double() - inputs.x.double()[:, None]).abs()
    size = size.clamp(max=1) if inputs.domain.discrete else size * price
    return torch.where((inputs.units < 0)[:, None], 0, size)


def distance(inputs: Inputs, points: Tensor, price: Tensor) -> Tensor:
    """`[B, K, *S] -> [B, K]` float64; summed one by one: the same bits in any batch."""
    return changes(inputs, points, price).flatten(2).cumsum(2)[..., -1]
