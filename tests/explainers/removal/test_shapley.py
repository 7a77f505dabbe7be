"""Games with known values; estimators against enumeration."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from tests.explainers.gradient.test_methods import world_of
from tests.support import toy_worlds
from xai_bench.core import units
from xai_bench.core.baselines import Constant, Marginal, Mean
from xai_bench.core.coalitions import CoalitionGame, PermutedDesign
from xai_bench.core.cost import Metered
from xai_bench.core.seeds import Seeds
from xai_bench.explainers.removal.banzhaf import Banzhaf
from xai_bench.explainers.removal.engine import CoalitionSampler
from xai_bench.explainers.removal.interactions import ExactInteractions, ShapleyInteractions
from xai_bench.explainers.removal.occlusion import LeaveOneOut, Occlusion, PatchOcclusion
from xai_bench.explainers.removal.shapley import ExactShapley, KernelSHAP, PermutationShapley
from xai_bench.explainers.removal.sobol import Sobol
from xai_bench.explainers.surrogate.lime import LIME, LassoLIME
from xai_bench.types import Rows, Unsupported

torch.set_num_threads(1)
ZERO = Constant(0.0)
EXACT = [ExactShapley(ZERO), KernelSHAP(ZERO)]
EFFICIENT = [*EXACT, PermutationShapley(ZERO, 64), KernelSHAP(ZERO, 50)]


def asked(explainer: CoalitionSampler, n_coalitions: int, world: toy_worlds.World) -> Tensor:
    """`[B, K, U]` bool: the coalitions of each sample, in the order in which they are asked for."""
    n_units, rng = units.width(world.inputs.units), world.rng
    design = explainer.design(n_units, n_coalitions, rng=rng.child("coalitions").shared())
    names = rng.child("names").uniform(n_units).argsort(1)
    return design[:, names].movedim(1, 0)


def ids(explainer: object) -> str:
    return f"{type(explainer).__name__}-{getattr(explainer, 'budget', '')}"


@pytest.mark.parametrize(
    "explainer",
    [*EFFICIENT, LeaveOneOut(ZERO), Occlusion(ZERO, window=1), LIME(ZERO, ridge=0.0)],
    ids=ids,
)
def test_a_linear_model_gives_everybody_their_own(explainer):
    weight = [4.0, -3.0, 0.0, 1.0, 0.5, 2.0]
    world = toy_worlds.linear(weight, toy_worlds.normal(3, 6))
    expected = torch.tensor(weight).double() * world.inputs.x
    assert torch.allclose(world.explain(explainer), expected, atol=1e-9)


@pytest.mark.parametrize("explainer", EXACT, ids=ids)
@pytest.mark.parametrize(
    ("game", "x", "expected"),
    [
        pytest.param(lambda x: x[:, 0] * x[:, 1], [2.0, 3.0], [3.0, 3.0], id="product"),
        pytest.param(lambda x: x.amin(1), [1.0, 1, 1, 1], [0.25] * 4, id="and"),
        pytest.param(lambda x: x.amax(1), [1.0, 1, 1, 1], [0.25] * 4, id="or"),
        # Two left gloves and one right one: a pair needs both sides.
        pytest.param(
            lambda x: torch.minimum(x[:, 0] + x[:, 1], x[:, 2]),
            [1.0, 1, 1], [1 / 6, 1 / 6, 4 / 6], id="gloves",
        ),
        # v(S) = |S|^2 with a fourth player who does nothing: 9 is shared by three.
        pytest.param(lambda x: x[:, :3].sum(1) ** 2, [1.0, 1, 1, 5], [3.0, 3, 3, 0], id="dummy"),
        # Airport: runways of 1, 2 and 3. Each stretch is shared by those who need it.
        pytest.param(
            lambda x: (x * torch.tensor([1.0, 2, 3]).double()).amax(1),
            [1.0, 1, 1], [1 / 3, 1 / 3 + 1 / 2, 1 / 3 + 1 / 2 + 1], id="airport",
        ),
    ],
)  # fmt: skip
def test_games_with_known_values(explainer, game, x, expected):
    credits = world_of(game, [x]).explain(explainer)
    assert torch.allclose(credits, torch.tensor([expected]).double(), atol=1e-12)


def by_all_orders(world: toy_worlds.World, fill: float) -> Tensor:
    """`[B, U]`: the mean gain over every order, one model call per step."""
    ids = world.inputs.units[0]
    n_units = int(ids.max()) + 1
    total = torch.zeros(len(world.inputs), n_units, dtype=torch.float64)
    orders = list(permutations(range(n_units)))
    for order in orders:
        x = torch.full_like(world.inputs.x, fill)
        before = world.model.target_output(world.inputs.with_x(x), world.targets)
        for unit in order:
            x = torch.where(ids == unit, world.inputs.x, x)
            after = world.model.target_output(world.inputs.with_x(x), world.targets)
            total[:, unit] += after - before
            before = after
    return total / len(orders)


@pytest.mark.parametrize("explainer", [ExactShapley(Constant(0.3)), KernelSHAP(Constant(0.3))])
def test_against_all_orders(explainer):
    world = toy_worlds.tabular()
    credits = units.pool(world.explain(explainer), world.inputs.units)
    assert torch.allclose(credits, by_all_orders(world, 0.3), atol=1e-9)


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("explainer", EFFICIENT, ids=ids)
@pytest.mark.parametrize("name", ["tabular", "text", "series", "gates"])
def test_credits_add_up(explainer, name):
    world = toy_worlds.WORLDS[name]()
    explainer = type(explainer)(Marginal(3), *list(vars(explainer).values())[1:])
    x, padding = world.inputs.x, world.inputs.units < 0
    starts = explainer.baseline.references(world.inputs, rng=world.rng)
    starts = torch.where(padding[:, None], x[:, None], starts)
    empty = [
        world.model.target_output(world.inputs.with_x(s), world.targets) for s in starts.unbind(1)
    ]
    full = world.model.target_output(world.inputs, world.targets)
    total = world.explain(explainer).flatten(1).sum(1)
    assert torch.allclose(total, full - torch.stack(empty).mean(0), atol=1e-9)


@pytest.mark.parametrize(
    "explainer",
    [
        ExactShapley(ZERO),
        PermutationShapley(ZERO, 40),
        LeaveOneOut(ZERO),
        Occlusion(ZERO, window=1),
    ],
    ids=ids,
)
def test_a_unit_that_changes_nothing_gets_exactly_zero(explainer):
    world = world_of(lambda x: (x[:, 0] * x[:, 1]).tanh() + x[:, 3].sin(), [[0.3, 1.7, 2.0, 0.9]])
    assert world.explain(explainer)[0, 2].item() == 0.0


@pytest.mark.parametrize("explainer", EXACT, ids=ids)
def test_equal_players_get_equal_credit(explainer):
    world = world_of(lambda x: (x[:, 0] + x[:, 1]).tanh() * x[:, 2], [[0.7, 0.7, 1.3]])
    credits = world.explain(explainer)[0]
    assert credits[0].item() == pytest.approx(credits[1].item(), abs=1e-12)


def smooth_world(n_units: int, n: int = 8) -> toy_worlds.World:
    w = toy_worlds.normal(n_units, 6, seed=5) / n_units**0.5
    v = toy_worlds.normal(6, seed=6)
    return world_of(
        lambda x: (2 * x @ w).tanh() @ v, toy_worlds.normal(n, n_units, seed=7).tolist()
    )


@pytest.mark.parametrize("estimator", [PermutationShapley, KernelSHAP])
def test_estimates_approach_the_exact_values(estimator):
    world = smooth_world(10)
    exact = world.explain(ExactShapley(ZERO))
    errors = [
        (world.explain(estimator(ZERO, budget)) - exact).norm() / exact.norm()
        for budget in (20, 120, 720)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05


def test_mean_of_many_draws_is_unbiased():
    # One pair of orders per sample, 2000 samples of the same input: the mean is the exact value.
    world = world_of(lambda x: x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3], [[1.0, 2.0, 3.0, 1.0]] * 2000)
    mean = world.explain(PermutationShapley(ZERO, 8)).mean(0)
    assert torch.allclose(mean, torch.tensor([2.0, 2, 2, 1]).double(), atol=0.2)


def test_orders_are_run_backwards_too():
    # Gains in a two-player product depend on the order only: one pair of orders is exact.
    world = world_of(lambda x: x[:, 0] * x[:, 1], [[2.0, 3.0]])
    assert torch.equal(
        world.explain(PermutationShapley(ZERO, 4)), torch.tensor([[3.0, 3]]).double()
    )


def test_more_budget_keeps_the_orders():
    rng = toy_worlds.linear([1.0] * 5).rng.shared()
    small = PermutationShapley(ZERO).design(5, 10, rng=rng)
    large = PermutationShapley(ZERO).design(5, 66, rng=rng)
    assert torch.equal(large[: len(small)], small)


@pytest.mark.parametrize("n_units", [1, 2, 31, 32, 33, 70])
@pytest.mark.parametrize("shares", [False, True])
def test_a_renamed_design_is_the_design_under_other_names(n_units, shares):
    design, names = (
        toy_worlds.normal(9, n_units, seed=1),
        toy_worlds.normal(5, n_units, seed=2).argsort(1),
    )
    design = design if shares else design < 0
    renamed = PermutedDesign(design, names)
    assert renamed.shape == (5, 9, n_units)
    block = renamed[slice(1, 4), slice(2, 9)]
    expected = design[2:9][:, names[1:4]].movedim(1, 0)
    assert torch.equal(block if shares else block.bool(), expected)
    if block.dtype is torch.int32:
        assert ((block == 0) | (block == -1)).all(), "all bits of a word, or none"


@pytest.mark.parametrize("n_units", [3, 31, 32, 33])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_renamed_design_is_worth_what_its_coalitions_are(n_units, dtype):
    """Words, bool and both kinds of numbers: the model is asked at the same points, bit for bit."""
    x = toy_worlds.normal(4, n_units, seed=1).to(dtype)
    world = toy_worlds.world(Summed().to(dtype), x, torch.arange(n_units), x)
    game = CoalitionGame(world.model, world.inputs, world.targets, Constant(0.3), rng=world.rng)
    design, names = (
        toy_worlds.normal(20, n_units, seed=2) < 0,
        world.rng.uniform(n_units).argsort(1),
    )
    plain = design[:, names].movedim(1, 0)
    assert torch.equal(game.values(PermutedDesign(design, names)), game.values(plain))


@pytest.mark.parametrize(
    ("max_rows", "calls"), [(4, [4, 3] * 40), (70, [70] * 4), (150, [112, 112, 56]), (1000, [280])]
)
def test_calls_are_bounded_and_need_no_filling_up_where_that_can_be(max_rows, calls):
    """Of 40 samples with 7 coalitions each: sixteens of samples, or all, or as there is room."""
    world = toy_worlds.linear([1.0, 2.0, 4.0], n=40)
    model = Metered(replace(world.model, max_rows=max_rows))
    kept = toy_worlds.normal(40, 7, 3, seed=1) < 0
    found = CoalitionGame(model, world.inputs, world.targets, ZERO, rng=world.rng).values(kept)
    expected = (kept * world.inputs.x[:, None] * torch.tensor([1.0, 2.0, 4.0])).sum(2)
    assert torch.allclose(found, expected.double())
    assert [len(rows) for rows in model.usage.forward] == calls


def test_the_shared_stream_is_one_for_all_samples():
    few, many = (Seeds(1).stream("explain", samples=torch.arange(n)) for n in (1, 9))
    drawn = many.child("a").shared().uniform(6)
    assert drawn.shape == (1, 6)
    assert torch.equal(drawn, few.child("a").shared().uniform(6))
    assert torch.equal(drawn, many.take(torch.tensor([3])).child("a").shared().uniform(6))
    assert torch.equal(drawn[:, :4], many.child("a").shared().uniform(4))
    others = [many.child("b"), Seeds(2).stream("explain", samples=torch.arange(9)).child("a")]
    assert not any(torch.equal(drawn, other.shared().uniform(6)) for other in others)
    assert not (many.child("a").uniform(6) == drawn).any(), "no sample's own"


@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(KernelSHAP, marks=pytest.mark.exhaustive),
        *(
            pytest.param(e, marks=pytest.mark.exhaustive)
            for e in (PermutationShapley, Banzhaf, LIME)
        ),
    ],
)
def test_one_design_for_all_is_as_good_as_one_each(estimator):
    """40 samples of one input, 150 times: were designs drawn apart, the mean over samples would
    vary 40 times less than one sample does; with one design and no renaming, as much.
    """
    x = toy_worlds.normal(1, 14, seed=7).expand(40, -1)
    w, v = toy_worlds.normal(14, 6, seed=5) / 14**0.5, toy_worlds.normal(6, seed=6)
    world = world_of(lambda x: (2 * x @ w).tanh() @ v, x.tolist())
    streams = [Seeds(s).stream("explain", samples=world.inputs.index) for s in range(150)]
    explain = estimator(ZERO, 64).explain
    maps = [explain(world.model, world.inputs, world.targets, rng=r).attribution for r in streams]
    found = torch.stack(maps)
    apart = found.var(1).mean(0) / 40
    assert (found.mean(1).var(0) / apart).mean() < 1.7


def test_kernel_shap_draws_sizes_by_the_shapley_kernel():
    kept = KernelSHAP(ZERO).design(13, 32_002, rng=toy_worlds.linear([1.0] * 13).rng.shared())
    assert kept.shape == (32_002, 13)
    singles, drawn = kept[2:28], kept[28:]
    assert singles.sum(1).sort().values.tolist() == [1] * 13 + [12] * 13
    assert len(singles.unique(dim=0)) == 26, "each unit alone, and all others"
    assert torch.equal(drawn[::2], ~drawn[1::2])
    sizes = torch.arange(2, 12).double()
    expected = 1 / (sizes * (13 - sizes))
    found = drawn.sum(1).bincount(minlength=13)[2:12].double()
    assert torch.allclose(found / found.sum(), expected / expected.sum(), atol=0.01)
    assert torch.allclose(drawn.double().mean(0), torch.full((13,), 0.5).double(), atol=0.02)


def test_kernel_shap_shares_equally_what_its_coalitions_leave_open():
    # Two units that always come and go together cannot be told apart.
    kept = torch.tensor([[1, 1, 1], [0, 0, 0], [1, 1, 0], [0, 0, 1]]).bool()
    values = torch.tensor([[5.0, 0, 4, 1]]).double()
    credits = KernelSHAP(ZERO).solve(kept, values).values
    assert torch.allclose(credits, torch.tensor([[2.0, 2, 1]]).double())


def test_leave_one_out_of_a_product():
    world = world_of(lambda x: x[:, 0] * x[:, 1] + x[:, 2], [[2.0, 3.0, 1.0]])
    expected = torch.tensor([[6.0, 6, 1]]).double()
    assert torch.equal(world.explain(LeaveOneOut(ZERO)), expected)


@pytest.mark.parametrize(
    ("window", "stride", "expected"),
    [
        # Windows of 1 2 4 8 16: (01) (12) (23) (34), each drop shared by two.
        pytest.param(2, 1, [1.5, (1.5 + 3) / 2, (3 + 6) / 2, (6 + 12) / 2, 12], id="sliding"),
        # (01) (23) and a last one that ends at the end, (34).
        pytest.param(2, 2, [1.5, 1.5, 6, (6 + 12) / 2, 12], id="stride"),
        pytest.param(9, 1, [31 / 5] * 5, id="one window for all"),
    ],
)
def test_occlusion_by_hand(window, stride, expected):
    world = toy_worlds.linear([1.0, 2.0, 4.0, 8.0, 16.0])
    credits = world.explain(Occlusion(ZERO, window, stride))
    assert torch.allclose(credits[0], torch.tensor(expected).double())


def test_occlusion_agrees_with_captum():
    attr = pytest.importorskip("captum.attr")
    world = smooth_world(7)
    theirs = attr.Occlusion(world.model.module).attribute(
        world.inputs.x, (3,), baselines=torch.full_like(world.inputs.x, 0.2), target=world.targets
    )
    ours = world.explain(Occlusion(Constant(0.2), window=3))
    # Theirs gives every unit the whole drop, in single precision.
    assert torch.allclose(3 * ours, theirs.double(), atol=1e-5)


@pytest.mark.parametrize(("window", "stride"), [(0, 1), (2, 3), (2, 0)])
def test_occlusion_must_cover_every_unit(window, stride):
    with pytest.raises(ValueError, match="stride <= window"):
        toy_worlds.tabular().explain(Occlusion(ZERO, window, stride))


def test_occlusion_of_an_image_by_hand():
    # A row of windows of 2 x 2 over 2 x 3 pixels of 1 2 4 / 8 16 32 in two channels: 54, 108.
    pixels = torch.tensor([[1.0, 2, 4], [8, 16, 32]]).double().expand(1, 2, 2, 3)
    world = toy_worlds.world(Summed(), pixels, torch.arange(12).view(2, 2, 3), pixels)
    found = world.explain(PatchOcclusion(ZERO, 2))[0]
    expected = torch.tensor([54 / 8, (54 + 108) / 16, 108 / 8]).double()
    assert torch.allclose(found, expected.expand(2, 2, 3))


class Summed(nn.Module):
    def forward(self, x):
        return x.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize(("patch", "stride"), [(1, 1), (3, 1), (3, 2), (2, 2)])
def test_occlusion_of_images_agrees_with_captum(patch, stride):
    attr = pytest.importorskip("captum.attr")
    world = toy_worlds.image()
    size = (world.inputs.x.shape[1], patch, patch)
    theirs = attr.Occlusion(world.model.module).attribute(
        world.inputs.x, size, (1, stride, stride), baselines=0.2, target=world.targets
    )
    ours = world.explain(PatchOcclusion(Constant(0.2), patch, stride))
    # Theirs gives every pixel the whole drop, in single precision; a last patch that would stick
    # out is cut off there, and ends at the edge here.
    inner = 8 - (8 - patch) % stride - (patch if (8 - patch) % stride else 0)
    whole = (ours * patch**2 * size[0])[..., :inner, :inner]
    assert torch.allclose(whole, theirs[..., :inner, :inner].double(), atol=1e-5)


@pytest.mark.parametrize(
    ("patch", "stride", "n_windows"), [(1, 1, 8), (3, 1, 6), (3, 2, 4), (8, 1, 1)]
)
def test_patches_take_a_row_each_and_one_for_the_whole(patch, stride, n_windows):
    world = toy_worlds.image()
    metered = Metered(world.model)
    patches = PatchOcclusion(Marginal(3), patch, stride)
    patches.explain(metered, world.inputs, world.targets, rng=world.rng)
    assert metered.usage.rows == Rows(len(world.inputs) * 3 * (1 + n_windows**2))


@pytest.mark.parametrize(("patch", "stride"), [(0, 1), (2, 3), (2, 0)])
def test_patches_must_cover_every_pixel(patch, stride):
    with pytest.raises(ValueError, match="stride <= patch"):
        toy_worlds.image().explain(PatchOcclusion(ZERO, patch, stride))


def test_lime_is_the_ridge_regression_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    world, explainer = smooth_world(6), LIME(Mean(), budget=40, ridge=0.5)
    kept = asked(explainer, 40, world)
    ours = world.explain(explainer)
    mean = world.inputs.domain.background.mean(0)
    for b in range(len(world.inputs)):
        points = torch.where(kept[b], world.inputs.x[b], mean)
        values = world.model.module(points)[:, 0]
        cosine = kept[b].sum(1) / (kept[b].sum(1) * 6).sqrt().clamp(min=1e-9)
        weight = torch.exp(-((1 - cosine) ** 2) / 0.25**2)
        ridge = linear_model.Ridge(alpha=0.5).fit(kept[b], values, sample_weight=weight)
        assert torch.allclose(ours[b], torch.tensor(ridge.coef_), atol=1e-7)


def test_lime_keeps_every_unit_with_chance_one_half():
    kept = LIME(ZERO).design(4, 4001, rng=toy_worlds.linear([1.0] * 4).rng.shared())
    assert kept[0].all()
    assert torch.allclose(kept[1:].double().mean(0), torch.full((4,), 0.5).double(), atol=0.03)


SAMPLERS = [PermutationShapley, KernelSHAP, Banzhaf, ShapleyInteractions, Sobol, LIME, LassoLIME]


@pytest.mark.sample(3, others="slow")
@pytest.mark.parametrize("n_units", [2, 3, 5, 12, 13, 60])
@pytest.mark.parametrize("estimator", [KernelSHAP, Banzhaf, PermutationShapley])
def test_an_additive_model_is_explained_exactly_at_the_smallest_budget(estimator, n_units):
    weight = toy_worlds.normal(n_units, seed=3)
    world = toy_worlds.linear(weight.tolist(), toy_worlds.normal(3, n_units))
    least = estimator(ZERO).least(n_units)
    for budget in {least, least + 1, least + 2, least + 4, 3 * n_units, 8 * n_units}:
        if budget >= least:
            found = world.explain(estimator(ZERO, budget))
            assert torch.allclose(found, weight * world.inputs.x, atol=1e-9), budget


@pytest.mark.sample(5)
@pytest.mark.sample(15, others="slow")
@pytest.mark.parametrize("n_units", [6, 40])
@pytest.mark.parametrize("estimator", SAMPLERS)
def test_the_smallest_budget_is_better_than_saying_nothing(estimator, n_units):
    w, v = toy_worlds.normal(n_units, 16, seed=5) / n_units**0.5, toy_worlds.normal(16, seed=6)
    world = world_of(lambda x: (x @ w).relu() @ v, toy_worlds.normal(8, n_units, seed=7).tolist())
    shapley = (PermutationShapley, KernelSHAP, ShapleyInteractions)
    reference = PermutationShapley if estimator in shapley else estimator
    right = world.explain(reference(ZERO, 4000))
    found = world.explain(estimator(ZERO, estimator(ZERO).least(n_units)))
    assert (found - right).norm() < right.norm()


@pytest.mark.parametrize(
    "explainer",
    [
        ExactShapley(ZERO),
        LeaveOneOut(ZERO),
        Occlusion(ZERO),
        ExactInteractions(ZERO),
        *(e(ZERO, 120) for e in SAMPLERS),
    ],
)
def test_units_that_equal_every_reference_get_zero(explainer):
    """Some in one sample, none in the next, all in the last; what adds up still does."""
    x = toy_worlds.normal(3, 9, seed=1)
    x[0, [1, 4, 8]] = 0
    x[2] = 0
    world = world_of(lambda x: (x[:, :5].sum(1)).tanh() * x[:, 5:].sum(1) + x[:, 0], x.tolist())
    answer = explainer.explain(world.model, world.inputs, world.targets, rng=world.rng)
    assert (answer.attribution[x == 0] == 0).all()
    assert (answer.attribution[x != 0] != 0).any()
    if answer.standard_error is not None:
        assert (answer.standard_error[x == 0] == 0).all()
    if explainer.null_units == "shared":
        change = world.model.target_output(world.inputs, world.targets)
        assert torch.allclose(answer.attribution.sum(1), change, atol=1e-9)
    if answer.interactions is not None:
        assert (answer.interactions[0, [1, 4, 8]] == 0).all()
        assert torch.allclose(answer.interactions.sum(2), answer.attribution, atol=1e-9)


@pytest.mark.parametrize(
    ("explainer", "least"),
    [
        (KernelSHAP(ZERO, 199), 200),
        (PermutationShapley(ZERO, 199), 200),
        (Banzhaf(ZERO, 399), 400),
        (ShapleyInteractions(ZERO, 401), 402),
        (Sobol(ZERO, 815), 816),
        (LIME(ZERO, 100), 101),
    ],
)
def test_too_small_a_budget_is_told(explainer, least):
    world = toy_worlds.linear([1.0] * 100, n=2)
    with pytest.raises(Unsupported, match=f"at least {least}"):
        world.explain(explainer)


def test_too_many_units_for_enumeration():
    with pytest.raises(Unsupported, match="16 units"):
        toy_worlds.image().explain(ExactShapley(ZERO))


@pytest.mark.parametrize(
    "explainer", [*EFFICIENT, LeaveOneOut(ZERO), Occlusion(ZERO), LIME(ZERO, ridge=0.0)], ids=ids
)
def test_a_single_unit_gets_everything(explainer):
    world = world_of(lambda x: x[:, 0] ** 2, [[3.0], [2.0]])
    assert torch.allclose(world.explain(explainer), torch.tensor([[9.0], [4.0]]).double())
