"""Every explainer satisfies the axioms of attribution, but those that its tags state to be broken.

And the metrics of implementation and input invariance are what mathematics says they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from tests.support import paths, toy_worlds
from tests.support.components import able, all_of, component
from xai_bench.certify import axioms
from xai_bench.certify import explainer as certify_explainer
from xai_bench.certify.axioms import network, world_of
from xai_bench.certify.explainer import BlackBox
from xai_bench.core.baselines import Constant, Mean
from xai_bench.core.seeds import Seeds
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.loop import evaluate
from xai_bench.explainers.removal.shapley import ExactShapley
from xai_bench.metrics.probes.other_models.equivalent import Shifted, split_units
from xai_bench.types import AXIOMS, Explanation, Inputs, Kind, Model, Rng, Unsupported, tags_of

explainers = all_of("explainer", able("tabular"))


@pytest.mark.sample(3)
@pytest.mark.slow
@explainers
@pytest.mark.parametrize("axiom", list(AXIOMS))
def test_an_explainer_satisfies_the_axioms_but_those_it_states_to_break(
    name: str, axiom: str
) -> None:
    """Those it states must be seen to fail, with the settings of its YAML."""
    explainer = component("explainer", name)
    maps = lambda world: world.explain(certify_explainer.ready(explainer, world))  # noqa: E731
    try:
        satisfied = axioms.SATISFIES[axiom](maps)
    except Unsupported as reason:
        pytest.skip(str(reason))
    assert satisfied == (axiom not in axioms.stated_to_break(explainer))


@pytest.mark.sample(3, others="slow")
@pytest.mark.parametrize(
    "path", sorted((paths.CONF / "baseline").glob("*.yaml")), ids=lambda p: p.stem
)
@pytest.mark.parametrize("axiom", list(AXIOMS))
def test_exact_shapley_values_break_what_the_baseline_breaks(path: Path, axiom: str) -> None:
    """They satisfy every axiom of the game; which game that is, the baseline says."""
    baseline = instantiate(OmegaConf.load(path))
    try:
        satisfied = axioms.SATISFIES[axiom](lambda world: world.explain(ExactShapley(baseline)))
    except Unsupported as reason:
        pytest.skip(str(reason))
    assert satisfied == (axiom not in tags_of(baseline).breaks_axioms)


# Implementation invariance


@dataclass(frozen=True)
class _Explainer:
    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "gradient"


@dataclass(frozen=True)
class PositivePaths(_Explainer):
    """`sum_h max(v_h, 0) |w_h|`: a rule that lets positive weights through alone."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        assert model.module is not None
        first, last = model.module.get_submodule("0"), model.module.get_submodule("2")
        out, into = last.get_parameter("weight"), first.get_parameter("weight")
        return Explanation((out.clamp(min=0) @ into.abs()).expand_as(inputs.x).detach())


def judged(name: str, world: toy_worlds.World, explainer: Any) -> Tensor:
    made = component("explainer", explainer) if isinstance(explainer, str) else explainer
    case = world.case(world.explain(made), made.kind, made)
    found: Tensor = component("metric", name).score(case)
    return found


@pytest.mark.slow
def test_positive_paths_alone_grow_by_half() -> None:
    """Both weights out of the hidden layer are positive: 1.5 of them counts, and -0.5 does not."""
    net = network(torch.tensor([1.0, -1.0, 2.0]), n_hidden=2)
    net[2].weight.data = torch.tensor([[2.0, 0.5]]).double()
    world = world_of(net, toy_worlds.normal(5, 3, seed=1))
    found = judged("implementation_invariance", world, PositivePaths())
    torch.testing.assert_close(found, torch.full((5,), 0.5).double())
    net[2].weight.data = torch.tensor([[-2.0, -0.5]]).double()
    # Nothing passed before; what passes now is 0.5 times the magnitude of the negative weights.
    assert judged("implementation_invariance", world, PositivePaths()).isnan().all()


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("where", ["tabular", "image", "series", "text"])
@pytest.mark.parametrize("name", ["gradient", "integrated_gradients", "leave_one_out", "deeplift"])
def test_what_reads_the_function_does_not_change(where: str, name: str) -> None:
    world = toy_worlds.WORLDS[where]()
    found = judged("implementation_invariance", world, name)
    assert found.nan_to_num().abs().max() < 1e-9


def test_every_hidden_unit_is_there_twice_and_the_original_is_as_it_was() -> None:
    world = toy_worlds.image()
    module = world.model.module
    assert module is not None
    before = {k: v.clone() for k, v in module.state_dict().items()}
    case = world.case(world.inputs.x, explainer=component("explainer", "gradient"))
    made = split_units(case)
    assert split_units(case) is made
    assert made.module is not None
    shapes = {k: tuple(v.shape) for k, v in made.module.state_dict().items()}
    assert shapes == {
        "0.weight": (8, 3, 3, 3), "0.bias": (8,),
        "3.weight": (12, 8, 3, 3), "3.bias": (12,),
        "7.weight": (3, 12), "7.bias": (3,),
    }  # fmt: skip
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "two or more"),
        (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), "two or more"),
        (nn.Sequential(nn.Linear(4, 4), nn.Softmax(1), nn.Linear(4, 2)), "changes this model"),
        (nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (4, 1)), nn.Linear(1, 2),
                       nn.Flatten()), "changes this model"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_is_declined(module: nn.Module, reason: str) -> None:
    world = world_of(module, toy_worlds.normal(5, 4, seed=1))
    with pytest.raises(Unsupported, match=reason):
        judged("implementation_invariance", world, "gradient")


def test_a_black_box_cannot_be_split() -> None:
    world = toy_worlds.tabular()
    case = world.case(world.inputs.x, explainer=component("explainer", "random"))
    with pytest.raises(Unsupported, match="torch module"):
        split_units(replace(case, model=BlackBox(world.model)))


# Input invariance


def test_a_gradient_does_not_see_where_inputs_are_measured_from() -> None:
    for where in ("tabular", "image", "series", "text"):
        assert judged("input_invariance", toy_worlds.WORLDS[where](), "gradient").max() < 1e-9


def test_the_input_times_the_gradient_does_by_hand() -> None:
    """`w x` becomes `w (x + s)`, where s is one standard deviation of each column."""
    weight, x = torch.tensor([1.0, -2.0, 3.0]).double(), toy_worlds.normal(4, 3, seed=1)
    world = toy_worlds.linear(weight.tolist(), x=x)
    scale = world.inputs.domain.scale
    expected = (weight * scale).norm() / (weight * x).norm(dim=1)
    torch.testing.assert_close(judged("input_invariance", world, "input_x_gradient"), expected)


@dataclass(frozen=True)
class Departure(_Explainer):
    """The input less its reference, times the gradient of a linear model."""

    baseline: Constant | Mean = field(default_factory=Constant)

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(inputs.x - self.baseline.references(inputs, rng=rng)[:, 0])


def test_a_baseline_taken_from_data_moves_along_and_a_constant_does_not() -> None:
    world = toy_worlds.linear([1.0, -2.0, 3.0], x=toy_worlds.normal(4, 3, seed=1))
    assert judged("input_invariance", world, Departure(Mean())).max() < 1e-12
    scale = world.inputs.domain.scale
    expected = scale.norm() / world.inputs.x.norm(dim=1)
    torch.testing.assert_close(judged("input_invariance", world, Departure()), expected)


@pytest.mark.parametrize("name", ["linear_surrogate", "tree_surrogate", "permutation_importance"])
def test_what_is_fitted_is_fitted_to_the_shifted_background(name: str) -> None:
    world = toy_worlds.tabular()
    bench = EvaluationContext(
        world.model, world.inputs, world.targets, Seeds(0), batch_size=4, strict=True
    )
    judge = ConfiguredMetric("it", component("metric", "input_invariance"))
    found = evaluate(bench, ConfiguredExplainer(name, component("explainer", name)), [judge])
    assert found.scores["it"].values.max() < 1e-6


def test_truth_distribution_and_padding_shift_as_they_must() -> None:
    world = toy_worlds.text()

    def truth(inputs: Inputs, targets: Tensor) -> Tensor:
        return 2 * inputs.x

    domain = replace(
        world.inputs.domain,
        truth=truth,
        distribution=Distribution(torch.zeros(24).double(), torch.eye(24)),
    )
    inputs = replace(world.inputs, domain=domain)
    shifted = Shifted.of(world.model, domain, 0.5)
    moved = shifted.shifted(inputs)
    padding = inputs.units < 0
    assert torch.equal(moved.x[padding], inputs.x[padding])
    step = (moved.x - inputs.x)[~padding]
    torch.testing.assert_close(step, (0.5 * domain.scale.expand_as(inputs.x))[~padding])
    torch.testing.assert_close(shifted.outputs(moved), world.model.outputs(inputs))
    assert moved.domain.truth is not None
    torch.testing.assert_close(moved.domain.truth(moved, world.targets), 2 * inputs.x)
    assert moved.domain.distribution is not None
    torch.testing.assert_close(moved.domain.distribution.mean, 0.5 * domain.scale.flatten())
    torch.testing.assert_close(moved.domain.background, domain.background + 0.5 * domain.scale)


@dataclass(frozen=True)
class Distribution:
    """Standard normal."""

    mean: Tensor
    covariance: Tensor
