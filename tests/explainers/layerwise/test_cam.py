"""Class activation maps and FullGrad: by hand on one convolution, against captum and slow loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support import toy_worlds
from xai_bench.certify.toy_worlds import seeded
from xai_bench.core import units
from xai_bench.core.baselines import Constant, Marginal
from xai_bench.core.cost import Metered
from xai_bench.explainers.gradient.engine import gradient
from xai_bench.explainers.layerwise.cam import GradCAM, GradCAMPlusPlus, LayerCAM, ScoreCAM
from xai_bench.explainers.layerwise.conductance import LayerConductance
from xai_bench.explainers.layerwise.fullgrad import INPUT, FullGrad
from xai_bench.explainers.layerwise.layers import LayerActivation, LayerIntegratedGradients
from xai_bench.explainers.layerwise.recording import observe
from xai_bench.explainers.layerwise.spatial import over_channels, spatial_layer
from xai_bench.models.base import Explained
from xai_bench.models.targets import PredictedProbability
from xai_bench.types import Explainer, Unsupported

torch.set_num_threads(1)
CAMS = [GradCAM, GradCAMPlusPlus, LayerCAM]


def tensor(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(found: Tensor, expected: object) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64))


class Hand(nn.Module):
    """Series of two steps; channels `relu(x)` and `relu(3 - x)`; the output weighs every place."""

    def __init__(self, head: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 2, 1)
        self.act = nn.ReLU()
        self.head = nn.Linear(4, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(tensor([[[1.0]], [[-1.0]]]))
            self.conv.get_parameter("bias").copy_(tensor([0.0, 3.0]))
            self.head.weight.copy_(tensor(head).view(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.act(self.conv(x)).flatten(1))
        return out


X = tensor([[[1.0, 2.0]]])
HEAD = [[4.0, 0.0], [-1.0, 2.0]]
"""At X the channels give (1, 2) and (2, 1); the slopes are these weights."""


def hand(head: Sequence[Sequence[float]] = HEAD) -> toy_worlds.World:
    return toy_worlds.world(Hand(head).double(), X, torch.arange(2)[None], X)


def test_grad_cam_by_hand() -> None:
    # Mean slopes 2 and 1/2: 2 (1, 2) + (2, 1) / 2 = (3, 4.5).
    close(hand().explain(GradCAM()), [[[3.0, 4.5]]])


def test_grad_cam_cuts_off_what_is_negative() -> None:
    # Mean slopes -2 and 1/2: (-2, -4) + (1, 1/2) = (-1, -3.5).
    assert not hand([[-4.0, 0.0], [-1.0, 2.0]]).explain(GradCAM()).any()
    # Mean slopes -1/2 and 1/2: (-1/2, -1) + (1, 1/2) = (1/2, -1/2).
    close(hand([[-1.0, 0.0], [-1.0, 2.0]]).explain(GradCAM()), [[[0.5, 0.0]]])


def test_layer_cam_by_hand() -> None:
    # Positive slopes (4, 0) and (0, 2) times activations (1, 2) and (2, 1): (4, 0) + (0, 2).
    close(hand().explain(LayerCAM()), [[[4.0, 2.0]]])


def test_grad_cam_plus_plus_by_hand() -> None:
    # Both channels have mass 3. A slope g counts by g^2 / (2 g^2 + 3 g^3) = 1 / (2 + 3 g): 1/14 of
    # 4 and, in the other channel, 1/8 of 2; negative slopes and slopes of 0 count nothing.
    close(hand().explain(GradCAMPlusPlus()), [[[4 / 14 * 1 + 2 / 8 * 2, 4 / 14 * 2 + 2 / 8]]])


def test_score_cam_by_hand() -> None:
    # Channel (1, 2) opens to (0, 1), so x becomes (0, 2): channels (0, 2), (3, 1), output -3 + 2.
    # Channel (2, 1) opens to (1, 0), so x becomes (1, 0): channels (1, 0), (2, 3), output 4 + 4.
    weight = tensor([-1.0, 8.0]).softmax(0)
    close(
        hand().explain(ScoreCAM(Constant(0.0))), (weight @ tensor([[1.0, 2], [2, 1]]))[None, None]
    )


def test_a_map_of_few_places_is_enlarged_and_shared_by_the_channels_of_x() -> None:
    # One place per two pixels: from (p, q) linearly to (p, 3p/4 + q/4, p/4 + 3q/4, q), halved.
    net = nn.Sequential(
        nn.Conv1d(2, 1, 2, stride=2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(2, 1)
    )
    world = toy_worlds.world(
        seeded(net),
        toy_worlds.normal(3, 2, 4, seed=3).abs(),
        torch.arange(4).expand(2, 4),
        toy_worlds.normal(5, 2, 4),
    )
    with torch.no_grad():
        net.get_parameter("0.weight").fill_(1.0)
        net.get_parameter("3.weight").copy_(tensor([[3.0, 1.0]]))
        p, q = (2 * world.inputs.x.unflatten(2, (2, 2)).sum((1, 3))).unbind(1)
    expected = torch.stack([p, 0.75 * p + 0.25 * q, 0.25 * p + 0.75 * q, q], dim=1)
    found = world.explain(GradCAM())
    close(found, (expected / 2)[:, None].expand(3, 2, 4))
    close(units.pool(found, world.inputs.units), expected)


@pytest.mark.parametrize("layer", ["0", "1", "2", "3", "4"])
def test_grad_cam_agrees_with_captum(layer: str) -> None:
    attr = pytest.importorskip("captum.attr")
    world = toy_worlds.image()
    part = world.model.module.get_submodule(layer)
    cam = attr.LayerGradCam(world.model.module, part)
    few = cam.attribute(
        world.inputs.x.clone().requires_grad_(), world.targets, relu_attributions=True
    )
    large = functional.interpolate(few, size=(8, 8), mode="bilinear", align_corners=False)
    close(world.explain(GradCAM(layer)), large.detach().expand(5, 3, 8, 8) / 3)


def test_the_default_is_the_last_convolution_with_its_activation() -> None:
    world = toy_worlds.image()
    for cam in CAMS:
        assert torch.equal(world.explain(cam()), world.explain(cam("4")))
    named = (ScoreCAM(Constant(0.0), layer) for layer in (None, "4", "3"))
    first, second, other = map(world.explain, named)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_grad_cam_plus_plus_is_its_derivatives() -> None:
    """Of exp(output), whose derivatives autograd takes one after the other, channel by channel."""
    world = toy_worlds.series()
    net = world.model.module
    maps = net[:2](world.inputs.x).detach().requires_grad_()
    big = net[2:](maps).gather(1, world.targets[:, None]).exp().sum()
    (first,) = torch.autograd.grad(big, maps, create_graph=True)
    # The network behind the layer is linear, so derivatives at one place are powers of one slope.
    scale = net[2:](maps).gather(1, world.targets[:, None]).exp().detach()[..., None]
    slope = first.detach() / scale
    second, third = scale * slope**2, scale * slope**3
    ratio = second / (2 * second + maps.sum(2, keepdim=True) * third)
    weights = (ratio * first.relu()).sum(2, keepdim=True) / scale
    expected = (weights * maps).sum(1).relu().detach()
    close(world.explain(GradCAMPlusPlus()), expected[:, None].expand(5, 2, 12) / 2)


def slow_score_cam(world: toy_worlds.World, baseline: float) -> Tensor:
    out = []
    for row in range(len(world.inputs)):
        one = world.take(torch.tensor([row]))
        maps = one.model.module[:5](one.inputs.x)
        scores = []
        for channel in range(6):
            large = functional.interpolate(
                maps[:, channel : channel + 1], size=(8, 8), mode="bilinear", align_corners=False
            )
            spread = large.max() - large.min()
            gate = (large - large.min()) / spread if spread > 0 else 0 * large
            point = one.inputs.x * gate + baseline * (1 - gate)
            scores.append(one.model.target_output(one.inputs.with_x(point), one.targets))
        weights = torch.cat(scores).softmax(0)
        heat = sum(w * maps[:, c] for c, w in enumerate(weights)).relu()
        large = functional.interpolate(heat[:, None], (8, 8), mode="bilinear", align_corners=False)
        out.append(large.expand(1, 3, 8, 8) / 3)
    return torch.cat(out).detach()


@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_score_cam_agrees_with_a_loop_over_channels(baseline: float) -> None:
    world = toy_worlds.image()
    close(world.explain(ScoreCAM(Constant(baseline))), slow_score_cam(world, baseline))


@pytest.mark.parametrize("max_rows", [1, 7, 64, 1000])
def test_score_cam_takes_a_row_per_channel_and_reference_in_bounded_batches(max_rows: int) -> None:
    world = toy_worlds.image()
    rows = []

    class Watched(Explained):
        def outputs(self, inputs):
            rows.append(len(inputs))
            return super().outputs(inputs)

    model = Watched(world.model.predictor, world.model.target, max_rows)
    metered = Metered(model)
    cam = ScoreCAM(Marginal(3))
    found = cam.explain(metered, world.inputs, world.targets, rng=world.rng).attribution
    assert metered.usage.rows_of(world.inputs.index)[0].tolist() == [1 + 6 * 3] * 5
    assert max(rows) <= max(max_rows, 1)
    close(found, world.explain(cam))


def test_the_first_layer_of_full_grad_by_hand() -> None:
    # Slopes at the channels (4, 0), (-1, 2); at x: 4 + 1 and 0 - 2. Biases 0 and 3.
    found = FullGrad().explain(hand().model, hand().inputs, hand().targets, rng=hand().rng)
    close(found.layers[INPUT], [[[5.0, -4.0]]])
    close(found.layers["conv"], [[[0.0, 0.0], [-3.0, 6.0]]])
    assert set(found.layers) == {INPUT, "conv"}
    # Sizes (5, 4) are scaled to (1, 0); (0, 0), (3, 6) to (0, 0), (1/2, 1).
    close(found.attribution, [[[1.5, 1.0]]])


class Normed(nn.Module):
    """Batch normalisation, a skip connection and pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.two = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.act, self.other, self.pool = nn.ReLU(inplace=True), nn.ReLU(), nn.MaxPool2d(2)
        self.head = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        found = self.act(self.norm(self.one(x)))
        found = self.pool(self.other(found + self.two(found)))
        out: Tensor = self.head(found.flatten(1))
        return out


def normed() -> toy_worlds.World:
    net = seeded(Normed())
    net.norm.running_mean.copy_(toy_worlds.normal(4, seed=7))
    net.norm.running_var.copy_(toy_worlds.normal(4, seed=8) ** 2)
    grid = torch.zeros(3, 8, 8, dtype=torch.long)
    return toy_worlds.world(
        net, toy_worlds.normal(4, 3, 8, 8, seed=1), grid, toy_worlds.normal(8, 3, 8, 8, seed=2)
    )


@pytest.mark.parametrize("build", [toy_worlds.image, toy_worlds.series, normed])
def test_the_terms_of_full_grad_add_up_to_the_output(build) -> None:
    world = build()
    found = FullGrad().explain(world.model, world.inputs, world.targets, rng=world.rng)
    total = sum(term.flatten(1).sum(1) for term in found.layers.values())
    output = world.model.target_output(world.inputs, world.targets).detach()
    torch.testing.assert_close(total, output, rtol=1e-12, atol=1e-12)


def test_the_bias_terms_of_full_grad_are_derivatives_by_the_bias() -> None:
    """Added up over its places, a term is the bias times the gradient of the parameter itself."""
    world = toy_worlds.image()
    found = FullGrad().explain(world.model, world.inputs, world.targets, rng=world.rng)
    for name in ("0", "3", "7"):
        bias = world.model.module.get_parameter(f"{name}.bias")
        for row in range(2):
            one = world.take(torch.tensor([row]))
            bias.requires_grad_()
            output = one.model.target_output(one.inputs, one.targets)
            (slope,) = torch.autograd.grad(output.sum(), bias)
            bias.requires_grad_(requires_grad=False)
            term = found.layers[name][row]
            close(term.flatten(1).sum(1) if term.dim() > 1 else term, bias * slope)


def test_full_grad_refuses_what_it_cannot_tell_apart() -> None:
    world = toy_worlds.image()
    likely = Explained(world.model.predictor, PredictedProbability())
    with pytest.raises(Unsupported, match=r"miss the output in 5 of 5"):
        toy_worlds.World(likely, world.inputs, world.targets).explain(FullGrad())
    smooth = toy_worlds.series()
    smooth.model.module[1] = nn.Tanh()
    with pytest.raises(Unsupported, match="network of ReLUs"):
        smooth.explain(FullGrad())


@pytest.mark.parametrize("explainer", [cam("3.wrong") for cam in CAMS])
def test_a_misspelt_layer_is_told_with_its_neighbours(explainer: Explainer) -> None:
    world = toy_worlds.image()
    with pytest.raises(Unsupported, match=r"no layer '3.wrong'; choose from 0, 1, 2, 3"):
        world.explain(explainer)
    with pytest.raises(Unsupported, match=r"no layer 'conf'; did you mean conv\?"):
        hand().explain(replace(explainer, layer="conf"))


@pytest.mark.parametrize("layer", ["6", "7"])
def test_layers_without_places_have_no_map(layer: str) -> None:
    with pytest.raises(Unsupported, match="is no map over x; choose a convolution"):
        toy_worlds.image().explain(GradCAM(layer))


class Turned(nn.Module):
    """A text network: tokens `[B, T, D]` are turned before the convolution over time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(4, 3, 3, padding=1), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.conv(x.transpose(1, 2)).relu().mean(2))
        return out


def test_a_map_over_turned_axes_is_refused() -> None:
    net = seeded(Turned())
    world = toy_worlds.world(
        net,
        toy_worlds.normal(2, 6, 4),
        torch.arange(6)[:, None].expand(6, 4),
        toy_worlds.normal(3, 6, 4),
    )
    with pytest.raises(
        Unsupported, match=r"first convolution is given \[6\] places and x has \[4\]"
    ):
        world.explain(GradCAM())


class Shared(nn.Module):
    """One activation, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.act = nn.Conv1d(1, 2, 1), nn.Conv1d(2, 2, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.two(self.act(self.one(x)))).sum((1, 2))[:, None]


def test_a_layer_that_is_called_twice_is_a_layer_for_each_call() -> None:
    shared = seeded(Shared())
    apart = nn.Sequential(shared.one, nn.ReLU(), shared.two, nn.ReLU(), Total())
    x = toy_worlds.normal(3, 1, 5)
    world, same = (toy_worlds.world(n, x, torch.arange(5)[None], x) for n in (shared, apart))
    with pytest.raises(Unsupported, match="layer 'act' is called 2 times"):
        world.explain(GradCAM("act"))
    for method in (GradCAM, LayerCAM):
        assert torch.equal(world.explain(method()), same.explain(method()))
        assert torch.equal(world.explain(method("act (call 1)")), same.explain(method("1")))


class Total(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum((1, 2))[:, None]


class Written(nn.Module):
    """A network of two convolutions, in one of several ways of writing."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.head, self.act, self.other = nn.Linear(4 * 12, 2), nn.ReLU(), nn.ReLU()
        self.pool, self.way = nn.MaxPool2d(2), way
        if way == "padded":
            self.one.padding = self.two.padding = (0, 0)
        if way == "in place":
            self.act.inplace = self.other.inplace = True

    def forward(self, x: Tensor) -> Tensor:
        pad = self.way == "padded"
        h = self.one(functional.pad(x, (1, 1, 1, 1)) if pad else x)
        if self.way in ("function", "padded"):
            h = functional.max_pool2d(functional.relu(h), 2)
            h = self.two(functional.pad(h, (1, 1, 1, 1)) if pad else h).relu()
        elif self.way == "shared":
            h = self.act(self.two(self.pool(self.act(h))))
        elif self.way == "ignored":
            h.relu_()
            h = self.two(functional.max_pool2d(h, 2))
            functional.relu(h, inplace=True)
        else:
            h = self.other(self.two(self.pool(self.act(h))))
        out: Tensor = self.head(h.flatten(1))
        return out


def written(way: str) -> toy_worlds.World:
    net = seeded(Written(way))
    if way == "weight norm":
        nn.utils.parametrizations.weight_norm(net.two)
    x = toy_worlds.normal(3, 1, 8, 6)
    return toy_worlds.world(net, x, torch.arange(48).view(1, 8, 6), toy_worlds.normal(5, 1, 8, 6))


@pytest.mark.sample(6, others="slow")
@pytest.mark.parametrize(
    "explainer",
    [*(cam() for cam in CAMS), ScoreCAM(Constant(0.0)), FullGrad(), LayerActivation(),
     LayerIntegratedGradients(Constant(0.0), budget=42), LayerConductance(Constant(0.0))],
)  # fmt: skip
@pytest.mark.parametrize(
    "way", ["function", "padded", "shared", "in place", "ignored", "weight norm"]
)
def test_all_ways_of_writing_a_network_have_the_same_maps(way: str, explainer: Explainer) -> None:
    expected = written("layers").explain(explainer)
    torch.testing.assert_close(written(way).explain(explainer), expected, rtol=1e-9, atol=1e-9)


def test_a_layer_may_hold_others() -> None:
    world = toy_worlds.image()
    held = nn.Sequential(world.model.module[:5], world.model.module[5:])
    other = toy_worlds.world(
        held, world.inputs.x, world.inputs.units[0], world.inputs.domain.background
    )
    assert torch.equal(other.explain(GradCAM("0")), world.explain(GradCAM("4")))


def test_what_comes_after_may_overwrite_its_input() -> None:
    world = toy_worlds.image()
    expected = world.explain(GradCAM("3"))
    world.model.module[4] = nn.ReLU(inplace=True)
    close(world.explain(GradCAM("3")), expected)
    close(gradient(world.model, world.inputs, world.targets)[:, 0, 0, 0] * 0, torch.zeros(5))


@pytest.mark.parametrize("explainer", [GradCAM(), ScoreCAM(Constant(0.0)), FullGrad()])
def test_hooks_are_removed_after_a_failure(explainer: Explainer) -> None:
    world = toy_worlds.image()

    def fail(*_: object) -> None:
        raise RuntimeError("stop")

    handle = world.model.module[7].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="stop"):
        world.explain(explainer)
    handle.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in world.model.module.modules())


class InPlace(nn.Module):
    """Two convolutions, batch norm, a shortcut; everything that can be is written in place."""

    def __init__(self, tail: bool) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.second, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True)
        self.head, self.tail = nn.Linear(3, 2), tail

    def forward(self, x: Tensor) -> Tensor:
        kept = self.act(self.norm(self.first(x)))
        x = self.second(kept)
        x += kept
        x = self.act(x)
        if self.tail:
            x.mul_(0.5)  # no layer: what the last one gave is written over
        out: Tensor = self.head(x.mean((2, 3)))
        return out


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("cam", CAMS)
def test_maps_are_those_of_a_pass_that_copies_every_layer(cam: type[GradCAM], tail: bool) -> None:
    net = seeded(InPlace(tail)).eval()
    x = toy_worlds.normal(3, 1, 5, 5)
    world = toy_worlds.world(net, x, torch.arange(25).view(1, 5, 5), x)
    found = world.explain(cam())
    record = observe(world.model, world.inputs, world.targets)
    name = spatial_layer(record, world.inputs, None)
    maps = record.layers[name]
    weights = cam().weights(maps, record.slopes[name])
    close(found, over_channels((weights * maps).sum(1).relu(), world.inputs))
