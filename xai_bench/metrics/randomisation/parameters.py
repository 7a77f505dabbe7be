"""Whether the explanation depends on the weights of the model and on the explained class.

A map that ignores the model fails these checks; a map that passes them may still be wrong. Maps are
compared unit by unit with Spearman's correlation, tied units sharing their mean rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.tokens import require_numbers
from xai_bench.metrics.common import pooled, total
from xai_bench.metrics.correlation import spearman
from xai_bench.metrics.probes.other_models.randomised import RandomisedMap, layer_names, randomised
from xai_bench.types import Case, Inputs, KnownScores, Unsupported

Order = Literal["top_down", "bottom_up", "independent"]


@dataclass(frozen=True)
class ParameterRandomisation:
    """Mean rank correlation of magnitudes with the maps of models with randomised layers.

    Layers are randomised from the output on (`top_down`) or from the input on (`bottom_up`), one
    more at each stage, or one at a time (`independent`). The original model has no part in the
    mean. Stages whose map is the same everywhere are left out; NaN where none is left, and for a
    map that is the same everywhere. 1 for a map that ignores the model. Costs one explanation per
    layer; stages that several orders share are explained once.
    """

    category: ClassVar[str] = "randomisation"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Adebayo+ 2018, arXiv:1810.03292"
    known_scores: ClassVar[KnownScores] = KnownScores(random=0)
    order: Order = "top_down"

    def score(self, case: Case) -> Tensor:
        """`[B]`, from -1 to 1."""
        chosen = stages(layer_names(case.model), self.order)
        maps = [case.measure(RandomisedMap(layers)) for layers in chosen]
        # The original is no stage: its similarity of 1 would flatter every explainer.
        similarities = [similarity(case.attribution, a, case.inputs) for a in maps]
        return torch.stack(similarities, dim=1).nanmean(1)


@dataclass(frozen=True)
class SmoothParameterRandomisation:
    """Parameter randomisation of maps averaged over noisy inputs, against shattered gradients.

    The noise is normal with `radius` standard deviations of each element, the same for all stages
    and explainers; padding stays. NaN as for plain randomisation. Costs `n_draws` explanations per
    layer and as many of the original model.
    """

    category: ClassVar[str] = "randomisation"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Hedström+ 2023, arXiv:2401.06465"
    known_scores: ClassVar[KnownScores] = KnownScores(random=0)
    order: Order = "top_down"
    radius: float = 0.1
    n_draws: int = 10

    def score(self, case: Case) -> Tensor:
        """`[B]`, from -1 to 1."""
        chosen = stages(layer_names(case.model), self.order)
        original, *others = [self._smooth(case, layers) for layers in ((), *chosen)]
        similarities = [similarity(original, a, case.inputs) for a in others]
        return torch.stack(similarities, dim=1).nanmean(1)

    def _smooth(self, case: Case, layers: tuple[str, ...]) -> Tensor:
        """`[B, *S]`: the mean map over the noisy inputs."""
        inputs = case.inputs
        require_numbers(inputs.domain, "a mean over noisy inputs")
        model = randomised(case, layers) if layers else None
        noise = case.rng.child("smooth_randomisation").normal(self.n_draws, *inputs.x.shape[1:])
        # The draws do not depend on the stage, so that stages differ by their weights only.
        step = (self.radius * inputs.domain.scale * noise).to(inputs.x)
        points = inputs.x[:, None] + torch.where(inputs.units < 0, 0, 1)[:, None] * step
        maps = [case.explain(inputs.with_x(x), model=model) for x in points.unbind(1)]
        return torch.stack(maps).mean(0)


@dataclass(frozen=True)
class EfficientParameterRandomisation:
    """Relative rise of the map's entropy when all layers are randomised.

    The entropy is that of a histogram of the units' values over their range, in `ceil(sqrt(U))`
    bins: a map of a random network should be more complex. 0 for a map that ignores the model. NaN
    where either map is the same everywhere, since it has no range. Costs one explanation.
    """

    category: ClassVar[str] = "randomisation"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Hedström+ 2023, arXiv:2401.06465"

    def score(self, case: Case) -> Tensor:
        """`[B]`, above -1."""
        inputs = case.inputs
        other = case.measure(RandomisedMap(tuple(layer_names(case.model))))
        before = histogram_entropy(pooled(case), inputs)
        after = histogram_entropy(units.pool(other.double(), inputs.units), inputs)
        return after / before - 1


@dataclass(frozen=True)
class RandomLogit:
    """Rank correlation with the map of another class, drawn at random per sample; signs count.

    1 for a map that ignores the class, -1 where the other class has the opposite map. NaN where
    either map is the same everywhere. Needs a classifier. Costs one explanation.
    """

    category: ClassVar[str] = "randomisation"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Sixt+ 2020, arXiv:1912.09818"
    known_scores: ClassVar[KnownScores] = KnownScores(random=0)

    def score(self, case: Case) -> Tensor:
        """`[B]`, from -1 to 1."""
        n_classes = case.model.n_outputs
        if n_classes < 2 or case.targets.is_floating_point():
            raise Unsupported("another class needs a classifier; this model has one output")
        # 1 to C - 1 classes further, so never the same one, and all others are equally likely.
        # Per sample and from the metrics' stream: a global seed would give every batch the same
        # classes.
        step = 1 + case.rng.child("random_logit").integers(n_classes - 1)
        other = case.explain(case.inputs, targets=(case.targets + step) % n_classes)
        return similarity(case.attribution, other, case.inputs, signed=True)


def stages(names: Sequence[str], order: Order) -> list[tuple[str, ...]]:
    """Which layers are randomised at each stage; `names` go from output to input."""
    n_layers = len(names)
    if order == "top_down":
        return [tuple(names[: k + 1]) for k in range(n_layers)]
    if order == "bottom_up":
        return [tuple(names[k:]) for k in reversed(range(n_layers))]
    if order == "independent":
        return [(name,) for name in names]
    raise ValueError(f"order is {order!r}; it is one of top_down, bottom_up and independent")


def similarity(left: Tensor, right: Tensor, inputs: Inputs, *, signed: bool = False) -> Tensor:
    """`[B, *S], [B, *S] -> [B]`: Spearman's correlation of the units, of their magnitudes unless
    signed; NaN where either map is the same everywhere.
    """
    maps = [units.pool(a.double(), inputs.units) for a in (left, right)]
    # Adebayo+ 2018 report both. A network with random weights turns signs at random, which would
    # hide that the places are the same.
    x, y = maps if signed else [a.abs() for a in maps]
    return spearman(x, y, units.present(inputs.units))


def histogram_entropy(values: Tensor, inputs: Inputs) -> Tensor:
    """`[B, U] -> [B]`: entropy of a histogram of the values, in nats; NaN where all are equal."""
    real, n_units = units.present(inputs.units), units.count(inputs.units)
    low = torch.where(real, values, torch.inf).amin(1)
    width = torch.where(real, values, -torch.inf).amax(1) - low
    # By the number of units, the size of the histogram's sample.
    n_bins = n_units.double().sqrt().ceil().long()
    # From 0 to 1; the largest value belongs to the last bin.
    place = (values - low[:, None]) / torch.where(width > 0, width, torch.nan)[:, None]
    column = (place.nan_to_num() * n_bins[:, None]).long().clamp(min=0)
    column = torch.minimum(column, n_bins[:, None] - 1)
    counts = values.new_zeros(len(values), int(n_bins.max())).scatter_add_(1, column, real.double())
    share = counts / n_units[:, None]
    return torch.where(width > 0, -total(torch.xlogy(share, share)), torch.nan)
