"""Proves the views: the input, gates on the channels of a layer, and the output of a layer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from xai_bench.core.baselines import Constant
from xai_bench.models.base import Explained, TorchPredictor
from xai_bench.models.targets import PredictedLogit
from xai_bench.models.views import Activations, ChannelGates, InputView
from xai_bench.types import Inputs, Unsupported


class Two(nn.Module):
    """Two channels `c0 = x`, `c1 = 3 x` of `[B, 1, 2]`; the output is `sum(c0) + 10 sum(c1)`."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv1d(1, 2, 1, bias=False), nn.Identity())
        with torch.no_grad():
            self.features.get_parameter("0.weight").copy_(torch.tensor([[[1.0]], [[3.0]]]))

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        out = self.features(x).sum(2) @ torch.tensor([[1.0], [10.0]], dtype=x.dtype)
        return out if shift is None else out + shift[:, None]


X = torch.tensor([[[1.0, 2.0]], [[0.0, -1.0]], [[4.0, 0.0]]], dtype=torch.float64)


def look(layer: str = "features.0", **context: Tensor) -> tuple[Explained, Inputs]:
    world = toy_worlds.world(Two(), X, torch.arange(2)[None], X, context)
    predictor, inputs = ChannelGates(layer).look(world.model.predictor, world.inputs)
    return Explained(predictor, PredictedLogit()), inputs


def test_the_input_view_changes_nothing() -> None:
    world = toy_worlds.tabular()
    predictor, inputs = InputView().look(world.model.predictor, world.inputs)
    assert predictor is world.model.predictor
    assert inputs is world.inputs


def test_open_gates_are_the_model_itself() -> None:
    model, inputs = look()
    assert torch.equal(inputs.x, torch.ones(3, 2, dtype=torch.float64))
    assert torch.equal(model.outputs(inputs), Two().double()(X))


def test_a_gate_scales_its_channel_by_hand() -> None:
    model, inputs = look()
    gates = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.1]], dtype=torch.float64)
    # sums of x are 3, -1, 4: 1*3 + 0;  0 + 30*(-1);  0.5*4 + 0.1*30*4
    expected = torch.tensor([[3.0], [-30.0], [14.0]], dtype=torch.float64)
    torch.testing.assert_close(model.outputs(inputs.with_x(gates)), expected)


def test_gradients_flow_to_the_gates_only() -> None:
    model, inputs = look()
    gates = inputs.x.clone().requires_grad_()
    out = model.outputs(inputs.with_x(gates))
    (gradient,) = torch.autograd.grad(out.sum(), gates)
    sums = X.sum((1, 2))
    torch.testing.assert_close(gradient, torch.stack([sums, 30 * sums], 1))


def test_inputs_and_domain_of_gates_have_their_shapes() -> None:
    _, inputs = look()
    assert inputs.units.tolist() == [[0, 1]] * 3
    assert inputs.units.stride(0) == 0
    assert torch.equal(inputs.domain.background, torch.zeros(1, 2, dtype=torch.float64))
    assert torch.equal(inputs.domain.scale, torch.ones(2, dtype=torch.float64))
    assert inputs.domain.truth is None
    assert torch.equal(inputs.context["input"], X)
    world = toy_worlds.world(Two(), X, torch.arange(2)[None], X)
    assert torch.equal(inputs.index, world.inputs.index)


def test_stacked_points_use_the_context_of_their_sample() -> None:
    model, inputs = look()
    off = Constant(0.0).references(inputs, rng=toy_worlds.gates().rng)
    points = torch.cat([inputs.x[:, None], off, inputs.x[:, None] / 2], 1)
    out = model.outputs(inputs.stacked(points)).view(3, 3)
    full = Two().double()(X)[:, 0]
    torch.testing.assert_close(out, torch.stack([full, 0 * full, full / 2], 1))


def test_the_original_context_is_passed_to_the_model() -> None:
    shift = torch.tensor([100.0, 200.0, 300.0], dtype=torch.float64)
    model, inputs = look(shift=shift)
    assert set(inputs.context) == {"input", "shift"}
    torch.testing.assert_close(
        model.outputs(inputs.with_x(torch.zeros_like(inputs.x))), shift[:, None]
    )


@pytest.mark.parametrize("layer", ["0", "1", "2"])
def test_gates_before_and_after_a_relu_agree(layer: str) -> None:
    """A ReLU keeps positive factors: gates on the convolution, its ReLU and the pool agree."""
    world = toy_worlds.image()
    gates = toy_worlds.normal(5, 4).abs()
    outputs = []
    for name in ("0", layer):
        predictor, inputs = ChannelGates(name).look(world.model.predictor, world.inputs)
        outputs.append(predictor(gates, inputs.context))
    torch.testing.assert_close(*outputs)


def test_hooks_are_removed_even_after_a_failure() -> None:
    model, inputs = look()
    assert model.module is not None
    with pytest.raises(RuntimeError):
        model.outputs(inputs.with_x(torch.ones(3, 5, dtype=torch.float64)))
    model.outputs(inputs)
    assert not any(layer._forward_hooks for layer in model.module.modules())


def test_a_copy_with_other_weights_gates_its_own_layer() -> None:
    model, inputs = look()
    twin = copy.deepcopy(model)
    assert twin.module is not None
    with torch.no_grad():
        twin.module.get_parameter("network.features.0.weight").zero_()
    assert (twin.outputs(inputs) == 0).all()
    assert torch.equal(model.outputs(inputs), Two().double()(X))


def test_deeplift_adds_up_over_the_gates() -> None:
    from xai_bench.explainers.backprop.deeplift import DeepLIFT

    world = toy_worlds.image()
    predictor, inputs = ChannelGates("0").look(world.model.predictor, world.inputs)
    gated = toy_worlds.World(Explained(predictor, PredictedLogit()), inputs, world.targets)
    attribution = gated.explain(DeepLIFT(Constant(0.0)))
    open_, shut = (
        gated.model.target_output(inputs.with_x(gates), gated.targets)
        for gates in (inputs.x, torch.zeros_like(inputs.x))
    )
    torch.testing.assert_close(attribution.sum(1), open_ - shut)


def test_an_unknown_layer_is_answered_with_near_misses() -> None:
    with pytest.raises(Unsupported, match=r"no layer 'feature.0'; did you mean features.0"):
        look("feature.0")


@pytest.mark.parametrize("layer", ["", "zzz"])
def test_an_unknown_layer_is_answered_with_all_layers(layer: str) -> None:
    with pytest.raises(Unsupported, match=r"choose from features, features.0, features.1"):
        look(layer)


def test_black_boxes_have_no_channels() -> None:
    class BlackBox:
        differentiable, module, n_outputs = False, None, 2

        def __call__(self, x: Tensor, context: object) -> Tensor:
            return x

    with pytest.raises(Unsupported, match="needs a torch module; this model has none"):
        ChannelGates().look(BlackBox(), toy_worlds.tabular().inputs)


def test_a_layer_that_is_never_called_cannot_be_gated() -> None:
    module = Two()
    module.spare = nn.Linear(2, 2)
    world = toy_worlds.world(module, X, torch.arange(2)[None], X)
    with pytest.raises(Unsupported, match="'spare' gives no tensor"):
        ChannelGates("spare").look(world.model.predictor, world.inputs)


def test_views_cannot_be_nested() -> None:
    model, inputs = look()
    with pytest.raises(Unsupported, match="that name is taken"):
        ChannelGates("network.features.0").look(model.predictor, inputs)


def test_the_gated_model_is_frozen() -> None:
    model, _ = look()
    assert isinstance(model.predictor, TorchPredictor)
    assert model.module is not None
    assert not any(p.requires_grad for p in model.module.parameters())


def activated(layer: str, world: toy_worlds.World) -> toy_worlds.World:
    predictor, inputs = Activations(layer).look(world.model.predictor, world.inputs)
    return toy_worlds.World(Explained(predictor, PredictedLogit(), 64), inputs, world.targets)


def test_activations_are_the_layers_output_and_the_rest_is_the_model() -> None:
    model = Two().double()
    viewed = activated("features.0", toy_worlds.world(model, X, torch.arange(2)[None], X))
    assert torch.equal(viewed.inputs.x, model.features[0](X))
    assert torch.equal(viewed.model.outputs(viewed.inputs), model(X))
    # Sums of the channels times 1 and 10, whatever the input was.
    other = viewed.inputs.with_x(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]).double().expand(3, 2, 2))
    assert viewed.model.outputs(other).tolist() == [[73.0]] * 3


@pytest.mark.parametrize("where", ["tabular", "image", "text", "series"])
def test_every_layer_of_every_kind_of_network_can_be_the_view(where: str) -> None:
    world = toy_worlds.WORLDS[where]()
    expected = world.model.outputs(world.inputs)
    module = world.model.module
    assert module is not None
    for name, part in module.named_modules():
        if not name or list(part.children()):
            continue
        viewed = activated(name, world)
        torch.testing.assert_close(viewed.model.outputs(viewed.inputs), expected)
        shape = viewed.inputs.x.shape
        channel = torch.arange(shape[1]).view(1, -1, *[1] * (len(shape) - 2))
        assert torch.equal(viewed.inputs.units, channel.expand(shape))
        assert viewed.inputs.units.stride(0) == 0
        assert viewed.inputs.domain.background.shape[1:] == shape[1:]
        assert torch.equal(viewed.inputs.index, world.inputs.index)
        # A metric or explainer that asks the model about the background.
        back = viewed.background()
        known = world.background()
        torch.testing.assert_close(viewed.model.outputs(back), world.model.outputs(known))
    assert not any(part._forward_hooks for part in module.modules())


def test_the_background_of_activations_is_that_of_the_layer() -> None:
    world = toy_worlds.tabular()
    domain = activated("1", world).inputs.domain
    module = world.model.module
    assert module is not None
    known = module[:2](world.inputs.domain.background)  # type: ignore[index]
    torch.testing.assert_close(domain.background, known)
    spread = known.std(0, correction=0)
    torch.testing.assert_close(domain.scale, torch.where(spread > 0, spread, 1.0))
    assert domain.labels is world.inputs.domain.labels
    assert domain.truth is None
    assert domain.sensitive is None


def test_activations_do_not_depend_on_the_batch() -> None:
    world = toy_worlds.image()
    whole = activated("3", world).inputs.x
    for rows in ([2], [3, 0], [1, 1]):
        part = activated("3", world.take(torch.tensor(rows))).inputs.x
        torch.testing.assert_close(part, whole[rows], rtol=1e-12, atol=1e-13)


def test_activations_survive_a_layer_that_overwrites_its_input() -> None:
    world = toy_worlds.image()
    expected = activated("0", world)
    module = world.model.module
    assert module is not None
    module[1] = nn.ReLU(inplace=True)  # type: ignore[operator]
    found = activated("0", world)
    assert torch.equal(found.inputs.x, expected.inputs.x)
    before = found.inputs.x.clone()
    outputs = found.model.predictor(found.inputs.x, found.inputs.context)
    torch.testing.assert_close(outputs, expected.model.outputs(expected.inputs))
    assert torch.equal(found.inputs.x, before)


def test_other_hooks_see_the_replaced_output() -> None:
    viewed = activated("3", toy_worlds.image())
    seen: list[Tensor] = []
    module = viewed.model.module
    assert module is not None
    with module.get_submodule("network.3").register_forward_hook(
        lambda layer, args, output: seen.append(output)
    ):
        viewed.model.outputs(viewed.inputs.with_x(viewed.inputs.x + 1))
    assert torch.equal(seen[0][: len(viewed.inputs)], viewed.inputs.x + 1)


def test_a_copy_with_other_weights_continues_from_the_same_activations() -> None:
    viewed = activated("features.0", toy_worlds.world(Two(), X, torch.arange(2)[None], X))
    twin = copy.deepcopy(viewed.model)
    assert twin.module is not None
    with torch.no_grad():
        twin.module.get_parameter("network.features.0.weight").zero_()
    assert torch.equal(twin.outputs(viewed.inputs), viewed.model.outputs(viewed.inputs))


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Reused(nn.Module):
    """One layer, called twice; another, called never; a third that gives two things; a fourth that
    takes samples for steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.act, self.spare, self.pair, self.memory = (
            nn.Tanh(), nn.Linear(2, 2), Pair(), nn.LSTM(2, 2),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.pair(x)
        return self.act(self.act(x)).flatten(1) + self.memory(x)[0].sum((1, 2))[:, None]


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("act", "'act' is called 2 times"),
        ("spare", "'spare' is called 0 times"),
        ("pair", "'pair' gives no tensor of numbers"),
        ("memory", r"'memory' gives \[1, 16, 2\]: no row per sample"),
        ("memoir", r"no layer 'memoir'; did you mean memory\?"),
        ("", "no layer ''; choose from act, memory, pair, spare"),
    ],
)
def test_a_layer_that_cannot_be_the_view_is_refused(layer: str, reason: str) -> None:
    world = toy_worlds.world(Reused(), X, torch.arange(2)[None], X)
    with pytest.raises(Unsupported, match=reason):
        activated(layer, world)


def test_class_activation_maps_work_under_the_view() -> None:
    """The layer of the view is then the last convolution."""
    from xai_bench.explainers.layerwise.cam import GradCAM

    world = toy_worlds.image()
    heat = activated("3", world).explain(GradCAM())
    assert heat.shape == (5, 6, 4, 4)
    large = nn.functional.interpolate(heat.sum(1)[:, None], size=(8, 8), mode="bilinear")[:, 0]
    torch.testing.assert_close(large, world.explain(GradCAM()).sum(1))
    with pytest.raises(Unsupported, match=r"first convolution is given \[4, 4\] places"):
        activated("1", world).explain(GradCAM())
