"""Recurrent and attention layers as layers to look at: sums that come out, networks by hand, and
agreement with captum.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tests.support import toy_worlds
from xai_bench.certify.toy_worlds import seeded
from xai_bench.core import units
from xai_bench.core.baselines import Constant
from xai_bench.core.calls.layer_outputs import output_of, with_output
from xai_bench.explainers.backprop.deeplift import DeepLIFT, DeepLiftShap
from xai_bench.explainers.backprop.lrp import LRP
from xai_bench.explainers.gradient.integrated import IntegratedGradients
from xai_bench.explainers.layerwise.cam import GradCAM
from xai_bench.explainers.layerwise.conductance import (
    LayerConductance,
    Layerwise,
    NeuronConductance,
)
from xai_bench.explainers.layerwise.layers import LayerActivation, LayerIntegratedGradients
from xai_bench.models.base import Explained, TorchPredictor
from xai_bench.models.views import Activations
from xai_bench.types import Explanation, Unsupported

BASE = Constant(0.2)


class Recurrent(nn.Module):
    """A recurrent layer, of which `read` takes what the head sees."""

    def __init__(self, layer: nn.RNNBase, read: Callable[[Any, Any], Tensor], width: int) -> None:
        super().__init__()
        self.rnn, self.read, self.head = layer, read, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.rnn.batch_first else x.transpose(0, 1)
        sequence, state = self.rnn(x)
        out: Tensor = self.head(self.read(sequence, state))
        return out


class Attentive(nn.Module):
    """Self-attention, mean over tokens."""

    def __init__(self, *, batch_first: bool = True, need_weights: bool = True) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=batch_first)
        self.need_weights, self.head = need_weights, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.attention.batch_first else x.transpose(0, 1)
        seen, _ = self.attention(x, x, x, need_weights=self.need_weights)
        seen = seen if self.attention.batch_first else seen.transpose(0, 1)
        out: Tensor = self.head(seen.mean(1).tanh())
        return out


class Encoder(nn.Module):
    """A whole encoder layer, whose attention lies two levels down."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation="gelu")
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.block(x)[:, 0])
        return out


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "lstm, last step": (
        lambda: Recurrent(nn.LSTM(4, 5, batch_first=True), lambda s, _: s[:, -1], 5), "rnn",
    ),
    "lstm, last state": (
        lambda: Recurrent(nn.LSTM(4, 5, batch_first=True), lambda _, s: s[0][-1], 5), "rnn",
    ),
    "lstm of two layers, both ways, last states": (
        lambda: Recurrent(
            nn.LSTM(4, 3, 2, batch_first=True, bidirectional=True),
            lambda _, s: torch.cat([s[0][-2], s[0][-1]], 1), 6,
        ), "rnn",
    ),
    "projected lstm": (
        lambda: Recurrent(nn.LSTM(4, 5, proj_size=2, batch_first=True), lambda s, _: s.mean(1), 2),
        "rnn",
    ),
    "gru, steps first": (lambda: Recurrent(nn.GRU(4, 5), lambda s, _: s.mean(0), 5), "rnn"),
    "gru, steps first, last state": (lambda: Recurrent(nn.GRU(4, 5), lambda _, s: s[-1], 5), "rnn"),
    "rnn": (
        lambda: Recurrent(nn.RNN(4, 5, batch_first=True), lambda s, _: s.amax(1), 5), "rnn",
    ),
    "attention": (Attentive, "attention"),
    "attention, steps first": (lambda: Attentive(batch_first=False), "attention"),
    "fused attention": (lambda: Attentive(need_weights=False), "attention"),
}  # fmt: skip
networks = pytest.mark.parametrize("name", NETWORKS)


def world(network: nn.Module) -> toy_worlds.World:
    """Three samples of six steps with four features; a step is a unit."""
    x, background = toy_worlds.normal(3, 6, 4, seed=1), toy_worlds.normal(5, 6, 4, seed=2)
    steps = torch.arange(6)[:, None].expand(6, 4)
    return toy_worlds.world(seeded(network), x, steps, background)


def made(name: str) -> tuple[toy_worlds.World, str]:
    build, layer = NETWORKS[name]
    return world(build()), layer


def answer(explainer: Any, here: toy_worlds.World) -> Explanation:
    found: Explanation = explainer.explain(here.model, here.inputs, here.targets, rng=here.rng)
    return found


def change(here: toy_worlds.World) -> Tensor:
    ends = (here.inputs.x, torch.full_like(here.inputs.x, 0.2))
    one, other = (
        here.model.target_output(here.inputs.with_x(x), here.targets).detach() for x in ends
    )
    return one - other


def near(found: Tensor, expected: Tensor, atol: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@networks
def test_the_layer_conducts_the_credits_of_x(name: str) -> None:
    """Everything flows through it, so its neurons conduct what the elements of x are credited."""
    here, layer = made(name)
    found = answer(Layerwise(BASE, budget=7), here)
    near(found.attribution, here.explain(IntegratedGradients(BASE, 7)))
    assert found.layers[layer].shape[:2] == (3, 6)
    near(found.layers[layer].flatten(1).sum(1), found.attribution.flatten(1).sum(1))


@pytest.mark.sample(3, others="slow")
@networks
def test_integrated_gradients_at_the_layer_are_complete(name: str) -> None:
    here, layer = made(name)
    n_layers = len(answer(Layerwise(BASE, budget=2), here).layers)
    found = answer(LayerIntegratedGradients(BASE, layer, budget=80 * n_layers + 2), here)
    atol = 2e-2 if name == "rnn" else 1e-6  # whose maximum over steps has kinks
    near(found.layers[layer].flatten(1).sum(1), change(here), atol)
    near(found.attribution.flatten(1).sum(1), change(here), atol)


@pytest.mark.sample(3, others="slow")
@networks
def test_the_map_over_x_is_that_of_the_steps(name: str) -> None:
    here, layer = made(name)
    for explainer in (LayerActivation(), LayerActivation(layer), LayerConductance(BASE, layer)):
        found = answer(explainer, here)
        by_step = found.layers[layer].sum(2)
        near(units.pool(found.attribution, here.inputs.units), by_step)


@pytest.mark.sample(4)
@pytest.mark.slow
@networks
def test_neurons_share_out_integrated_gradients(name: str) -> None:
    here, layer = made(name)
    width = answer(LayerActivation(layer), here).layers[layer].shape[2]
    parts = [
        here.explain(NeuronConductance(BASE, layer, [step, k], budget=12))
        for step in range(6)
        for k in range(width)
    ]
    near(sum(parts[1:], start=parts[0]), here.explain(IntegratedGradients(BASE, 6)))


@networks
def test_a_view_of_the_layer_gives_the_same_outputs(name: str) -> None:
    here, layer = made(name)
    predictor, inputs = Activations(layer).look(here.model.predictor, here.inputs)
    seen = Explained(predictor, here.model.target, 64)
    near(seen.outputs(inputs), here.model.outputs(here.inputs))
    there = toy_worlds.World(seen, inputs, here.targets)
    start = torch.zeros_like(inputs.x)
    found = there.explain(IntegratedGradients(Constant(0.0), 60))
    gap = seen.target_output(inputs, here.targets) - seen.target_output(
        inputs.with_x(start), here.targets
    )
    near(found.flatten(1).sum(1), gap.detach(), 2e-2 if name == "rnn" else 1e-6)


def adding() -> toy_worlds.World:
    """`h_t = relu(h_{t-1} + x_t)`, the output is 2 h_T: twice the sum where all x are positive."""
    layer = nn.RNN(1, 1, nonlinearity="relu", batch_first=True, bias=False)
    network = Recurrent(layer, lambda s, _: s[:, -1], 1)
    network.head = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.fill_(1.0)
        network.head.weight.fill_(2.0)
    x = torch.tensor([[[1.0], [2.0], [4.0]]]).double()
    return toy_worlds.world(network.double(), x, torch.arange(3)[:, None], torch.zeros_like(x))


def test_a_sum_over_time_by_hand() -> None:
    """States are 1, 3 and 7; the head looks at the last one only, which holds all."""
    here = adding()
    found = answer(LayerActivation(), here)
    assert found.layers["rnn"].tolist() == [[[0.0], [0.0], [14.0]]]
    assert found.attribution.tolist() == [[[0.0], [0.0], [14.0]]]
    conducted = answer(LayerConductance(Constant(0.0), budget=4), here)
    near(conducted.layers["rnn"], torch.tensor([[[0.0], [0.0], [14.0]]]).double())
    through = here.explain(NeuronConductance(Constant(0.0), "rnn", [2, 0], budget=8))
    near(through, torch.tensor([[[2.0], [4.0], [8.0]]]).double())
    early = here.explain(NeuronConductance(Constant(0.0), "rnn", [1, 0], budget=8))
    near(early, torch.zeros(1, 3, 1).double())


def test_steps_may_stand_on_the_last_axis_or_be_numbers() -> None:
    """X is `[B, channels, T]`, or `[B, T]`, and turned before the layer."""

    class Turned(nn.Module):
        def __init__(self, lone: bool) -> None:
            super().__init__()
            self.rnn = nn.GRU(1 if lone else 4, 5, batch_first=True)
            self.lone, self.head = lone, nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = x[:, :, None] if self.lone else x.transpose(1, 2)
            out: Tensor = self.head(self.rnn(x)[0].mean(1))
            return out

    for lone, shape in ((False, (4, 6)), (True, (6,))):
        x, background = toy_worlds.normal(2, *shape), toy_worlds.normal(3, *shape, seed=4)
        steps = torch.arange(6).expand(shape)
        here = toy_worlds.world(seeded(Turned(lone)), x, steps, background)
        found = answer(LayerActivation(), here)
        by_step = found.layers["rnn"].sum(2)
        near(units.pool(found.attribution, here.inputs.units), by_step)


def test_other_steps_are_told_in_a_sentence() -> None:
    class Halved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(8, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.rnn(x.reshape(len(x), 3, 8))[0].mean(1))
            return out

    with pytest.raises(Unsupported, match=r"'rnn' has 3 steps and x has the shape \['B', 6, 4\]"):
        world(Halved()).explain(LayerActivation())
    dense = toy_worlds.tabular()
    with pytest.raises(Unsupported, match="no convolution, recurrent or attention layer"):
        dense.explain(LayerActivation())


def test_an_attention_inside_an_encoder_is_a_layer() -> None:
    here = world(Encoder())
    found = answer(Layerwise(BASE, budget=8), here)
    assert "block.self_attn" in found.layers
    assert "block.self_attn.out_proj" not in found.layers
    near(found.layers["block.norm2"].flatten(1).sum(1), found.attribution.flatten(1).sum(1))


def in_single_precision(here: toy_worlds.World) -> toy_worlds.World:
    module = copy.deepcopy(here.model.module)
    assert module is not None
    domain = replace(here.inputs.domain, background=here.inputs.domain.background.float())
    inputs = replace(here.inputs, x=here.inputs.x.float(), domain=domain)
    model = Explained(TorchPredictor(module.float(), 3), here.model.target, 64)
    return toy_worlds.World(model, inputs, here.targets)


@pytest.mark.parametrize("name", ["lstm, last step", "fused attention"])
def test_fused_kernels_are_left_for_the_rates_only(name: str) -> None:
    """They have no forward derivative; the switches are as before afterwards."""
    here, layer = made(name)
    before = torch.backends.mkldnn.enabled, torch.backends.cuda.flash_sdp_enabled()
    found = answer(Layerwise(BASE, budget=6), in_single_precision(here)).layers[layer]
    near(found.double(), answer(Layerwise(BASE, budget=6), here).layers[layer], 1e-5)
    assert (torch.backends.mkldnn.enabled, torch.backends.cuda.flash_sdp_enabled()) == before


@pytest.mark.parametrize("name", ["lstm, last step", "attention"])
@pytest.mark.parametrize("explainer", [LRP(), DeepLIFT(BASE), DeepLiftShap(budget=4)])
def test_rules_for_sums_decline_products(name: str, explainer: Any) -> None:
    here, layer = made(name)
    kind = "LSTM" if name.startswith("lstm") else "MultiheadAttention"
    with pytest.raises(Unsupported, match=rf"no rule for {kind} \(layer '{layer}'\), which mult"):
        here.explain(explainer)


def test_class_activation_maps_need_a_convolution() -> None:
    with pytest.raises(Unsupported, match="no convolution comes between"):
        made("rnn")[0].explain(GradCAM())


@networks
def test_hooks_are_gone_and_outputs_unchanged(name: str) -> None:
    here, _ = made(name)
    before = here.model.outputs(here.inputs)
    answer(Layerwise(BASE, budget=4), here)
    module = here.model.module
    assert module is not None
    assert not any(part._forward_hooks for part in module.modules())
    assert torch.equal(here.model.outputs(here.inputs), before)


@networks
def test_what_stands_for_a_layer_can_be_put_back(name: str) -> None:
    """The output with its own sequence is the output: last states are the last steps."""
    here, layer = made(name)
    module = here.model.module
    assert module is not None
    checked = []

    def check(part: nn.Module, args: Any, output: Any) -> None:
        value = output_of(part, output)
        assert value is not None
        same = with_output(part, output, value)
        flat = [tree_leaves(one) for one in (output, same)]
        checked.append(all(a is b or torch.equal(a, b) for a, b in zip(*flat, strict=True)))

    with module.get_submodule(layer).register_forward_hook(check), torch.no_grad():
        module(here.inputs.x)
    assert checked == [True]


class Sequence(nn.Module):
    """A recurrent layer that gives its sequence only, for captum takes no tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.rnn(x)[0]
        return out


class Read(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sequence, self.head = Sequence(), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.sequence(x)[:, -2:].mean(1).tanh())
        return out


def test_captum_says_the_same_of_the_sequence() -> None:
    attr = pytest.importorskip("captum.attr")
    here = world(Read())
    module = here.model.module
    assert isinstance(module, Read)
    theirs = attr.LayerGradientXActivation(module, module.sequence)
    expected = theirs.attribute(here.inputs.x, here.targets).detach()
    near(answer(LayerActivation(), here).layers["sequence.rnn"], expected, 1e-12)
    start = torch.full_like(here.inputs.x, 0.2)
    line = attr.LayerIntegratedGradients(module, module.sequence)
    expected = line.attribute(here.inputs.x, start, here.targets, n_steps=9).detach()
    found = answer(LayerIntegratedGradients(BASE, budget=9 + 2), here)
    near(found.layers["sequence.rnn"], expected, 1e-8)
