"""Counterfactuals: closed forms on a linear classifier, the rules of the data, and the metrics."""

from __future__ import annotations

import io
import random
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from tests.support import toy_worlds
from tests.support.components import component, each_of, library, options
from xai_bench.certify.toy_worlds import unrestricted
from xai_bench.core import actionability, counterfactuals
from xai_bench.core.calls import model_outputs
from xai_bench.core.seeds import Seeds
from xai_bench.data.tables.files import CustomTable
from xai_bench.results import ExplainerResult
from xai_bench.results.drawing.changes import number
from xai_bench.results.tracking.counterfactual_table import counterfactual_table
from xai_bench.types import Actionability, Explanation, Fitted, Unsupported, tags_of

EXPLAINERS = [
    name
    for name in options("explainer")
    if component("explainer", name).category == "counterfactual"
    and "vocabulary" not in tags_of(component("explainer", name)).needs  # texts: test_token_flips
]
explainers = each_of(EXPLAINERS)
SMALLER = {
    "wachter": {"budget": 200},
    "growing_spheres": {"budget": 800},
    "dice": {"n_samples": 60},
}
"""Fewer steps and draws than shipped, which are enough for what holds at any size."""
WEIGHT = torch.tensor([3.0, -2.0, 1.5, 1.0, -0.5, 2.5], dtype=torch.float64)


def classifier(
    n: int = 12, rules: Actionability | None = None, sizes: float = 1.0
) -> toy_worlds.World:
    """Two classes that part where `w . x = 0`; columns of deviation 1, 2, ..., 6 times `sizes`."""
    head = nn.Linear(6, 2, bias=False).double()
    with torch.no_grad():
        head.weight.copy_(torch.stack([WEIGHT / 2, -WEIGHT / 2]))
    rows = toy_worlds.normal(80, 6, seed=2) * torch.arange(1, 7) * sizes
    x = toy_worlds.normal(n, 6, seed=1) * torch.arange(1, 7) * sizes
    found = toy_worlds.world(head, x, torch.arange(6), rows)
    domain = replace(found.inputs.domain, actionability=rules)
    return replace(found, inputs=replace(found.inputs, domain=domain))


def ready(name: str, world: toy_worlds.World, **changes: Any) -> Any:
    if library(name):
        pytest.importorskip(library(name).replace("-", "_"))
    made = component("explainer", name, **{**SMALLER.get(name, {}), **changes})
    assert isinstance(made, Fitted)
    rng = Seeds(0).stream("fit", samples=torch.zeros(1, dtype=torch.long))
    return made.fit(world.model, world.background(), rng=rng)


def answer(name: str, world: toy_worlds.World, **changes: Any) -> Explanation:
    explainer = ready(name, world, **changes)
    return explainer.explain(world.model, world.inputs, world.targets, rng=world.rng)


def points(found: Explanation) -> Tensor:
    assert found.counterfactuals is not None
    return found.counterfactuals


def score(name: str, world: toy_worlds.World, found: Tensor | None) -> Tensor:
    case = world.case(torch.ones_like(world.inputs.x))
    metric = component("metric", f"counterfactual_{name}")
    return metric.score(toy_worlds.stating(case, counterfactuals=found))


def margins(world: toy_worlds.World) -> Tensor:
    return (world.inputs.x @ WEIGHT).abs()


# Closed forms of the explainers


@pytest.mark.slow
def test_wachter_changes_the_one_element_that_is_cheapest() -> None:
    """The L1 nearest point of a half-space moves the element with the largest |w| * MAD only."""
    world = classifier()
    deviation = 1 / counterfactuals.prices(world.inputs)
    gain = WEIGHT.abs() * deviation
    least = margins(world) / gain.max()
    found = answer("wachter", world, budget=500)
    away = counterfactuals.distance(world.inputs, points(found), 1 / deviation)[:, 0]
    assert (away > least).all(), "nothing is nearer than the nearest"
    assert (away < 1.03 * least).all()
    assert (found.attribution.argmax(1) == gain.argmax()).all()
    share = found.attribution.max(1).values / found.attribution.sum(1)
    assert share.min() > 0.97
    torch.testing.assert_close(found.attribution.sum(1), away)


@pytest.mark.slow
def test_growing_spheres_come_near_the_projection_and_never_beat_it() -> None:
    """The L2 nearest point is the projection; before units are put back, draws come near it."""
    world = classifier(rules=None)
    world = replace(world, model=replace(world.model, max_rows=4096))
    deviation = world.inputs.domain.scale
    least = margins(world) / (WEIGHT * deviation).norm()
    found = points(answer("growing_spheres", world, budget=4000))[:, 0]
    away = ((found - world.inputs.x) / deviation).norm(dim=1)
    assert (away > least).all()
    assert (away < 1.25 * least).all()
    assert (away / least).mean() < 1.12
    side = (world.inputs.x @ WEIGHT).sign()[:, None]
    assert ((found - world.inputs.x) * WEIGHT * side <= 0).all(), "what led away was put back"
    assert (found == world.inputs.x).any(1).sum() > 6


@pytest.mark.slow
def test_more_spheres_come_nearer() -> None:
    world = classifier()
    deviation = world.inputs.domain.scale
    away = [
        ((points(answer("growing_spheres", world, budget=b))[:, 0] - world.inputs.x) / deviation)
        .norm(dim=1)
        .nanmean()
        for b in (400, 3000)
    ]
    assert away[1] < 0.9 * away[0]


@pytest.mark.slow
def test_no_sphere_that_was_asked_for_is_nearer_than_what_is_told() -> None:
    """Every point that the model was shown and that has another class, in any round."""
    world, seen = classifier(n=5, rules=None), []
    assert world.model.module is not None
    with world.model.module.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone())):
        for k in range(len(world.inputs)):
            seen.clear()
            alone = world.take(torch.tensor([k]))
            found = points(answer("growing_spheres", alone, budget=2000))[:, 0]
            shown = torch.cat(seen)
            other = (shown @ WEIGHT > 0) != (alone.inputs.x @ WEIGHT > 0)
            away = ((shown[other] - alone.inputs.x) / world.inputs.domain.scale).norm(dim=1)
            told = ((found - alone.inputs.x) / world.inputs.domain.scale).norm()
            assert told <= away.min() + 1e-9


def test_the_nearest_unlike_neighbour_is_that_of_brute_force() -> None:
    rules = unrestricted(codes=torch.zeros(6, dtype=torch.bool))
    rules.rising[3] = True
    world = classifier(rules=rules)
    rows, x = world.inputs.domain.background, world.inputs.x
    deviation = (rows - rows.quantile(0.5, dim=0)).abs().quantile(0.5, dim=0)
    expected = torch.full((len(x), 2, 6), torch.nan, dtype=torch.float64)
    for b in range(len(x)):
        able = [
            (float(((row - x[b]).abs() / deviation).sum()), k)
            for k, row in enumerate(rows)
            if (row @ WEIGHT > 0) != (x[b] @ WEIGHT > 0) and row[3] >= x[b, 3]
        ]
        for m, (_, k) in enumerate(sorted(able)[:2]):
            expected[b, m] = rows[k]
    found = points(answer("nearest_unlike_neighbour", world, n_counterfactuals=2))
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
def test_wachter_gives_the_same_answers_at_any_budget_in_one_run() -> None:
    world = classifier()
    explainer = ready("wachter", world)
    arguments = (world.model, world.inputs, world.targets)
    found = explainer.anytime(*arguments, [60, 150], rng=world.rng)
    for budget, one in zip((60, 150), found, strict=True):
        alone = replace(explainer, budget=budget).explain(*arguments, rng=world.rng)
        assert torch.equal(points(one).nan_to_num(), points(alone).nan_to_num())


def test_wachter_keeps_the_nearest_point_of_its_whole_way() -> None:
    world = classifier()
    explainer, price = ready("wachter", world), counterfactuals.prices(world.inputs)
    arguments = (world.model, world.inputs, world.targets)
    found = explainer.anytime(*arguments, range(120, 160), rng=world.rng)
    away = torch.stack(
        [counterfactuals.distance(world.inputs, points(one), price)[:, 0] for one in found]
    )
    assert (away.diff(dim=0) <= 0).all()


# What holds for all of them


@pytest.mark.sample(4)
@explainers
def test_a_counterfactual_has_another_class_and_the_attribution_is_what_changed(name: str) -> None:
    world = classifier()
    found = answer(name, world)
    some = ~points(found)[:, 0].isnan().any(1)
    assert some.any()
    away = counterfactuals.distance(
        world.inputs, points(found), counterfactuals.prices(world.inputs)
    )
    nearest = away.nan_to_num(nan=torch.inf).min(1).values
    torch.testing.assert_close(found.attribution.sum(1)[some], nearest[some])
    assert (found.attribution[~some] == 0).all()
    outputs = model_outputs.outputs_at(world.model, world.inputs, points(found).nan_to_num())
    exists = ~points(found).isnan().any(2)
    assert (outputs.argmax(2) != world.targets[:, None])[exists].all()


@pytest.mark.sample(2)
@explainers
def test_of_a_regressor_it_lies_on_the_other_side_of_the_median(name: str) -> None:
    world = toy_worlds.linear([1.0, -2.0, 0.5], x=toy_worlds.normal(6, 3, seed=5))
    found = points(answer(name, world))
    border = (world.inputs.domain.background @ torch.tensor([1.0, -2, 0.5]).double()).quantile(0.5)
    now = world.model.outputs(world.inputs)[:, :1] > border
    then = model_outputs.outputs_at(world.model, world.inputs, found.nan_to_num())[..., 0]
    exists = ~found.isnan().any(2)
    assert exists.any(1).all()
    assert ((then > border) != now)[exists].all()
    assert (score("validity", world, found) == exists.double().mean(1)).all()


@pytest.mark.sample(3)
@explainers
def test_the_rules_of_the_data_hold(name: str) -> None:
    """In the table world: fixed, rising, bounded, a category, and a grid."""
    world = toy_worlds.tabular()
    found = points(answer(name, world))
    exists = ~found.isnan().any(2)
    # No background row agrees with a sample in the column that never changes.
    assert exists.any() == (name != "nearest_unlike_neighbour")
    moved, x = found[exists], world.inputs.x[:, None].expand_as(found)[exists]
    assert (moved[:, 0] == x[:, 0]).all()
    assert (moved[:, 1] >= x[:, 1]).all()
    assert (
        (moved[:, 2] >= torch.clamp(x[:, 2], max=-1)) & (moved[:, 2] <= x[:, 2].clamp(min=1))
    ).all()
    assert (moved[:, 3:6].sort(1).values == torch.tensor([0.0, 0, 1])).all()
    grid = (moved[:, 6] * 2).round() / 2
    assert ((moved[:, 6] == x[:, 6]) | (moved[:, 6] - grid).abs().lt(1e-9)).all()
    assert (score("actionability", world, found)[exists.any(1)] == 1).all()


@explainers
def test_nothing_is_found_where_nothing_may_change(name: str) -> None:
    rules = unrestricted(codes=torch.zeros(6, dtype=torch.bool))
    rules.fixed[:] = True
    world = classifier(rules=rules)
    found = answer(name, world)
    assert points(found).isnan().all()
    assert (found.attribution == 0).all()
    assert (score("validity", world, points(found)) == 0).all()
    assert score("proximity", world, points(found)).isnan().all()


def numbers() -> list[int]:
    """The state of numpy's global generator."""
    return list(np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.sample(4)
@explainers
def test_it_does_not_depend_on_the_batch_and_leaves_generators_alone(name: str) -> None:
    world = toy_worlds.tabular()
    random.seed(5)
    states = random.getstate(), numbers(), torch.get_rng_state()
    spoken = io.StringIO()
    with redirect_stdout(spoken), redirect_stderr(spoken):
        whole = points(answer(name, world))
    assert spoken.getvalue() == ""
    assert random.getstate() == states[0]
    assert numbers() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    random.seed(6)
    for rows in ([3], [4, 1]):
        part = points(answer(name, world.take(torch.tensor(rows))))
        assert torch.equal(part.nan_to_num(), whole[rows].nan_to_num())


@explainers
def test_what_has_left_the_class_already_has_no_counterfactual(name: str) -> None:
    """With a target such as the true label, x may be in another class than the one explained."""
    world = classifier()
    wrong = replace(world, targets=1 - world.targets)
    found = points(answer(name, wrong))
    if name != "nearest_unlike_neighbour":  # it does not ask the model, but the metrics do
        assert found.isnan().all()
    for metric in ("validity", "proximity", "sparsity", "plausibility"):
        assert score(metric, wrong, found).isnan().all()


@pytest.mark.slow
def test_dice_is_diverse() -> None:
    world = classifier(n=5)
    found = points(answer("dice", world))
    assert (score("diversity", world, found).nan_to_num(nan=1.0) > 0).all()
    assert found.shape[1] == 4


@pytest.mark.exhaustive
def test_dice_breeds_rows_too() -> None:
    world = toy_worlds.tabular().take(torch.tensor([0, 3]))
    found = points(answer("dice", world, method="genetic", n_counterfactuals=2))
    assert (~found.isnan()).any()
    with pytest.raises(ValueError, match="choose from random, genetic"):
        answer("dice", world, method="genetics")


def test_dice_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "dice_ml", None)
    world = classifier()
    explainer = component("explainer", "dice")
    with pytest.raises(Unsupported, match=r"pip install 'xai-bench\[dice\]'"):
        explainer.explain(world.model, world.inputs, world.targets, rng=world.rng)


# The rules themselves


def test_the_nearest_possible_point() -> None:
    world = toy_worlds.tabular().take(torch.tensor([0, 1, 2]))
    x = world.inputs.x
    assert x[:, 3:6].argmax(1).tolist() == [0, 1, 2]
    wanted = x[:, None].clone()
    wanted[:, 0, :2] -= 5  # fixed; may only rise
    wanted[:, 0, 2] = 7  # at most 1
    wanted[:, 0, 3] += torch.tensor([0.0, 0.9, 1.1])  # the first category: is it; no; yes
    wanted[:, 0, 6] = 1.3  # a grid of halves
    found = actionability.nearest(world.inputs, wanted)[:, 0]
    assert torch.equal(found[:, :2], x[:, :2])
    assert torch.equal(found[:, 2], torch.maximum(x[:, 2], torch.ones(3)))
    assert found[:, 3:6].argmax(1).tolist() == [0, 1, 0]
    assert found[:, 6].tolist() == [1.5] * 3
    assert actionability.possible(world.inputs, found[:, None]).all()
    assert torch.equal(actionability.nearest(world.inputs, x[:, None])[:, 0], x)


@pytest.mark.parametrize(
    ("place", "change"), [(0, 0.1), (1, -0.1), (2, 3.0), (3, 1.0), (4, 0.3), (6, 0.1)]
)
def test_what_is_not_possible_is_seen(place: int, change: float) -> None:
    world = toy_worlds.tabular()
    at = world.inputs.x.clone()
    at[:, 6] = 0.5
    inputs = world.inputs.with_x(at)
    moved = at[:, None].clone()
    assert actionability.possible(inputs, moved).all()
    moved[..., place] += change
    seen = actionability.possible(inputs, moved)[:, 0]
    assert not seen.any()


# Closed forms of the metrics


def single(world: toy_worlds.World, place: int, beyond: float = 1.5) -> Tensor:
    """`[B, F]`: over the border by a change of one element."""
    moved = world.inputs.x.clone()
    moved[:, place] -= beyond * (moved @ WEIGHT) / WEIGHT[place]
    return moved


def test_scores_by_hand() -> None:
    """Three candidates: one element over the border; two elements; one that falls short."""
    world = classifier()
    x = world.inputs.x
    two = (single(world, 0, 3.0) + single(world, 1, 3.0)) / 2
    found = torch.stack([single(world, 0), two, single(world, 1, 0.5)], dim=1)
    price = counterfactuals.prices(world.inputs)
    one, other = ((found[:, m] - x).abs() * price for m in (0, 1))
    expected = torch.full((12,), 2 / 3, dtype=torch.float64)
    torch.testing.assert_close(score("validity", world, found), expected)
    nearest = torch.minimum(one.sum(1), other.sum(1))
    torch.testing.assert_close(score("proximity", world, found), nearest)
    torch.testing.assert_close(
        score("proximity", world, found[:, :1]), 1.5 * margins(world) / 3 * price[0]
    )
    is_one = one.sum(1) < other.sum(1)
    assert torch.equal(score("sparsity", world, found), torch.where(is_one, 1.0, 2.0).double())
    torch.testing.assert_close(
        score("diversity", world, found), ((found[:, 0] - two).abs() * price).sum(1)
    )
    assert score("diversity", world, found[:, :2][:, [0, 0]]).eq(0).all()


def test_another_category_costs_one_and_changes_one_unit() -> None:
    world = toy_worlds.tabular()
    x = world.inputs.x
    moved = x.clone()
    moved[:, 3:6] = x[:, 3:6].roll(1, 1)
    price = counterfactuals.prices(world.inputs)
    away = counterfactuals.distance(world.inputs, moved[:, None], price)
    torch.testing.assert_close(away, torch.ones_like(away))
    sparse = score("sparsity", world, moved[:, None])
    assert sparse[~sparse.isnan()].eq(1).all()


def test_plausibility_is_one_for_a_typical_row_and_grows_with_the_distance() -> None:
    world = classifier(200)
    rows = world.inputs.domain.background
    other = [rows[(rows @ WEIGHT > 0) == side] for side in (False, True)]
    sides = (world.inputs.x @ WEIGHT > 0).long()
    typical = torch.stack([other[1 - s][b % 30] for b, s in enumerate(sides.tolist())])
    near = score("plausibility", world, typical[:, None])
    assert near.median().item() == pytest.approx(1, abs=0.2)
    far = score("plausibility", world, 10 * typical[:, None])
    assert (far > 3 * near).all()


def test_plausibility_by_hand() -> None:
    """Rows 1, 2, 4, 8 of the new class, k = 1: their own distances are 1, 1, 2, 4."""
    head = nn.Linear(1, 2).double()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[-1.0], [1.0]]))
        head.bias.zero_()
    rows = torch.tensor([[-3.0], [-1], [1], [2], [4], [8]], dtype=torch.float64)
    world = toy_worlds.world(head, torch.tensor([[-1.0], [-2.0]]).double(), torch.arange(1), rows)
    found = torch.tensor([[[5.0]], [[11.0]]]).double()
    metric = component("metric", "counterfactual_plausibility", k=1)
    case = world.case(torch.ones(2, 1), counterfactuals=found)
    # torch's median of 1, 1, 2, 4 is the lower middle one
    torch.testing.assert_close(metric.score(case), torch.tensor([1.0, 3.0]).double())


def test_actionability_counts_what_breaks_a_rule() -> None:
    rules = unrestricted(codes=torch.zeros(6, dtype=torch.bool))
    rules.fixed[1] = True
    world = classifier(rules=rules)
    found = torch.stack([single(world, 0), single(world, 1), single(world, 2)], dim=1)
    expected = torch.full((12,), 2 / 3, dtype=torch.float64)
    torch.testing.assert_close(score("actionability", world, found), expected)
    with pytest.raises(Unsupported, match="which changes are possible"):
        score("actionability", classifier(), found)


@pytest.mark.parametrize("name", ["validity", "proximity", "sparsity", "plausibility", "diversity"])
def test_without_counterfactuals_there_is_nothing_to_score(name: str) -> None:
    with pytest.raises(Unsupported, match="no counterfactuals"):
        score(name, classifier(), None)


def test_counterfactuals_are_written_as_a_table() -> None:
    world = toy_worlds.tabular().take(torch.tensor([0, 1]))
    x = world.inputs.x
    moved = x[:, None].repeat(1, 2, 1)
    moved[0, 0, 1] += 2
    moved[0, 0, 3:6] = torch.tensor([0.0, 1, 0])
    moved[1, 1] = torch.nan
    one = ExplainerResult(
        "mine",
        "",
        "relevance",
        "counterfactual",
        {},
        world.inputs.index,
        Explanation(x, counterfactuals=moved),
    )
    inputs = {"x": x, "units": world.inputs.units}
    told = counterfactual_table(one, inputs, ["id", "age", "hours", "colour", "rooms"])
    assert told is not None
    rows = told.splitlines()[2:]
    assert rows[0] == f"| 0 | age: {x[0, 1]:.2f} → {x[0, 1] + 2:.2f}; colour: another |"
    assert rows[1:] == ["| 0 | nothing |", "| 1 | nothing |", "| 1 | *not found* |"]
    assert counterfactual_table(replace(one, explanation=Explanation(x)), inputs, []) is None


def test_counterfactuals_are_written_in_the_units_of_the_file() -> None:
    frame = pd.DataFrame(
        {
            "age": [20, 30, 40, 50, 60] * 20,
            "work": ["none", "part", "full", "part", "none"] * 20,
            "y": [0, 1] * 50,
        }
    )
    bundle = CustomTable("unused.csv", "y").bundle(frame, len(frame))
    x, age = bundle.test.x[:1], bundle.elements[0]
    moved = x.clone()
    moved[0, 0] = (33 - age.mean) / age.scale
    was = x[0, 1:].argmax().item()
    moved[0, 1:] = torch.tensor([0.0, 0, 0])
    moved[0, 1 + (was + 1) % 3] = 1
    one = ExplainerResult(
        "mine", "", "relevance", "counterfactual", {}, torch.tensor([7]),
        Explanation(x, counterfactuals=moved[:, None]),
    )  # fmt: skip
    inputs = {"x": x, "units": bundle.test.units[:1]}
    told = counterfactual_table(one, inputs, bundle.unit_names, bundle.elements)
    words = ["full", "none", "part"]
    years = age.mean + age.scale * x[0, 0].item()
    expected = {f"age: {years:.0f} → 33", f"work: {words[was]} → {words[(was + 1) % 3]}"}
    assert told is not None
    assert (
        set(told.splitlines()[2].removeprefix("| 7 | ").removesuffix(" |").split("; ")) == expected
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.012345678, "0.012346"), (-3.0, "-3"), (1234.5678, "1234.6"), (99999.4, "99999"),
     (99999.9996, "100000"), (226802.0, "226802"), (-1234567.8, "-1234568")],
)  # fmt: skip
def test_a_large_number_has_no_exponent(value: float, told: str) -> None:
    assert number(value) == told


def test_one_counterfactual_is_not_diverse() -> None:
    world = classifier()
    with pytest.raises(Unsupported, match="more than one"):
        score("diversity", world, single(world, 0)[:, None])
