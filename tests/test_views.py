"""Views: the input as it is, and gates on the channels of a layer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from tests import toys
from xai_bench.baselines import Constant
from xai_bench.models.base import Explained, TorchPredictor
from xai_bench.models.targets import PredictedLogit
from xai_bench.models.views import ChannelGates, InputView
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
    world = toys.world(Two(), X, torch.arange(2)[None], X, context)
    predictor, inputs = ChannelGates(layer).look(world.model.predictor, world.inputs)
    return Explained(predictor, PredictedLogit()), inputs


def test_the_input_view_changes_nothing() -> None:
    world = toys.tabular()
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


def test_the_gates_describe_themselves() -> None:
    _, inputs = look()
    assert inputs.units.tolist() == [[0, 1]] * 3
    assert inputs.units.stride(0) == 0
    assert torch.equal(inputs.domain.background, torch.zeros(1, 2, dtype=torch.float64))
    assert torch.equal(inputs.domain.scale, torch.ones(2, dtype=torch.float64))
    assert inputs.domain.truth is None
    assert torch.equal(inputs.context["input"], X)
    world = toys.world(Two(), X, torch.arange(2)[None], X)
    assert torch.equal(inputs.index, world.inputs.index)


def test_stacked_points_meet_their_own_sample() -> None:
    model, inputs = look()
    off = Constant(0.0).references(inputs, rng=toys.gates().rng)
    points = torch.cat([inputs.x[:, None], off, inputs.x[:, None] / 2], 1)
    out = model.outputs(inputs.stacked(points)).view(3, 3)
    full = Two().double()(X)[:, 0]
    torch.testing.assert_close(out, torch.stack([full, 0 * full, full / 2], 1))


def test_older_context_still_reaches_the_model() -> None:
    shift = torch.tensor([100.0, 200.0, 300.0], dtype=torch.float64)
    model, inputs = look(shift=shift)
    assert set(inputs.context) == {"input", "shift"}
    torch.testing.assert_close(
        model.outputs(inputs.with_x(torch.zeros_like(inputs.x))), shift[:, None]
    )


@pytest.mark.parametrize("layer", ["0", "1", "2"])
def test_gates_before_and_after_a_relu_agree(layer: str) -> None:
    """A ReLU keeps positive factors: gates on the convolution, its ReLU and the pool agree."""
    world = toys.image()
    gates = toys.normal(5, 4).abs()
    outputs = []
    for name in ("0", layer):
        predictor, inputs = ChannelGates(name).look(world.model.predictor, world.inputs)
        outputs.append(predictor(gates, inputs.context))
    torch.testing.assert_close(*outputs)


def test_no_hook_stays_behind_even_after_a_failure() -> None:
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
    from xai_bench.explainers.deeplift import DeepLIFT

    world = toys.image()
    predictor, inputs = ChannelGates("0").look(world.model.predictor, world.inputs)
    gated = toys.World(Explained(predictor, PredictedLogit()), inputs, world.targets)
    attribution = gated.explain(DeepLIFT(Constant(0.0)))
    open_, shut = (
        gated.model.target_output(inputs.with_x(gates), gated.targets)
        for gates in (inputs.x, torch.zeros_like(inputs.x))
    )
    torch.testing.assert_close(attribution.sum(1), open_ - shut)


def test_an_unknown_layer_names_its_neighbours() -> None:
    with pytest.raises(Unsupported, match=r"no layer 'feature.0'; did you mean 'features.0'"):
        look("feature.0")


@pytest.mark.parametrize("layer", ["", "zzz"])
def test_any_other_layer_lists_what_there_is(layer: str) -> None:
    with pytest.raises(Unsupported, match=r"There is 'features', 'features.0', 'features.1'"):
        look(layer)


def test_black_boxes_have_no_channels() -> None:
    class BlackBox:
        differentiable, module, n_outputs = False, None, 2

        def __call__(self, x: Tensor, context: object) -> Tensor:
            return x

    with pytest.raises(Unsupported, match="needs a torch module; this model has none"):
        ChannelGates().look(BlackBox(), toys.tabular().inputs)


def test_a_layer_that_is_never_called_cannot_be_gated() -> None:
    module = Two()
    module.spare = nn.Linear(2, 2)
    world = toys.world(module, X, torch.arange(2)[None], X)
    with pytest.raises(Unsupported, match="'spare' gives no tensor"):
        ChannelGates("spare").look(world.model.predictor, world.inputs)


def test_views_do_not_nest() -> None:
    model, inputs = look()
    with pytest.raises(Unsupported, match="that name is taken"):
        ChannelGates("network.features.0").look(model.predictor, inputs)


def test_the_gated_model_is_frozen() -> None:
    model, _ = look()
    assert isinstance(model.predictor, TorchPredictor)
    assert model.module is not None
    assert not any(p.requires_grad for p in model.module.parameters())
