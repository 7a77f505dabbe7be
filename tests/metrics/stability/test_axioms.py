"""Dummy, linearity and symmetry as metrics: scores and modified models of linear models by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from tests.support.components import component
from xai_bench.metrics.probes.other_models.axioms import Difference, Symmetric, WithoutUnit
from xai_bench.metrics.stability.axioms import Dummy, Linearity, Symmetry
from xai_bench.types import Explanation, Inputs, Model, Rng, Unsupported

WEIGHT = (3.0, 1.0, 0.5)


@dataclass(frozen=True)
class Fixed:
    """The same numbers whatever is asked."""

    values: tuple[float, ...]

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(torch.tensor(self.values, dtype=torch.float64).expand(inputs.x.shape))


def world() -> toy_worlds.World:
    """Outputs `f` and `-f`, with `f = 3 x0 + x1 + x2 / 2`."""
    layer = nn.Linear(3, 2, bias=False)
    weight = torch.tensor(WEIGHT)
    layer.weight = nn.Parameter(torch.stack([weight, -weight]))
    return toy_worlds.world(
        layer, toy_worlds.normal(6, 3, seed=1), torch.arange(3), toy_worlds.normal(20, 3, seed=2)
    )


def score(metric: Any, explainer: Any, made: toy_worlds.World | None = None) -> list[float]:
    made = made or world()
    scores: Tensor = metric.score(made.case(made.explain(explainer), explainer=explainer))
    return scores.tolist()


@pytest.mark.parametrize("metric", [Dummy(), Linearity(), Symmetry()])
@pytest.mark.parametrize("name", ["gradient", "exact_shapley", "integrated_gradients"])
def test_methods_that_satisfy_an_axiom_score_0(metric: Any, name: str) -> None:
    baseline = {"_target_": "xai_bench.core.baselines.Mean"}
    changes = {} if name == "gradient" else {"baseline": baseline}
    scores = score(metric, component("explainer", name, **changes))
    assert scores == pytest.approx([0.0] * 6, abs=1e-9)


def test_axioms_of_a_map_that_ignores_the_model_by_hand() -> None:
    """The middle of three units has 2 of 8; the first two differ by 3, of 7."""
    explainer = Fixed((-5.0, 2.0, 1.0))
    assert score(Dummy(), explainer) == pytest.approx([2 / 8] * 6)
    assert score(Linearity(), explainer) == pytest.approx([1 / 2] * 6)
    assert score(Symmetry(), explainer) == pytest.approx([7 / 7] * 6)
    assert score(Symmetry(), Fixed((5.0, 2.0, 1.0))) == pytest.approx([3 / 7] * 6)


def test_magnitudes_are_not_linear() -> None:
    """`f - (-f)` has slopes `2 w`, and `|w| - |w|` is 0."""
    assert score(Linearity(), component("explainer", "saliency")) == pytest.approx([1.0] * 6)


def test_symmetry_is_1_where_one_of_two_equal_units_gets_everything() -> None:
    assert score(Symmetry(), Fixed((1.0, 0.0, 5.0))) == [1.0] * 6
    assert all(value != value for value in score(Symmetry(), Fixed((0.0, 0.0, 5.0))))


def test_outputs_and_domains_of_the_modified_models() -> None:
    made = world()
    inputs, mean = made.inputs, made.inputs.domain.background.mean(0)
    f = inputs.x @ torch.tensor(WEIGHT).double()
    blind = WithoutUnit(made.model, mean, 0.5)
    torch.testing.assert_close(blind.outputs(inputs)[:, 0], f - inputs.x[:, 1] + mean[1])
    assert blind.ignored(inputs).tolist() == [[False, True, False]] * 6
    torch.testing.assert_close(Difference(made.model).outputs(inputs)[:, 0], 2 * f)
    targets = torch.zeros(6, dtype=torch.long)
    torch.testing.assert_close(Difference(made.model).target_output(inputs, targets), 2 * f)
    even = Symmetric.of(made.model, inputs)
    torch.testing.assert_close(
        even.outputs(inputs)[:, 0], inputs.x @ torch.tensor([2.0, 2.0, 0.5]).double()
    )
    evened = even.evened(inputs)
    assert torch.equal(evened.x[:, 1], inputs.x[:, 0])
    assert torch.equal(evened.x[:, 2], inputs.x[:, 2])
    assert even.domain.scale[0] == even.domain.scale[1]
    torch.testing.assert_close(even.domain.background.mean(0)[0], even.domain.background.mean(0)[1])


def test_units_of_other_sizes_do_not_change_places() -> None:
    """Columns 3 to 5 are one unit; the first unit and the second have one column each."""
    tabular = toy_worlds.tabular()
    even = Symmetric.of(tabular.model, tabular.inputs)
    assert (even.left.tolist(), even.right.tolist()) == ([0], [1])
    odd = toy_worlds.world(
        toy_worlds.Linear(torch.ones(3)),
        toy_worlds.normal(4, 3),
        torch.tensor([0, 0, 1]),
        toy_worlds.normal(9, 3),
    )
    with pytest.raises(Unsupported, match="no other unit"):
        Symmetric.of(odd.model, odd.inputs)


def test_linearity_needs_a_classifier() -> None:
    linear = toy_worlds.linear([1.0, 2.0])
    with pytest.raises(Unsupported, match="a classifier"):
        score(Linearity(), Fixed((1.0, 2.0)), linear)
