"""TreeSHAP: both games against enumeration, against shap, and where they part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from tests.support.glassbox_worlds import (
    BOOSTING,
    FOREST,
    LOGIT,
    PROBABILITY,
    TREES,
    classes,
    values,
    world_of,
)
from xai_bench.core import cooperative_games, units
from xai_bench.core.baselines import Background, Constant, Marginal
from xai_bench.core.cost import Metered
from xai_bench.core.imputers import ConditionalGaussian
from xai_bench.explainers.glassbox.treeshap import TreeSHAPInterventional, TreeSHAPPathDependent
from xai_bench.explainers.removal.shapley import ExactShapley
from xai_bench.models.sklearn import SVM
from xai_bench.models.targets import Loss
from xai_bench.models.trees import Tree
from xai_bench.types import TreeStructure, Unsupported

BOTH = (TreeSHAPInterventional(Background()), TreeSHAPPathDependent())
worlds = pytest.mark.parametrize("name", TREES)


def near(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=0, atol=1e-9)


def answers(trees: TreeStructure, x: Tensor) -> Tensor:
    """`[N, F] -> [N, C]`: every tree walked down, node by node."""
    node = trees.roots.expand(len(x), -1)
    for _ in range(trees.depth):
        goes = x.to(trees.precision).gather(1, trees.element[node]) <= trees.threshold[node]
        node = torch.where(goes, trees.left[node], trees.right[node])
    return trees.value[node].sum(1)


@worlds
def test_what_is_read_is_the_explained_scalar_but_for_a_constant(name: str) -> None:
    world = TREES[name](n=40)
    trees = world.model.structure()
    own = answers(trees, world.inputs.x).gather(1, world.targets[:, None])[:, 0]
    rest = world.model.target_output(world.inputs, world.targets) - own
    for k in world.targets.unique():
        near(
            rest[world.targets == k],
            rest[world.targets == k][:1].expand((world.targets == k).sum()),
        )


@pytest.mark.sample(2)
@pytest.mark.sample(6, others="slow")
@worlds
@pytest.mark.parametrize("grouped", [False, True])
def test_interventional_values_are_those_of_all_coalitions(name: str, grouped: bool) -> None:
    world = TREES[name](grouped=grouped)
    for baseline in (Background(), Marginal(3), Constant(0.1)):
        found = world.explain(TreeSHAPInterventional(baseline))
        near(found, world.explain(ExactShapley(baseline)))


def by_hand(trees: TreeStructure, x: Tensor, layout: Tensor, target: int) -> Tensor:
    """`x [F] -> [U]`: path-dependent values from the worth of every coalition, tree by tree."""

    def worth(node: int, kept: Tensor) -> float:
        left, right = int(trees.left[node]), int(trees.right[node])
        if left == node:
            return trees.value[node, target].item()
        element = int(trees.element[node])
        if layout[element] < 0 or kept[layout[element]]:
            below = x[element].to(trees.precision) <= trees.threshold[node]
            return worth(left if below else right, kept)
        shares = [trees.cover[child] / trees.cover[node] for child in (left, right)]
        return sum(
            float(s) * worth(c, kept) for s, c in zip(shares, (left, right), strict=True) if s
        )

    table = [
        sum(worth(int(root), kept) for root in trees.roots)
        for kept in cooperative_games.all_coalitions(int(layout.max()) + 1)
    ]
    return cooperative_games.shapley_values(torch.tensor(table, dtype=torch.float64)[None])[0]


@pytest.mark.sample(2)
@pytest.mark.slow
@worlds
@pytest.mark.parametrize("grouped", [False, True])
def test_path_dependent_values_are_those_of_all_coalitions(name: str, grouped: bool) -> None:
    world = TREES[name](grouped=grouped, n=3)
    trees, layout = world.model.structure(), world.inputs.units[0]
    found = units.pool(world.explain(TreeSHAPPathDependent()), world.inputs.units)
    for b, target in enumerate(world.targets.tolist()):
        near(found[b], by_hand(trees, world.inputs.x[b], layout, target))


@pytest.mark.sample(4, others="slow")
@pytest.mark.parametrize(
    "name", ["forest_probability", "forest_value", "tree_value", "boosting_binary"]
)
def test_both_are_what_shap_says(name: str) -> None:
    shap = pytest.importorskip("shap")
    world = TREES[name]()
    estimator, x = world.model.predictor.estimator, world.inputs.x.numpy()
    background = world.inputs.domain.background.numpy()
    by_path = shap.TreeExplainer(estimator, feature_perturbation="tree_path_dependent")
    by_rows = shap.TreeExplainer(estimator, background, feature_perturbation="interventional")
    # Three classes, 0.01 for each: the votes share the rest. A binary score is split in two.
    factor = {"forest_probability": 1 - 3 * 0.01, "boosting_binary": 0.5}.get(name, 1.0)
    for explainer, theirs in ((BOTH[1], by_path), (BOTH[0], by_rows)):
        expected = torch.tensor(theirs.shap_values(x, check_additivity=False)).double()
        if expected.dim() == 3:
            expected = expected[torch.arange(len(x)), :, world.targets]
        if name == "boosting_binary":
            expected = expected * (2 * world.targets[:, None] - 1)
        torch.testing.assert_close(world.explain(explainer), factor * expected, rtol=0, atol=1e-6)


@pytest.mark.sample(2)
@pytest.mark.slow
@worlds
@pytest.mark.parametrize("explainer", BOTH, ids=["interventional", "path_dependent"])
def test_every_sample_has_the_same_bits_in_any_company(name: str, explainer: Any) -> None:
    world = TREES[name](grouped=True)
    whole = world.explain(explainer)
    assert whole.isfinite().all()
    assert whole.dtype == world.inputs.x.dtype
    for rows in ([2], [3, 0], [1, 1], [8, 7, 6, 5, 4, 3, 2, 1, 0]):
        assert torch.equal(world.take(torch.tensor(rows)).explain(explainer), whole[rows])


@pytest.mark.sample(2, others="slow")
@worlds
@pytest.mark.parametrize("explainer", BOTH, ids=["interventional", "path_dependent"])
def test_no_row_goes_through_the_model(name: str, explainer: Any) -> None:
    world = TREES[name]()
    metered = Metered(world.model)
    explainer.explain(metered, world.inputs, world.targets, rng=world.rng)
    assert metered.usage.rows == explainer.rows(6)


def test_small_memory_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    world = TREES["forest_probability"](grouped=True)
    whole = [world.explain(explainer) for explainer in BOTH]
    monkeypatch.setattr("xai_bench.explainers.glassbox.treeshap._CELLS", 400)
    for explainer, expected in zip(BOTH, whole, strict=True):
        assert torch.equal(world.explain(explainer), expected)


def test_samples_may_differ_in_their_units() -> None:
    world = TREES["forest_value"]()
    layouts = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 1, 2, 2, 0], [0, -1, 1, -1, 2, 0]])
    mixed = layouts.repeat(3, 1)
    world = replace(world, inputs=replace(world.inputs, units=mixed))
    for explainer in BOTH:
        found = world.explain(explainer)
        assert (found[mixed < 0] == 0).all(), "what is never removed has no credit"
        for b in range(3):
            one = world.take(torch.tensor([b]))
            shared = layouts[b].expand(1, 6)
            alone = replace(one, inputs=replace(one.inputs, units=shared)).explain(explainer)
            near(found[b : b + 1], alone)
    near(world.explain(BOTH[0]), world.explain(ExactShapley(Background())))
    pooled = units.pool(world.explain(BOTH[1]), mixed)
    near(pooled[2, :3], by_hand(world.model.structure(), world.inputs.x[2], layouts[2], 0))


@dataclass(frozen=True, eq=False)
class ByHand:
    """A predictor made of written-down trees."""

    trees: TreeStructure
    n_outputs: int = 1
    differentiable: bool = False
    module: None = None

    def __call__(self, x: Tensor, context: Any) -> Tensor:
        return answers(self.trees, x)

    def structure(self, column: str) -> TreeStructure:
        return self.trees


Node = tuple[int, int, int, float, float]


def copies(*nodes: Node) -> toy_worlds.World:
    """Two columns, equal in the data: half of the rows are (-1, -1), half (1, 1).

    A node is (element, left, right, cover, value); every threshold is 0.
    """
    element, left, right, cover, value = (torch.tensor(part) for part in zip(*nodes, strict=True))
    trees = TreeStructure(
        element=element,
        threshold=torch.zeros(len(left), dtype=torch.float64),
        left=left,
        right=right,
        roots=torch.tensor([0]),
        cover=cover.double(),
        value=value.double()[:, None],
        depth=2,
    )
    world = toy_worlds.linear([0.0, 0.0], n=1)
    rows = torch.tensor([[-1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    domain = replace(world.inputs.domain, background=rows)
    model = replace(world.model, predictor=ByHand(trees))
    return toy_worlds.World(model, replace(world.inputs, domain=domain), world.targets)


def conditional(world: toy_worlds.World) -> Tensor:
    """`[U]` of the one sample (1, 1): the mean answer over rows that agree with what is kept."""
    rows, x = world.inputs.domain.background, world.inputs.x[0]
    table = [
        answers(world.model.structure(), rows[((rows == x) | ~kept).all(1)]).mean()
        for kept in cooperative_games.all_coalitions(2)
    ]
    return cooperative_games.shapley_values(torch.stack(table)[None])[0]


def test_a_tree_that_asks_one_copy_only() -> None:
    """F = [x1 > 0]. Whoever looks at the tree credits x1; given x2, x1 is known: half each."""
    world = copies((0, 1, 2, 2, 0), (0, 1, 1, 1, 0), (0, 2, 2, 1, 1))
    for explainer in BOTH:
        near(world.explain(explainer)[0], torch.tensor([0.5, 0.0]).double())
    near(conditional(world), torch.tensor([0.25, 0.25]).double())


BOTH_COPIES = ((0, 1, 2, 2, 0), (0, 1, 1, 1, 0), (1, 3, 4, 1, 0))
"""x1, and where it is positive x2."""


def test_three_games_of_a_tree_that_asks_both_copies() -> None:
    """F = [x1 > 0 and x2 > 0], x1 first; no training row has x2 <= 0 there.

    Path-dependent: without x2 the right child is certain, so x2 adds nothing, ever.
    Interventional: v() = v(1) = v(2) = 1/2, v(1, 2) = 1, so 1/4 each; conditional: 1/4 each, too,
    from v(1) = v(2) = 1.
    """
    world = copies(*BOTH_COPIES, (0, 3, 3, 0, 0), (0, 4, 4, 1, 1))
    near(world.explain(BOTH[0])[0], torch.tensor([0.25, 0.25]).double())
    near(world.explain(BOTH[1])[0], torch.tensor([0.5, 0.0]).double())
    near(conditional(world), torch.tensor([0.25, 0.25]).double())


def test_all_three_games_part() -> None:
    """F = [x1 > 0 and x2 <= 0], which no row is: conditional values are 0, as is f at every row.

    Interventional at (1, 1): v() = 0, v(1) = P(x2 <= 0) = 1/2, v(2) = v(1, 2) = 0: +1/4 and -1/4.
    Path-dependent: no row ever came to the leaf: 0.
    """
    world = copies(*BOTH_COPIES, (0, 3, 3, 0, 1), (0, 4, 4, 1, 0))
    near(world.explain(BOTH[0])[0], torch.tensor([0.25, -0.25]).double())
    near(world.explain(BOTH[1])[0], torch.zeros(2).double())
    near(conditional(world), torch.zeros(2).double())


@pytest.mark.parametrize("explainer", BOTH, ids=["interventional", "path_dependent"])
def test_what_the_trees_do_not_add_up_to_is_declined(explainer: Any) -> None:
    for world, words in (
        (world_of(FOREST, classes(2), LOGIT), "use target=predicted_probability"),
        (world_of(BOOSTING, classes(2), PROBABILITY), "use target=predicted_logit"),
        (world_of(Tree(), values(), Loss()), "another scalar is explained"),
        (world_of(SVM(), values()), "made of trees; use model=tree"),
        (toy_worlds.tabular(), "made of trees; use model=tree"),
    ):
        with pytest.raises(Unsupported, match=words):
            world.explain(explainer)


def test_an_imputer_has_no_references() -> None:
    with pytest.raises(Unsupported, match="needs references"):
        TREES["tree_value"]().explain(TreeSHAPInterventional(ConditionalGaussian()))


def test_a_tree_without_a_question_credits_nobody() -> None:
    data = values()
    flat = replace(data, train=replace(data.train, y=torch.ones_like(data.train.y)))
    for explainer in BOTH:
        assert not world_of(Tree(), flat).explain(explainer).any()
