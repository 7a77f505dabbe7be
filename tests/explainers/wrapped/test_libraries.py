"""The wrapped libraries: they agree with ours where both mean the same, and leave no trace."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from tests.support.components import component, library, options
from tests.support.glassbox_worlds import GLASS, TREES
from xai_bench.certify.explainer import missing_needs
from xai_bench.core import units
from xai_bench.core.baselines import Constant, Marginal
from xai_bench.core.cost import Metered
from xai_bench.explainers.removal.shapley import ExactShapley
from xai_bench.types import Unsupported

LIBRARIES = ("captum", "shap", "lime")
WRAPPED = {
    package: [name for name in options("explainer") if library(name) == package]
    for package in LIBRARIES
}
PAIRS = Marginal(2)
pytestmark = pytest.mark.slow  # as their libraries are


def made(name: str, **changes: Any) -> Any:
    return replace(component("explainer", name), **changes)


def explained(name: str, world: toy_worlds.World, **changes: Any) -> Tensor:
    return world.explain(made(name, **changes))


def per_unit(found: Tensor, world: toy_worlds.World) -> Tensor:
    return units.pool(found, world.inputs.units)


# Captum and ours, where they are the same formula


@pytest.mark.sample(4)
@pytest.mark.parametrize("where", ["tabular", "image", "text", "series"])
@pytest.mark.parametrize(
    ("theirs", "ours", "same"),
    [
        ("captum_saliency", "saliency", {}),
        ("captum_input_x_gradient", "input_x_gradient", {}),
        ("captum_integrated_gradients", "integrated_gradients", {"budget": 7}),
        ("captum_feature_ablation", "leave_one_out", {}),
        ("captum_shapley_values", "exact_shapley", {}),
    ],
)
def test_captum_finds_what_we_find(theirs: str, ours: str, same: Any, where: str) -> None:
    """One constant baseline; captum's maps of units are in single precision."""
    pytest.importorskip("captum")
    world = toy_worlds.WORLDS[where]()
    try:
        found = explained(theirs, world, **same)
    except Unsupported as reason:
        pytest.skip(str(reason))
    torch.testing.assert_close(found, explained(ours, world, **same), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("captum_saliency", "Saliency"),
        ("captum_deeplift", "DeepLift"),
        ("captum_guided_backprop", "GuidedBackprop"),
        ("captum_deconvolution", "Deconvolution"),
        ("captum_guided_gradcam", "GuidedGradCam"),
    ],
)
def test_the_wrapper_is_captum_called_bare(name: str, bare: str) -> None:
    """On the module itself, with captum's own `target`: filling up batches changes nothing.

    Captum's DeepLIFT does not add up behind max-pooling, as ours does; it is what is judged.
    """
    attr = pytest.importorskip("captum.attr")
    world = toy_worlds.image()
    module: Any = world.model.module
    layer = [module[3]] if bare == "GuidedGradCam" else []
    baselines = {"baselines": 0.1} if bare == "DeepLift" else {}
    strict = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(strict, warn_only=True)
    x = world.inputs.x.clone().requires_grad_()
    theirs = getattr(attr, bare)(module, *layer).attribute(x, target=world.targets, **baselines)
    torch.use_deterministic_algorithms(strict)
    torch.testing.assert_close(explained(name, world), theirs.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("where", ["tabular", "text", "series"])
def test_captum_deeplift_is_ours(where: str) -> None:
    pytest.importorskip("captum")
    world = toy_worlds.WORLDS[where]()
    theirs, ours = explained("captum_deeplift", world), explained("deeplift", world)
    torch.testing.assert_close(theirs, ours, rtol=1e-8, atol=1e-10)


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("name", "ours", "budget"),
    [
        *(
            pytest.param(name, "exact_shapley", 2000, marks=pytest.mark.exhaustive)
            for name in ("captum_shapley_value_sampling", "captum_kernel_shap")
        ),
        ("shap_kernel", "exact_shapley", None),
        ("shap_permutation", "exact_shapley", 4000),
        ("shap_partition", "exact_shapley", None),
    ],
)
def test_with_a_large_budget_they_find_shapley_values(
    name: str, ours: str, budget: int | None
) -> None:
    """Partition finds Owen values, which are near; two references, so that their mean is tried."""
    pytest.importorskip(name.split("_")[0])
    world = toy_worlds.tabular().take(torch.tensor([0, 4]))
    found = explained(name, world, budget=budget)
    exact = world.explain(ExactShapley(Constant(0.1)))
    gap = (found - exact).norm(dim=1) / exact.norm(dim=1)
    assert gap.max() < (0.3 if name == "shap_partition" else 0.03), gap


def test_shap_averages_over_references_as_we_do() -> None:
    """All coalitions of five units, two references that differ from sample to sample."""
    pytest.importorskip("shap")
    from xai_bench.explainers.wrapped.shap_library import ShapKernel

    world = toy_worlds.tabular()
    torch.testing.assert_close(
        world.explain(ShapKernel(PAIRS)), world.explain(ExactShapley(PAIRS)), rtol=1e-7, atol=1e-9
    )


def test_shap_does_not_ask_about_units_that_do_not_vary() -> None:
    """Two of five columns equal their reference: credit 0, and all 2^3 - 2 coalitions suffice."""
    pytest.importorskip("shap")
    x = torch.tensor([[1.0, 0.0, 2.0, 0.0, 3.0]], dtype=torch.float64)
    world = toy_worlds.linear([1.0, 5.0, -1.0, 5.0, 2.0], x=x)
    explainer = made("shap_kernel", baseline=Constant(0.0))
    metered = Metered(world.model)
    found = explainer.explain(metered, world.inputs, world.targets, rng=world.rng).attribution
    expected = torch.tensor([[1.0, 0, -2, 0, 6]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert metered.usage.rows.forward == 2 + 6


@pytest.mark.parametrize(
    "name",
    [
        "captum_shapley_value_sampling", "captum_feature_ablation", "captum_shapley_values",
        "shap_kernel", "shap_permutation", "shap_partition",
        "captum_integrated_gradients", "captum_deeplift",
    ],
)  # fmt: skip
def test_on_a_sum_everybody_finds_its_terms(name: str) -> None:
    """`f(x) = w . x` at x = 1 against 0.1: every contribution is `0.9 w`, whatever is drawn."""
    pytest.importorskip(name.split("_")[0])
    weight = [2.0, -1.0, 0.5, 3.0]
    world = toy_worlds.linear(weight)
    expected = 0.9 * torch.tensor(weight, dtype=torch.float64).expand(3, 4)
    torch.testing.assert_close(explained(name, world), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("where", [n for n in GLASS if n.startswith("linear")])
def test_linear_shap_is_exact(where: str) -> None:
    pytest.importorskip("shap")
    world = GLASS[where](grouped=False)
    exact = world.explain(ExactShapley(PAIRS))
    found = explained("shap_linear", world, baseline=PAIRS)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("where", TREES)
def test_tree_shap_is_ours(where: str) -> None:
    pytest.importorskip("shap")
    world = TREES[where](grouped=False)
    ours, theirs = explained("tree_shap_path_dependent", world), explained("shap_tree", world)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)


def test_deep_shap_of_shap_and_captum_on_the_same_rows() -> None:
    """The mean of DeepLIFT over the rows that both draw: without max-pooling they agree."""
    pytest.importorskip("shap")
    pytest.importorskip("captum")
    for where in ("tabular", "series"):
        world = toy_worlds.WORLDS[where]()
        first, second = (
            explained(name, world, n_samples=5) for name in ("shap_deep", "captum_deeplift_shap")
        )
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("where", ["tabular", "image"])
def test_filling_up_keeps_the_pairs_of_deep_shap_together(where: str) -> None:
    """The wrapper against captum on the bare module: five pairs are filled up to sixteen rows."""
    attr = pytest.importorskip("captum.attr")
    world = toy_worlds.WORLDS[where]()
    background = world.inputs.domain.background
    drawn = background[world.rng.child("background").integers(len(background), 5)]
    strict = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(strict, warn_only=True)
    bare = attr.DeepLiftShap(world.model.module)
    samples = zip(world.inputs.x, drawn, world.targets.tolist(), strict=True)
    theirs = [bare.attribute(x[None].clone(), rows, target=t)[0].detach() for x, rows, t in samples]
    torch.use_deterministic_algorithms(strict)
    found = explained("captum_deeplift_shap", world, n_samples=5)
    torch.testing.assert_close(found, torch.stack(theirs), rtol=1e-8, atol=1e-11)


@pytest.mark.exhaustive
def test_expected_gradients_of_all_three_meet() -> None:
    """Monte Carlo over the same background, many draws."""
    pytest.importorskip("shap")
    pytest.importorskip("captum")
    world = toy_worlds.tabular()
    names = ("expected_gradients", "shap_gradient", "captum_gradient_shap")
    ours, *theirs = (explained(name, world, budget=3000) for name in names)
    for found in theirs:
        assert ((found - ours).norm(dim=1) / ours.norm(dim=1)).max() < 0.12


def test_permutation_of_captum_swaps_with_the_rows_drawn() -> None:
    """On `w . x` the mean drop is `w (x - mean of the drawn rows)`."""
    pytest.importorskip("captum")
    world = toy_worlds.linear([2.0, -1.0, 0.5])
    drawn = world.rng.child("background").integers(32, 8)
    rows = world.inputs.domain.background[drawn].mean(1)
    weight = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    found = explained("captum_feature_permutation", world)
    torch.testing.assert_close(found, weight * (world.inputs.x - rows), rtol=1e-6, atol=1e-8)


def test_occlusion_of_captum_covers_what_units_share() -> None:
    """Windows of 1: a token loses all its elements at once, as when it is left out."""
    pytest.importorskip("captum")
    world = toy_worlds.text()
    found = explained("captum_occlusion", world, window=1)
    expected = per_unit(explained("leave_one_out", world), world)
    torch.testing.assert_close(per_unit(found, world), 4 * expected, rtol=1e-6, atol=1e-8)


# LIME


def test_lime_tells_columns_that_matter() -> None:
    """`3 x0 + x1 - 2 x2`, the fourth column unused: by size and sign of the quartile's effect."""
    pytest.importorskip("lime")
    x = torch.full((2, 4), 2.0, dtype=torch.float64)  # in the highest quartile everywhere
    world = toy_worlds.linear([3.0, 1.0, -2.0, 0.0], x=x)
    found = explained("lime_tabular", world, budget=3000)
    assert (found[:, 0] > found[:, 1]).all()
    assert (found[:, 1] > 0).all()
    assert (found[:, 2] < 0).all()
    assert (found[:, 3].abs() < 0.1 * found[:, 0]).all()


def test_lime_sees_a_one_hot_group_as_one_category() -> None:
    """All rows it asks for keep the group one-hot."""
    pytest.importorskip("lime")
    world, seen = toy_worlds.tabular(), []

    class Watched(Metered):
        def target_output(self, inputs: Any, targets: Tensor) -> Tensor:
            seen.append(inputs.x)
            return super().target_output(inputs, targets)

    explainer = made("lime_tabular", budget=200)
    explainer.explain(Watched(world.model), world.inputs, world.targets, rng=world.rng)
    rows = torch.cat(seen)
    assert set(rows[:, 3:6].flatten().tolist()) == {0.0, 1.0}
    assert (rows[:, 3:6].sum(1) == 1).all()
    assert torch.equal(seen[0][0], world.inputs.x[0]), "the first row is the sample"


def test_lime_fits_the_output_of_a_sum_of_words() -> None:
    """The mean of kept tokens through an affine map is a sum over tokens: ridge nearly finds it."""
    pytest.importorskip("lime")
    world = toy_worlds.text()
    net: Any = world.model.module
    net.net[1] = torch.nn.Identity()
    exact = per_unit(world.explain(ExactShapley(Constant(0.1))), world)
    found = per_unit(explained("lime_text", world, budget=4000), world)
    torch.testing.assert_close(found, exact, rtol=0.02, atol=2e-3)


def test_lime_hides_a_segment_by_its_mean_colour() -> None:
    """A patch of one colour loses nothing when it is hidden: credit 0, whatever its weight."""
    pytest.importorskip("lime")
    world = toy_worlds.image()
    world.inputs.x[:, :, :2, :2] = 0.7
    found = per_unit(explained("lime_image", world, budget=400), world)
    others = found[:, 1:].abs().amax(1)
    assert (found[:, 0].abs() < 0.2 * others).all()


# What they promise


def test_every_feature_attribution_of_captum_is_there() -> None:
    attr = pytest.importorskip("captum.attr")
    family = (attr.Attribution,)
    layered = ("Layer", "Neuron", "Internal", "LLM", "Remote", "DataLoader", "Base", "Perturbation")
    general = ("Attribution", "GradientAttribution", "PerturbationAttribution", "LimeBase")
    classes = {
        name
        for name in attr.__all__
        if isinstance(getattr(attr, name), type)
        and issubclass(getattr(attr, name), family)
        and not name.startswith(layered)
        and name not in general
    }
    from xai_bench.runner.config.catalogue import conf_dir

    text = "".join(
        path.read_text() for path in (conf_dir() / "explainer").glob("captum_*.yaml")
    ).lower()
    missing = {name for name in classes if f".captum{name.lower()}" not in text}
    assert missing == set()


@pytest.mark.parametrize("package", LIBRARIES)
def test_without_the_library_one_sentence_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert WRAPPED[package]
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    world = toy_worlds.tabular()
    for name in WRAPPED[package]:
        try:
            explained(name, world)
        except Unsupported as reason:
            told = str(reason)
        else:
            pytest.fail(f"{name} explains without {package}")
        declined = missing_needs(made(name), "tabular")
        assert declined or f"pip install 'xai-bench[{package}]'" in told


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", ["captum_kernel_shap", "shap_permutation", "lime_tabular"])
def test_global_generators_neither_decide_nor_notice(name: str) -> None:
    pytest.importorskip(name.split("_")[0])
    world = toy_worlds.tabular()
    found = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[index, union-attr]  # noqa: NPY002
        found.append(explained(name, world, budget=100))
        assert random.getstate() == before[0]
        assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index, union-attr]  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.equal(*found)
    other = world.rng.child("repeat", 1)
    again = (
        made(name, budget=100)
        .explain(world.model, world.inputs, world.targets, rng=other)
        .attribution
    )
    assert not torch.equal(again, found[0]), "another stream draws afresh"


@pytest.mark.parametrize("name", ["captum_lime", "captum_kernel_shap", "shap_kernel", "lime_text"])
def test_a_budget_is_never_overspent(name: str) -> None:
    """In rows, whatever the number of references."""
    pytest.importorskip(name.split("_")[0])
    world = toy_worlds.text() if name == "lime_text" else toy_worlds.series()
    metered = Metered(world.model)
    explainer = made(name, budget=101, baseline=PAIRS)
    explainer.explain(metered, world.inputs, world.targets, rng=world.rng)
    spent = metered.usage.rows_of(world.inputs.index)[0]
    assert (spent <= 101).all()
    assert (spent >= 98).all()


@pytest.mark.sample(3)
@pytest.mark.parametrize("n_references", [1, 3])
@pytest.mark.parametrize("budget", [60, 200, 1000])
def test_rows_where_every_unit_differs_from_every_reference(budget: int, n_references: int) -> None:
    """What `rows` cannot state of any sample, it can of one that has nothing in common with them:
    eight segments of a series, in twelve steps.
    """
    pytest.importorskip("shap")
    pytest.importorskip("captum")
    world, n_units, n_steps, window = toy_worlds.series(), 8, 12, 3
    apart = Marginal(n_references)
    everything = min(budget // n_references, 2**n_units)
    drawn = min((budget - 1) // n_references - 1, 2**n_units - 2)
    walk = 2 * n_units + 1
    there_and_back = budget // n_references // walk * walk
    for name, settings, expected in (
        ("shap_kernel", {"budget": budget}, (drawn + 1) * n_references + 1),
        ("shap_permutation", {"budget": budget}, there_and_back * n_references),
        ("shap_partition", {"budget": budget}, everything * n_references),
        ("captum_occlusion", {"window": window}, (1 + n_steps - window + 1) * n_references),
    ):
        metered = Metered(world.model)
        explainer = made(name, baseline=apart, **settings)
        explainer.explain(metered, world.inputs, world.targets, rng=world.rng)
        assert metered.usage.rows_of(world.inputs.index)[0].tolist() == [expected] * 5


def test_nothing_is_left_on_the_layers() -> None:
    """Not even attributes, where captum and shap keep activations and rules."""
    world = toy_worlds.image()
    module = world.model.module
    assert module is not None
    before = [set(vars(layer)) for layer in module.modules()]
    four = {"n_samples": 4}
    settings = {"captum_deeplift_shap": four, "shap_deep": four}
    for name in ("captum_lrp", "captum_deeplift", *settings):
        pytest.importorskip(name.split("_")[0])
        explained(name, world, **settings.get(name, {}))
        assert [set(vars(layer)) for layer in module.modules()] == before


def test_the_terminal_stays_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lime")
    pytest.importorskip("shap")
    world = toy_worlds.image()
    for name in ("lime_image", "shap_kernel", "shap_permutation"):
        explained(name, world, budget=64)
    assert capfd.readouterr() == ("", "")
