"""Layer-wise explanations: sums that must come out, a network by hand, agreement with captum."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from xai_bench.certify.toy_worlds import seeded
from xai_bench.core import units
from xai_bench.core.baselines import Constant, Marginal, Mean
from xai_bench.core.cost import Metered
from xai_bench.explainers.gradient.integrated import IntegratedGradients
from xai_bench.explainers.gradient.methods import InputXGradient
from xai_bench.explainers.layerwise.conductance import (
    LayerConductance,
    Layerwise,
    NeuronConductance,
)
from xai_bench.explainers.layerwise.layers import LayerActivation, LayerIntegratedGradients
from xai_bench.explainers.layerwise.recording import observe
from xai_bench.explainers.removal.occlusion import LeaveOneOut
from xai_bench.models.base import Explained
from xai_bench.models.views import Activations, ChannelGates
from xai_bench.types import Explanation, Unsupported

torch.set_num_threads(1)
BASE = Constant(0.2)


def close(found: Tensor, expected: object, **tolerance: float) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), **tolerance)


def answer(explainer: object, world: toy_worlds.World) -> Explanation:
    found: Explanation = explainer.explain(world.model, world.inputs, world.targets, rng=world.rng)
    return found


def change(world: toy_worlds.World, start: float = 0.2) -> Tensor:
    ends = (world.inputs.x, torch.full_like(world.inputs.x, start))
    here, there = (
        world.model.target_output(world.inputs.with_x(x), world.targets).detach() for x in ends
    )
    return here - there


def smooth(act: nn.Module | None = None) -> toy_worlds.World:
    """An image network without kinks."""
    net = seeded(
        nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), act or nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(3, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(36, 8),
            nn.Sigmoid(), nn.Linear(8, 3),
        )
    )  # fmt: skip
    x, background = toy_worlds.normal(4, 2, 6, 6, seed=1), toy_worlds.normal(8, 2, 6, 6, seed=2)
    return toy_worlds.world(net, x, torch.arange(36).view(6, 6).expand(2, 6, 6), background)


HIDDEN = ["0", "1", "2", "3", "4", "6", "7"]


class Hand(nn.Module):
    """`y = (x0 + x1, 2 x0)`, `z = relu(y - (1, 0))`, output `3 z0 - z1`."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.act, self.head = nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.mix.weight.copy_(torch.tensor([[1.0, 1.0], [2.0, 0.0]]))
            self.mix.bias.copy_(torch.tensor([-1.0, 0.0]))
            self.head.weight.copy_(torch.tensor([[3.0, -1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.act(self.mix(x)))
        return out


def hand() -> toy_worlds.World:
    x = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    return toy_worlds.world(Hand().double(), x, torch.arange(2), x)


def test_conductance_by_hand() -> None:
    # From 0 to (3, 1): y0 - 1 goes from -1 to 3 and so does its relu from 1/4 of the way on, worth
    # 3 * 3 = 9; y1 goes from 0 to 6, worth -6. x0 brings 3/4 of y0 and all of y1, x1 the rest.
    found = answer(Layerwise(Constant(0.0), budget=500), hand())
    close(found.layers["act"], [[9.0, -6.0]], rtol=0, atol=2e-2)
    close(found.layers["mix"], [[9.0, -6.0]], rtol=0, atol=2e-2)
    close(found.attribution, [[6.75 - 6, 2.25]], rtol=0, atol=2e-2)
    strongest = answer(NeuronConductance(Constant(0.0), budget=1000), hand())
    close(strongest.attribution, [[6.75, 2.25]], rtol=0, atol=2e-2)
    other = answer(NeuronConductance(Constant(0.0), "act", [1], budget=1000), hand())
    close(other.attribution, [[-6.0, 0.0]], rtol=0, atol=2e-2)


def test_activation_times_gradient_by_hand() -> None:
    # At x the relus give (3, 6) and the slopes are (3, -1); before them too.
    seen = observe(hand().model, hand().inputs, hand().targets)
    close(seen.layers["act"] * seen.slopes["act"], [[9.0, -6.0]])
    assert seen.hidden() == ["mix", "act"]
    assert seen.last == {"head"}


@pytest.mark.parametrize("n_steps", [3, 8, 40])
def test_every_layer_conducts_the_credits_of_x(n_steps: int) -> None:
    """Exactly, for any number of steps: each node's gradient is split in another way."""
    world = smooth()
    found = answer(Layerwise(BASE, budget=n_steps), world)
    close(found.attribution, world.explain(IntegratedGradients(BASE, n_steps)), atol=1e-12, rtol=0)
    assert list(found.layers) == HIDDEN
    for conducted in found.layers.values():
        close(conducted.flatten(1).sum(1), found.attribution.flatten(1).sum(1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["tabular", "image", "series", "text"])
def test_layers_conduct_the_credits_of_x_on_every_kind_of_input(name: str) -> None:
    world = toy_worlds.WORLDS[name]()
    found = answer(Layerwise(Marginal(2), budget=10), world)
    close(found.attribution, world.explain(IntegratedGradients(Marginal(2), 10)))
    assert found.layers
    for conducted in found.layers.values():
        close(conducted.flatten(1).sum(1), found.attribution.flatten(1).sum(1), atol=1e-12, rtol=0)


def test_smooth_networks_are_complete_to_a_millionth() -> None:
    world = smooth()
    for explainer in (
        LayerConductance(BASE, budget=24),
        LayerIntegratedGradients(BASE, budget=24 * len(HIDDEN) + 2),
    ):
        found = answer(explainer, world)
        assert list(found.layers) == HIDDEN
        for credits in found.layers.values():
            close(credits.flatten(1).sum(1), change(world), atol=1e-6, rtol=0)
        close(found.attribution.flatten(1).sum(1), change(world), atol=1e-6, rtol=0)


@pytest.mark.slow
def test_credits_are_means_over_references() -> None:
    world = smooth()
    starts = Marginal(3).references(world.inputs, rng=world.rng)
    for build in (LayerConductance, LayerIntegratedGradients, NeuronConductance, Layerwise):
        found = answer(build(Marginal(3), budget=240), world)
        parts = [
            answer(build(Given(start), budget=240), world).layers["3"] for start in starts.unbind(1)
        ]
        close(found.layers["3"], torch.stack(parts).mean(0), atol=1e-6, rtol=0)


class Given:
    """One reference per sample, as it is."""

    def __init__(self, start: Tensor) -> None:
        self.start = start

    def references(self, inputs, *, rng):
        return self.start[:, None]


def test_a_neuron_hands_on_what_it_conducts() -> None:
    world = smooth()
    for layer, neuron in (("6", [2]), ("3", [1, 0, 2]), ("3", [1])):
        found = answer(NeuronConductance(BASE, layer, neuron, budget=48), world)
        conducted = found.layers[layer][:, *neuron].reshape(4, -1).sum(1)
        close(found.attribution.flatten(1).sum(1), conducted, atol=1e-12, rtol=0)


def test_the_neuron_is_by_default_the_one_that_conducts_most() -> None:
    world = smooth()
    found = answer(NeuronConductance(BASE, budget=48), world)
    most = found.layers["7"].max(1)
    close(found.attribution.flatten(1).sum(1), most.values, atol=1e-12, rtol=0)
    for row, neuron in enumerate(most.indices.tolist()):
        one = answer(NeuronConductance(BASE, "7", [neuron], budget=48), world)
        close(found.attribution[row], one.attribution[row], atol=1e-12, rtol=0)


def test_all_neurons_of_a_layer_share_out_integrated_gradients() -> None:
    world = smooth()
    parts = [
        world.explain(NeuronConductance(BASE, "6", [neuron], budget=16)) for neuron in range(8)
    ]
    close(sum(parts), world.explain(IntegratedGradients(BASE, 8)), atol=1e-12, rtol=0)


class Skip(nn.Module):
    """Half of the way leads past the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.act = nn.Linear(4, 4), nn.Linear(4, 2), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.two(self.act(self.one(x)) + x)
        return out


def test_what_leads_past_a_neuron_is_not_its_own() -> None:
    world = toy_worlds.world(
        seeded(Skip()), toy_worlds.normal(3, 4), torch.arange(4), toy_worlds.normal(5, 4)
    )
    parts = [world.explain(NeuronConductance(BASE, "act", [k], budget=48)) for k in range(4)]
    whole = answer(Layerwise(BASE, budget=24), world)
    head = world.model.module.two.weight[world.targets]
    past = head * (world.inputs.x - 0.2)
    close(sum(parts), whole.attribution - past, atol=1e-9, rtol=0)
    close(whole.layers["act"].sum(1), change(world) - past.sum(1), atol=1e-9, rtol=0)


def test_rows_are_as_stated() -> None:
    world = smooth()
    for explainer, n_rows in (
        (LayerActivation(), 1),
        (Layerwise(Marginal(3), budget=32), 30),
        (LayerConductance(Marginal(3), budget=32), 30),
        (NeuronConductance(Marginal(3), budget=64), 60),
    ):
        metered = Metered(world.model)
        explainer.explain(metered, world.inputs, world.targets, rng=world.rng)
        stated = explainer.rows(36, 3) if n_rows > 1 else explainer.rows(36)
        assert (stated.forward, stated.gradient) == (n_rows, n_rows)
        assert [rows.tolist() for rows in metered.usage.rows_of(world.inputs.index)] == [
            [n_rows] * 4
        ] * 2
    metered = Metered(world.model)
    line = LayerIntegratedGradients(Marginal(3), budget=100)
    line.explain(metered, world.inputs, world.targets, rng=world.rng)
    # 96 rows are left for 3 references of 7 layers: 4 each.
    forward, gradient = metered.usage.rows_of(world.inputs.index)
    assert forward.tolist() == [1 + 3 + 4 * 21] * 4
    assert gradient.tolist() == [1 + 4 * 21] * 4


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("max_rows", [1, 3, 1000])
def test_the_bits_do_not_depend_on_how_many_rows_fit(max_rows: int) -> None:
    world = smooth()
    model = Explained(world.model.predictor, world.model.target, max_rows)
    other = toy_worlds.World(model, world.inputs, world.targets)
    for explainer in (
        Layerwise(Mean(), budget=6),
        LayerActivation(),
        LayerIntegratedGradients(Mean(), budget=30),
        NeuronConductance(Mean(), budget=12),
    ):
        here, there = answer(explainer, world), answer(explainer, other)
        close(here.attribution, there.attribution, rtol=1e-12, atol=1e-13)
        for name, values in here.layers.items():
            close(values, there.layers[name], rtol=1e-12, atol=1e-13)


def test_a_budget_that_is_too_small_is_told() -> None:
    with pytest.raises(Unsupported, match=r"2 rows of the budget are left for 3 lines"):
        smooth().explain(Layerwise(Marginal(3), budget=2))


def test_the_output_itself_may_be_asked_for() -> None:
    world = smooth()
    for neuron in range(3):
        found = world.explain(NeuronConductance(BASE, "8", [neuron], budget=16))
        own = (world.targets == neuron)[:, None, None, None]
        whole = world.explain(IntegratedGradients(BASE, 8))
        close(found, torch.where(own, whole, 0), atol=1e-12, rtol=0)


@pytest.mark.parametrize("neuron", [[8], [-1], [0, 0]])
def test_a_neuron_that_is_not_there_is_told(neuron: list[int]) -> None:
    with pytest.raises(Unsupported, match=r"found neuron .* for a layer of shape \[8\]"):
        smooth().explain(NeuronConductance(BASE, "7", neuron))


def test_dense_networks_are_told_where_to_go() -> None:
    for explainer in (LayerActivation(), LayerConductance(BASE), LayerIntegratedGradients(BASE)):
        with pytest.raises(Unsupported, match=r"explainer=layerwise .* view=activations"):
            toy_worlds.tabular().explain(explainer)


# Agreement with captum, which keeps its steps in single precision.


@pytest.fixture
def attr():
    return pytest.importorskip("captum.attr")


@pytest.mark.parametrize("layer", HIDDEN)
def test_layer_integrated_gradients_agree_with_captum(attr, layer: str) -> None:
    world = smooth()
    part = world.model.module.get_submodule(layer)
    theirs = attr.LayerIntegratedGradients(world.model.module, part).attribute(
        world.inputs.x, torch.full_like(world.inputs.x, 0.2), world.targets, n_steps=9
    )
    found = answer(LayerIntegratedGradients(BASE, budget=9 * len(HIDDEN) + 2), world)
    close(found.layers[layer], theirs.detach(), atol=1e-8, rtol=1e-7)


@pytest.mark.parametrize("layer", HIDDEN)
def test_activation_times_gradient_agrees_with_captum(attr, layer: str) -> None:
    world = smooth()
    part = world.model.module.get_submodule(layer)
    theirs = attr.LayerGradientXActivation(world.model.module, part).attribute(
        world.inputs.x, world.targets
    )
    found = answer(LayerActivation(), world).layers[layer]
    close(found, theirs.detach(), atol=1e-12, rtol=0)


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("layer", ["0", "4", "6", "7"])
def test_layer_conductance_agrees_with_captum(attr, layer: str) -> None:
    """Captum takes differences between steps where there is a derivative here."""
    world = smooth()
    part = world.model.module.get_submodule(layer)
    theirs = attr.LayerConductance(world.model.module, part).attribute(
        world.inputs.x, torch.full_like(world.inputs.x, 0.2), world.targets, n_steps=400,
        method="riemann_trapezoid",
    )  # fmt: skip
    found = answer(LayerConductance(BASE, budget=24), world)
    close(found.layers[layer], theirs.detach(), atol=2e-3, rtol=0)


@pytest.mark.parametrize(("layer", "neuron"), [("6", [3]), ("3", [2, 1, 0])])
def test_neuron_conductance_agrees_with_captum(attr, layer: str, neuron: list[int]) -> None:
    world = smooth()
    part = world.model.module.get_submodule(layer)
    theirs = attr.NeuronConductance(world.model.module, part).attribute(
        world.inputs.x, tuple(neuron), torch.full_like(world.inputs.x, 0.2), world.targets,
        n_steps=9, method="gausslegendre",
    )  # fmt: skip
    found = world.explain(NeuronConductance(BASE, layer, neuron, budget=18))
    close(found, theirs.detach(), atol=1e-8, rtol=1e-7)


# The same, where x is what the layer gives.


def seen_at(world: toy_worlds.World, layer: str) -> toy_worlds.World:
    predictor, inputs = Activations(layer).look(world.model.predictor, world.inputs)
    return toy_worlds.World(Explained(predictor, world.model.target, 64), inputs, world.targets)


@pytest.mark.parametrize("layer", HIDDEN)
def test_explainers_of_activations_are_layer_wise_explainers(attr, layer: str) -> None:
    world = smooth()
    there = seen_at(world, layer)
    part = world.model.module.get_submodule(layer)
    rough = attr.LayerGradientXActivation(world.model.module, part)
    theirs = rough.attribute(world.inputs.x, world.targets)
    close(there.explain(InputXGradient()), theirs.detach(), atol=1e-12, rtol=0)
    start = world.inputs.domain.background[:1]
    line = attr.LayerIntegratedGradients(world.model.module, part)
    theirs = line.attribute(world.inputs.x, start, world.targets, n_steps=9)
    fixed = there.inputs.domain.background[:1].expand(there.inputs.x.shape)
    found = there.explain(IntegratedGradients(Given(fixed), budget=9))
    close(found, theirs.detach(), atol=1e-8, rtol=1e-7)


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("layer", HIDDEN)
def test_named_layer_explainers_agree_with_the_view(layer: str) -> None:
    world = smooth()
    there = seen_at(world, layer)
    close(answer(LayerActivation(), world).layers[layer], there.explain(InputXGradient()))
    start = world.inputs.domain.background[:1].expand(world.inputs.x.shape)
    line = LayerIntegratedGradients(Given(start), budget=9 * len(HIDDEN) + 2)
    fixed = there.inputs.domain.background[:1].expand(there.inputs.x.shape)
    found = there.explain(IntegratedGradients(Given(fixed), budget=9))
    close(answer(line, world).layers[layer], found, atol=1e-12, rtol=0)


def test_leaving_out_a_gate_is_ablating_a_channel() -> None:
    world = toy_worlds.image()
    predictor, inputs = ChannelGates("3").look(world.model.predictor, world.inputs)
    gated = toy_worlds.World(Explained(predictor, world.model.target, 64), inputs, world.targets)
    found = gated.explain(LeaveOneOut(Constant(0.0)))
    whole = world.model.target_output(world.inputs, world.targets)
    for channel in range(6):

        def without(layer, args, output, channel=channel):
            kept = output.clone()
            kept[:, channel] = 0
            return kept

        with world.model.module[3].register_forward_hook(without):
            ablated = world.model.target_output(world.inputs, world.targets)
        close(found[:, channel], (whole - ablated).detach(), atol=1e-12, rtol=0)


def test_channels_of_a_layer_that_are_left_out_are_ablated_from_the_view_of_activations() -> None:
    there = seen_at(toy_worlds.image(), "3")
    found = units.pool(there.explain(LeaveOneOut(Constant(0.0))), there.inputs.units)
    predictor, inputs = ChannelGates("3").look(
        toy_worlds.image().model.predictor, toy_worlds.image().inputs
    )
    gated = toy_worlds.World(Explained(predictor, there.model.target, 64), inputs, there.targets)
    close(found, gated.explain(LeaveOneOut(Constant(0.0))), atol=1e-12, rtol=0)
