"""Small exact worlds, one for every kind of input, on which components are tried.

float64 throughout; nothing is trained. `linear` is the one whose scores are worked out by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from xai_bench.core.seeds import Seeds
from xai_bench.evaluation.preparation import background
from xai_bench.models.base import Explained, TorchPredictor
from xai_bench.models.targets import PredictedLogit
from xai_bench.types import (
    Actionability,
    Case,
    Cost,
    Domain,
    Explainer,
    Explanation,
    Inputs,
    Kind,
    Model,
    ModelVariants,
    Rng,
    Unsupported,
)


@dataclass(frozen=True, eq=False)
class World:
    """A model, inputs and targets on which components are tried.

    Attributes:
        targets: `[B]` long, the class of the largest output.
        variants: other models, for metrics that retrain; None where they cannot be trained.
    """

    model: Explained
    inputs: Inputs
    targets: Tensor
    variants: ModelVariants | None = None

    @property
    def rng(self) -> Rng:
        """The explainers' stream."""
        return Seeds(0).stream("explain", samples=self.inputs.index)

    def take(self, rows: Tensor) -> World:
        """The same world with some of its samples."""
        return World(self.model, self.inputs.take(rows), self.targets[rows], self.variants)

    def background(self) -> Inputs:
        """The background rows as inputs, for explainers that are fitted."""
        return background(self.inputs)

    def explain(self, explainer: Explainer) -> Tensor:
        """`[B, *S]`: the explainer's map of the inputs and targets."""
        explanation = explainer.explain(self.model, self.inputs, self.targets, rng=self.rng)
        if not isinstance(explanation, Explanation):
            kind = type(explanation).__name__
            raise ValueError(f"explain returned {kind}; an Explanation(attribution) is expected")
        return explanation.attribution

    def alternatives(self) -> Tensor:
        """`[B, M, *S]`: counterfactuals, up to three background rows, not all of another class.

        For every other sample the last one is NaN, as if it had not been found.
        """
        inputs = self.inputs
        rows = inputs.domain.background[:3].expand(len(inputs), -1, *inputs.x.shape[1:])
        points = torch.where((inputs.units < 0)[:, None], inputs.x[:, None], rows)
        # By the sample's number, so that it is the same in every batch.
        missing = (inputs.index % 2 == 1)[:, None] & (torch.arange(points.shape[1]) == 2)
        missing = missing.view(*missing.shape, *[1] * (inputs.x.dim() - 1))
        return torch.where(missing, torch.nan, points)

    def case(
        self,
        attribution: Tensor,
        kind: Kind = "contribution",
        explainer: Explainer | None = None,
        truth: Tensor | None = None,
        shared: dict[object, object] | None = None,
        counterfactuals: Tensor | None = None,
    ) -> Case:
        """All that a metric may look at, for one map `attribution [B, *S]`.

        `explainer` computes the maps that a metric asks for beside it. The standard error of every
        element is 1. `counterfactuals [B, M, *S]` are by default those of `alternatives`.
        """
        explanation = Explanation(
            attribution,
            standard_error=torch.ones_like(attribution),
            counterfactuals=self.alternatives() if counterfactuals is None else counterfactuals,
        )
        nothing = torch.zeros(len(self.inputs), dtype=torch.float64)
        return Case(
            model=self.model,
            inputs=self.inputs,
            targets=self.targets,
            explanation=explanation,
            kind=kind,
            rng=Seeds(0).stream("metric", samples=self.inputs.index),
            explain=_Explain(self, explainer),
            cost=Cost(nothing, nothing, nothing, nothing),
            truth=truth,
            labels=self.targets,
            groups={"group": torch.arange(len(self.inputs)) % 2},
            variants=self.variants,
            shared={} if shared is None else shared,
        )


@dataclass(frozen=True, eq=False)
class _Explain:
    """What a case explains other inputs with; `Unsupported` where there is no explainer."""

    world: World
    explainer: Explainer | None

    def __call__(
        self,
        inputs: Inputs,
        *,
        repeat: int = 0,
        model: Model | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        if self.explainer is None:
            raise Unsupported("this metric explains other inputs: give the case an explainer")
        rng = Seeds(0).stream("explain", samples=inputs.index)
        rng = rng.child("repeat", repeat) if repeat else rng
        if targets is None:  # those of the same samples, which may come in another order
            row = inputs.index[:, None].eq(self.world.inputs.index).int().argmax(1)
            targets = self.world.targets[row]
        model = model or self.world.model
        return self.explainer.explain(model, inputs, targets, rng=rng).attribution


class Linear(nn.Module):
    """A linear model of one output, `w . x + bias`."""

    def __init__(self, weight: Tensor, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """`[B, *S] -> [B, 1]`."""
        return (x.flatten(1) @ self.weight + self.bias)[:, None]


def world(
    module: nn.Module,
    x: Tensor,
    units: Tensor,
    background: Tensor,
    context: Mapping[str, Tensor] | None = None,
) -> World:
    """A world of a module, in float64, and inputs `x [B, *S]`.

    `units` are `[*S]`, shared by all samples, or `[B, *S]`. `background [N, *S]` gives the scale;
    its labels are made up.
    """
    module, context = module.double(), context or {}
    with torch.no_grad():
        outputs = module(x, **context)
    if units.dim() == x.dim() - 1:
        units = units.expand(len(x), *units.shape)
    scale = background.std(0, correction=0)
    domain = Domain(
        background=background,
        # A column that never changes has no deviation to be measured in.
        scale=torch.where(scale > 0, scale, 1.0),
        # Every class occurs, for explainers that read labels; none of them has to be right.
        labels=torch.arange(len(background)) % max(outputs.shape[1], 2),
        context={k: v[:1].expand(len(background), *v.shape[1:]) for k, v in context.items()},
    )
    inputs = Inputs(x=x, units=units, index=torch.arange(len(x)), domain=domain, context=context)
    model = Explained(TorchPredictor(module, outputs.shape[1]), PredictedLogit(), max_rows=64)
    return World(model, inputs, outputs.argmax(1))


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, float64, the same for the same seed."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear(weight: list[float], x: Tensor | None = None, n: int = 3) -> World:
    """`f(x) = w . x` with one output; `x` defaults to ones, so contributions to zero are `w`."""
    w = torch.tensor(weight, dtype=torch.float64)
    x = torch.ones(n, len(w), dtype=torch.float64) if x is None else x
    return world(Linear(w), x, torch.arange(len(w)), normal(32, len(w), seed=1))


def seeded(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 with normal weights of standard deviation 0.4."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, dtype=torch.float64, generator=generator) * 0.4
            )
    return module


def unrestricted(codes: Tensor) -> Actionability:
    """Rules of actionability that allow everything; `codes [F]` bool, parts of categories."""
    no, zero = torch.zeros_like(codes), torch.zeros(len(codes), dtype=torch.float64)
    lowest, highest = zero - torch.inf, zero + torch.inf
    return Actionability(
        no.clone(), no.clone(), no.clone(), lowest, highest, codes, zero, zero.clone()
    )


def tabular() -> World:
    """Seven columns, of which 3-5 are one sensitive category in one-hot form: five units.

    The first column never changes, the next only rises, the third has bounds, the last is on a
    grid.
    """
    net = seeded(nn.Sequential(nn.Linear(7, 12), nn.ReLU(), nn.Linear(12, 3)))
    units = torch.tensor([0, 1, 2, 3, 3, 3, 4])

    def rows(n: int, seed: int) -> Tensor:
        x = normal(n, 7, seed=seed)
        x[:, 3:6] = nn.functional.one_hot(torch.arange(n) % 3, 3).double()
        return x

    free = world(net, rows(6, 1), units, rows(24, 2))
    rules = unrestricted(codes=units == 3)
    rules.fixed[0] = rules.rising[1] = True
    rules.lowest[2], rules.highest[2], rules.step[6] = -1, 1, 0.5
    domain = replace(free.inputs.domain, sensitive=units == 3, actionability=rules)
    return replace(free, inputs=replace(free.inputs, domain=domain))


def image() -> World:
    """Three channels, 8 x 8 pixels in sixteen patches of 2 x 2; max-pooling inside."""
    net = seeded(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(6, 3),
        )
    )  # fmt: skip
    grid = torch.arange(16).view(4, 4).repeat_interleave(2, 0).repeat_interleave(2, 1)
    return world(net, normal(5, 3, 8, 8, seed=1), grid.expand(3, 8, 8), normal(16, 3, 8, 8, seed=2))


class MaskedMean(nn.Module):
    """Token embeddings, averaged where the mask is 1, then a small network."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`[B, T, D], [B, T] -> [B, 2]`."""
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        out: Tensor = self.net(mean)
        return out


def text() -> World:
    """Embeddings of up to six tokens, padded; a token is a unit; the mask travels in `context`."""
    lengths = torch.tensor([6, 3, 4, 5])
    position = torch.arange(6)
    mask = position < lengths[:, None]
    units = torch.where(mask, position, -1)[..., None].expand(4, 6, 4).contiguous()
    # Zeros in padding, as embeddings have them: whoever reads padding reads no noise.
    x = normal(4, 6, 4, seed=1) * mask[..., None]
    return world(seeded(MaskedMean()), x, units, normal(16, 6, 4, seed=2), {"mask": mask.double()})


def series() -> World:
    """Two channels, 12 steps; a unit is a segment of three steps in one channel: eight units."""
    net = seeded(
        nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    )
    units = torch.arange(4).repeat_interleave(3) + 4 * torch.arange(2)[:, None]
    return world(net, normal(5, 2, 12, seed=1), units, normal(16, 2, 12, seed=2))


class GatedChannels(nn.Module):
    """`x [B, 4]` multiplies the channels of a convolution of the image in `context`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """`[B, 4], [B, 1, H, W] -> [B, 2]`."""
        features = self.conv(image).relu() * x[:, :, None, None]
        out: Tensor = self.head(features.mean((2, 3)))
        return out


def gates() -> World:
    """A gate view: four channels of a network switched on, absence is 0."""
    x = torch.ones(4, 4, dtype=torch.float64)
    background = torch.zeros(1, 4, dtype=torch.float64)
    return world(
        seeded(GatedChannels()),
        x,
        torch.arange(4),
        background,
        {"image": normal(4, 1, 6, 6, seed=1)},
    )


OFFERS: Mapping[str, frozenset[str]] = {
    world: frozenset({"gradient", "module", "labels", "one_call", *offers.split()})
    for world, offers in {
        "tabular": "relu hidden_layer captum_lrp table ordered shared_units no_context background",
        "image": "relu hidden_layer captum_lrp convolution image space shared_units no_context "
        "background",
        "text": "hidden_layer captum_lrp tokens space background",
        "series": "relu hidden_layer convolution space shared_units no_context background",
        "gates": "relu shared_units",
    }.items()
}
"""World -> which of `EXPLAINER_NEEDS` it meets. All models are networks: nothing can be read."""

WORLDS = {"tabular": tabular, "image": image, "text": text, "series": series, "gates": gates}

__all__ = ["WORLDS", "World", "linear", "normal", "world"]
