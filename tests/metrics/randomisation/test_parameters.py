"""Randomised models keep no old weight, and maps that ignore the model are detected.

Similarities are worked out by hand or compared with SciPy, stage by stage and sample by sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from tests.support.components import component
from xai_bench.core import units
from xai_bench.core.seeds import Seeds
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.loop import evaluate
from xai_bench.metrics.probes.other_models.randomised import RandomisedMap, layer_names, randomised
from xai_bench.metrics.randomisation.parameters import histogram_entropy, stages
from xai_bench.types import Case, Explanation, Inputs, Kind, Model, Rng, Unsupported

MPRT = ("mprt_top_down", "mprt_bottom_up", "mprt_independent")


class Transformer(nn.Module):
    """A class token, positions, one attention block and a head: parameters of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 1, 4))
        self.position = nn.Parameter(torch.ones(1, 6, 4))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = nn.LayerNorm(4)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.position
        x = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        out: Tensor = self.head(self.second(self.first(x).tanh())[:, 0])
        return out


def transformer() -> toy_worlds.World:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Transformer()
    x = toy_worlds.normal(4, 5, 4, seed=1)
    grid = torch.arange(5)[:, None].expand(5, 4)
    return toy_worlds.world(module, x, grid, toy_worlds.normal(8, 5, 4, seed=2))


def explained(world: toy_worlds.World, name: str = "gradient") -> Case:
    explainer = component("explainer", name)
    return world.case(world.explain(explainer), explainer.kind, explainer)


def module_of(model: Model) -> nn.Module:
    assert model.module is not None
    return model.module


# The models


def test_every_parameter_is_randomised_attention_and_class_token_included() -> None:
    case = explained(transformer())
    names = layer_names(case.model)
    # The module's own token and positions come first in the network, so last here.
    assert names == [
        "head", "second", "first", "norm", "attention.out_proj", "attention", "",
    ]  # fmt: skip
    before = {k: v.clone() for k, v in module_of(case.model).state_dict().items()}
    after = dict(module_of(randomised(case, names)).named_parameters())
    assert after.keys() == before.keys()
    assert len(after) == 14
    for name, value in after.items():
        assert not torch.equal(value, before[name]), name
        assert (value != before[name]).double().mean() > 0.99, name
    for name, value in module_of(case.model).state_dict().items():
        assert torch.equal(value, before[name]), "the original is as it was"


@pytest.mark.parametrize("order", ["top_down", "bottom_up", "independent"])
def test_a_stage_changes_its_layers_and_shares_all_others(order: str) -> None:
    case = explained(transformer())
    names = layer_names(case.model)
    for layers in stages(names, order):  # type: ignore[arg-type]
        copy = module_of(randomised(case, layers))
        for name, old in module_of(case.model).named_parameters():
            owner = name.rpartition(".")[0]
            assert (copy.get_parameter(name) is not old) == (owner in layers)
            assert not copy.get_parameter(name).requires_grad


def test_equal_layers_get_different_weights_and_all_stages_the_same() -> None:
    case = explained(transformer())
    both = module_of(randomised(case, ["second", "first"]))
    assert not torch.equal(both.get_parameter("first.weight"), both.get_parameter("second.weight"))
    alone = module_of(randomised(case, ["first"]))
    assert alone.get_parameter("first.weight") is both.get_parameter("first.weight")
    other = module_of(randomised(case, ["first"], draw=1))
    assert not torch.equal(other.get_parameter("first.weight"), alone.get_parameter("first.weight"))


def test_random_weights_have_the_distribution_of_their_layer() -> None:
    net = nn.Sequential(nn.Linear(400, 50), nn.Embedding(40, 50), nn.LayerNorm(2000))
    world = toy_worlds.tabular()
    case = replace(explained(world), model=replace(world.model, predictor=Predictor(net)))
    state = torch.get_rng_state()
    made = module_of(randomised(case, layer_names(case.model)))
    assert torch.equal(torch.get_rng_state(), state)
    weight, bias = made.get_parameter("0.weight"), made.get_parameter("0.bias")
    assert weight.abs().max().item() == pytest.approx(0.05, rel=1e-3)
    assert weight.std().item() == pytest.approx(0.05 / 3**0.5, rel=0.02)
    assert 0.03 < bias.abs().max().item() <= 0.05
    assert made.get_parameter("1.weight").std().item() == pytest.approx(1, rel=0.05)
    assert made.get_parameter("2.weight").mean().item() == pytest.approx(1, abs=0.01)
    assert made.get_parameter("2.bias").std().item() == pytest.approx(0.02, rel=0.1)


@dataclass(frozen=True)
class Predictor:
    """Nothing but a module."""

    module: nn.Module
    differentiable: bool = True
    n_outputs: int = 1

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError


def test_tied_weights_stay_tied() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    world = toy_worlds.world(net, toy_worlds.normal(4, 3), torch.arange(3), toy_worlds.normal(4, 3))
    made = module_of(randomised(explained(world), ["2", "0"]))
    assert made.get_submodule("0").weight is made.get_submodule("2").weight
    assert made.get_submodule("0").weight is not net[0].weight


def test_models_are_made_once_per_explainer() -> None:
    world, explainer = toy_worlds.tabular(), Counted()
    bench = EvaluationContext(world.model, world.inputs, world.targets, Seeds(0), batch_size=2)
    metrics = [ConfiguredMetric(name, component("metric", name)) for name in MPRT]
    result = evaluate(
        replace(bench, strict=True), ConfiguredExplainer("counted", explainer), metrics
    )
    assert all(scores.outcome.status == "ok" for scores in result.scores.values())
    # Two layers: each alone, and both, which the cascades share.
    assert len(explainer.models) == 3


@dataclass(frozen=True)
class Counted:
    """A map of the outputs, by an explainer that remembers the models it explained."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "gradient"
    models: set[int] = field(default_factory=set)

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        if not hasattr(model, "usage"):
            self.models.add(id(model))
        return Explanation(inputs.x * model.target_output(inputs, targets)[:, None] ** inputs.units)


def test_a_black_box_and_a_model_without_weights_are_unsupported() -> None:
    world = toy_worlds.tabular()
    for module in (None, nn.Flatten()):
        model = replace(world.model, predictor=Predictor(module))  # type: ignore[arg-type]
        case = replace(explained(world), model=model)
        with pytest.raises(Unsupported, match="randomising needs"):
            component("metric", "mprt_top_down").score(case)


# Similarity while the weights are lost


def test_the_stages_by_hand() -> None:
    names = ["head", "middle", "first"]
    assert stages(names, "top_down") == [
        ("head",), ("head", "middle"), ("head", "middle", "first"),
    ]  # fmt: skip
    assert stages(names, "bottom_up") == [
        ("first",), ("middle", "first"), ("head", "middle", "first"),
    ]  # fmt: skip
    assert stages(names, "independent") == [("head",), ("middle",), ("first",)]
    with pytest.raises(ValueError, match="one of top_down"):
        stages(names, "sideways")  # type: ignore[arg-type]


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("name", [*MPRT, "smooth_mprt"])
@pytest.mark.parametrize("where", [*toy_worlds.WORLDS])
@pytest.mark.parametrize("explainer", ["input_magnitude", "random"])
def test_a_map_that_ignores_the_model_scores_one(name: str, where: str, explainer: str) -> None:
    case = explained(toy_worlds.WORLDS[where](), explainer)
    scores = component("metric", name).score(case)
    if case.attribution.flatten(1).std(1).min() == 0 and not name.startswith("smooth"):
        assert scores.isnan().all(), "gates are all 1: a constant map"
    else:
        torch.testing.assert_close(scores, torch.ones_like(scores))


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize(("name", "order"), [(n, n.removeprefix("mprt_")) for n in MPRT])
@pytest.mark.parametrize(
    "world", [toy_worlds.tabular, toy_worlds.image, toy_worlds.series, transformer]
)
def test_the_mean_over_randomised_stages_sample_by_sample(
    name: str, order: str, world: Callable[[], toy_worlds.World]
) -> None:
    """By scipy, weights written into the network; the model as it is is not among the stages."""
    made = world()
    case = explained(made)
    scores = component("metric", name).score(case)
    maps = [
        made_map(made, layers)
        for layers in stages(layer_names(case.model), order)  # type: ignore[arg-type]
    ]
    for row, n_units in enumerate(units.count(made.inputs.units).tolist()):
        one = [
            units.pool(a, made.inputs.units)[row, :n_units].abs() for a in (case.attribution, *maps)
        ]
        expected = [scipy.stats.spearmanr(one[0], a).statistic for a in one[1:]]
        assert scores[row].item() == pytest.approx(sum(expected) / len(expected), abs=1e-12)


def made_map(world: toy_worlds.World, layers: tuple[str, ...]) -> Tensor:
    """The gradient of a network into which the drawn weights are copied one by one."""
    case = explained(world)
    module = module_of(world.model)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    for layer in layers:
        other = module_of(randomised(case, [layer]))
        names = [f"{layer}.{n}".lstrip(".") for n, _ in own(module, layer)]
        for name in names:
            module.get_parameter(name).data = other.get_parameter(name).data.clone()
    attribution = world.explain(component("explainer", "gradient"))
    for name, value in before.items():
        module.get_parameter(name).data = value
    return attribution


def own(module: nn.Module, layer: str) -> list[tuple[str, nn.Parameter]]:
    return list(module.get_submodule(layer).named_parameters(recurse=False))


def test_the_map_of_a_gradient_is_uncorrelated_with_that_of_a_random_model() -> None:
    """At 40 units a correlation by chance has deviation 0.16; over 60 draws its mean has 0.02."""
    x = toy_worlds.normal(4, 40, seed=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 2))
    case = explained(toy_worlds.world(net, x, torch.arange(40), x))
    layers = tuple(layer_names(case.model))
    maps = [case.measure(RandomisedMap(layers, draw)) for draw in range(60)]
    correlations = [
        scipy.stats.spearmanr(a[0].abs(), case.attribution[0].abs()).statistic for a in maps
    ]
    assert abs(sum(correlations) / 60) < 0.08
    assert max(correlations) < 0.7


def test_stages_without_a_ranking_are_left_out() -> None:
    world = toy_worlds.linear([3.0, 1.0, 2.0])
    constant = world.case(torch.ones(3, 3).double(), explainer=component("explainer", "gradient"))
    for name in (*MPRT, "efficient_mprt"):
        assert component("metric", name).score(constant).isnan().all()
    flat = world.case(world.explain(component("explainer", "gradient")), explainer=Flat())
    for name in (*MPRT, "efficient_mprt"):
        assert component("metric", name).score(flat).isnan().all()


@dataclass(frozen=True)
class Flat:
    """The same everywhere."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "gradient"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(torch.ones_like(inputs.x))


def test_noise_does_not_change_the_gradient_of_a_linear_model() -> None:
    world = toy_worlds.linear([3.0, -1.0, 2.0, 0.5])
    case = explained(world)
    assert torch.equal(
        component("metric", "smooth_mprt").score(case),
        component("metric", "mprt_top_down").score(case),
    )


# Entropy


@pytest.mark.parametrize(
    ("values", "shares"),
    [
        ([0.0, 0.0, 0.0, 1.0], [3 / 4, 1 / 4]),
        ([0.0, 0.4, 0.6, 1.0], [2 / 4, 2 / 4]),
        # Nine units, three bins: D22's rule of the batch's rank would give two.
        ([0.0, 1.0, 2.0, 3.1, 4.0, 5.0, 6.1, 8.0, 9.0], [3 / 9, 3 / 9, 3 / 9]),
        ([-9.0, -8.9, -8.8, 0.0], [3 / 4, 1 / 4]),
    ],
)
def test_the_entropy_of_a_histogram_by_hand(values: list[float], shares: list[float]) -> None:
    world = toy_worlds.linear([1.0] * len(values), n=1)
    entropy = histogram_entropy(torch.tensor([values]).double(), world.inputs)
    expected = -sum(share * math.log(share) for share in shares)
    assert entropy.item() == pytest.approx(expected, abs=1e-12)


def test_the_rise_of_entropy_is_relative_to_what_it_was() -> None:
    world = toy_worlds.linear([1.0] * 4, n=1)
    peaked = torch.tensor([[0.0, 0.0, 0.0, 1.0]]).double()
    other = Fixed((0.0, 0.1, 1.0, 1.0))
    before = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    score = component("metric", "efficient_mprt").score
    assert score(world.case(peaked, explainer=other)).item() == pytest.approx(
        (math.log(2) - before) / before
    )
    ignorant = world.case(peaked, explainer=Fixed((0.0, 0.0, 0.0, 1.0)))
    assert score(ignorant).item() == 0


@dataclass(frozen=True)
class Fixed:
    """The given map, whatever the model."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "gradient"
    values: tuple[float, ...] = ()

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(torch.tensor(self.values).double().expand(len(inputs), -1))


# Another class


class TwoSided(nn.Module):
    """`x -> [w.x, -w.x]`."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        out = x @ self.weight
        return torch.stack([out, -out], dim=1)


@pytest.mark.parametrize(
    ("explainer", "expected"), [("gradient", -1), ("saliency", 1), ("input_magnitude", 1)]
)
def test_opposite_classes_have_opposite_maps(explainer: str, expected: float) -> None:
    x = toy_worlds.normal(5, 4, seed=3)
    world = toy_worlds.world(TwoSided(torch.tensor([1.0, -2.0, 3.0, 0.5])), x, torch.arange(4), x)
    scores = component("metric", "random_logit").score(explained(world, explainer))
    torch.testing.assert_close(scores, torch.full((5,), float(expected)).double())


def test_the_other_class_is_never_the_same_and_may_be_any_other() -> None:
    x = toy_worlds.normal(64, 5, seed=3)
    net = nn.Linear(5, 4)
    net.weight.data = toy_worlds.normal(4, 5, seed=5)
    net.bias.data = torch.zeros(4).double()
    world = toy_worlds.world(net, x, torch.arange(5), x)
    scores = component("metric", "random_logit").score(explained(world))
    rho = scipy.stats.spearmanr(net.weight.detach().T).statistic
    pairs = set()
    for target, score in zip(world.targets.tolist(), scores.tolist(), strict=True):
        near = [c for c in range(4) if c != target and abs(rho[target, c] - score) < 1e-12]
        assert near
        pairs |= {(target, c) for c in near}
    assert len(pairs) == 3 * len(world.targets.unique()), "every class is paired with every other"


def test_a_regressor_has_no_other_class() -> None:
    with pytest.raises(Unsupported, match="classifier"):
        component("metric", "random_logit").score(explained(toy_worlds.linear([1.0, 2.0])))
