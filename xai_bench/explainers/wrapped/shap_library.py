"""The shap library's explainers; the one file that imports it.

Those that mask features see one feature per unit. A feature's value says where the unit comes from:
`R` is the sample, `0 <= r < R` the r-th reference; a reference that equals the sample in a unit is
given as `R`, for shap asks nothing about features that do not vary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.tree_structure import columns_of, units_of_columns
from xai_bench.explainers.glassbox.structure import layouts, linear_of, trees_of
from xai_bench.explainers.wrapped.captum_gradient import require_gradient, require_module
from xai_bench.explainers.wrapped.common import (
    Column,
    Floats,
    Halves,
    Sample,
    filled,
    missing,
    one_by_one,
    undisturbed,
)
from xai_bench.types import (
    Baseline,
    Explanation,
    Inputs,
    Kind,
    Model,
    Rng,
    Rows,
    TreeStructure,
    Unsupported,
)

LIBRARY = "shap"


def library() -> Any:
    try:
        import shap
    except ImportError:
        raise missing("shap") from None
    return shap


@dataclass(frozen=True, eq=False)
class CoalitionGame:
    """What shap is given: `x [1, U]`, `background [R, U]` and `play: [n, U] -> [n]`."""

    x: Floats
    background: Floats
    play: Callable[[Floats], Floats]

    @staticmethod
    def of(sample: Sample, baseline: Baseline) -> CoalitionGame:
        references = sample.references(baseline)
        sources = torch.cat([references, sample.x])
        n, layout = len(references), sample.inputs.units
        differs = units.pool((references != sample.x).double(), layout.expand(sources[1:].shape))
        codes = torch.where(differs > 0, torch.arange(n)[:, None], n).double().numpy()

        def play(points: Floats) -> Floats:
            chosen = torch.from_numpy(points).round().long()
            source = units.lookup(chosen[None], layout)[0]
            found = sources.gather(0, source)
            return sample.values(torch.where(layout < 0, sample.x, found))

        return CoalitionGame(np.full((1, codes.shape[1]), float(n)), codes, play)


@dataclass(frozen=True)
class ShapKernel:
    """KernelSHAP by the shap library. Lundberg & Lee 2017.

    `budget` is in rows per sample; without one, shap takes `2 U + 2048` coalitions.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Lundberg & Lee 2017, arXiv:1705.07874"

    baseline: Baseline
    budget: int | None = None
    l1_reg: str | float = "num_features(10)"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(one_by_one(self._ask, model, inputs, targets, rng=rng))

    def _ask(self, sample: Sample) -> Tensor:
        game = CoalitionGame.of(sample, self.baseline)
        made = library().KernelExplainer(game.play, game.background)
        found = made.shap_values(
            game.x, nsamples=self._n_samples(len(game.background)), l1_reg=self.l1_reg, silent=True
        )
        return sample.spread(torch.from_numpy(found[0]))

    def _n_samples(self, n_references: int) -> int | str:
        """Beside them, shap looks at the sample and at every reference."""
        if self.budget is None:
            return "auto"
        n_samples = (self.budget - 1) // n_references - 1
        if n_samples < 1:
            raise Unsupported(f"a budget of {self.budget} rows leaves shap no coalition to look at")
        return n_samples

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return None  # it depends on how many units differ from their references


@dataclass(frozen=True)
class ShapPermutation:
    """Shapley values over random orders and their reverses, by the shap library.

    `budget` is in rows per sample; without one, shap takes 500 coalitions. Mitchell+ 2022.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Castro+ 2009; Mitchell+ 2022, arXiv:2104.12199"

    baseline: Baseline
    budget: int | None = None

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(one_by_one(self._ask, model, inputs, targets, rng=rng))

    def _ask(self, sample: Sample) -> Tensor:
        game, shap = CoalitionGame.of(sample, self.baseline), library()
        n_evals, least = evaluations(self.budget, game), 2 * sample.n_units + 1
        if n_evals < least:
            raise Unsupported(
                f"shap needs {least} coalitions for {sample.n_units} units; found {n_evals}"
            )
        masker = shap.maskers.Independent(game.background, max_samples=len(game.background))
        made = shap.PermutationExplainer(game.play, masker, seed=sample.seed)
        found = made(game.x, max_evals=n_evals, silent=True)
        return sample.spread(torch.from_numpy(found.values[0]))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return None  # it depends on how many units differ from their references


@dataclass(frozen=True)
class ShapPartition:
    """Owen values along a tree of the units, clustered by their correlation over the background, by
    the shap library. Owen 1977.

    `budget` is in rows per sample; without one, shap takes 500 coalitions.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Owen 1977; Lundberg & Lee 2017, arXiv:1705.07874"

    baseline: Baseline
    budget: int | None = None

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(one_by_one(self._ask, model, inputs, targets, rng=rng))

    def _ask(self, sample: Sample) -> Tensor:
        game, shap = CoalitionGame.of(sample, self.baseline), library()
        rows = sample.inputs.domain.background
        pooled = units.pool(rows.double(), sample.inputs.units.expand(rows.shape)).numpy()
        if len(rows) < 2 or sample.n_units < 2:
            raise Unsupported("units are clustered by correlation: give two units and two rows")
        tree = shap.utils.hclust(pooled, metric="correlation")
        masker = shap.maskers.Partition(
            game.background, max_samples=len(game.background), clustering=tree
        )
        made = shap.PartitionExplainer(game.play, masker)
        found = made(game.x, max_evals=evaluations(self.budget, game), silent=True)
        return sample.spread(torch.from_numpy(found.values[0]))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return None  # shap stops where a part of the tree has no more to tell


def evaluations(budget: int | None, game: CoalitionGame) -> int:
    """Coalitions within the budget, or shap's default."""
    return 500 if budget is None else budget // len(game.background)


@dataclass(frozen=True)
class ShapGradient:
    """Expected gradients over the background, by the shap library. Erion+ 2021."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Erion+ 2021, arXiv:1906.10670"

    budget: int = 200

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        require_gradient(model)
        return Explanation(one_by_one(self._ask, model, inputs, targets, rng=rng))

    def _ask(self, sample: Sample) -> Tensor:
        column = Column(sample.scalar, awake=False)
        made = library().GradientExplainer(column, sample.background)
        column.awake = True
        return torch.as_tensor(made.shap_values(sample.x, self.budget, rseed=sample.seed))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(self.budget, self.budget)


@dataclass(frozen=True)
class ShapDeep:
    """DeepLIFT against `n_samples` background rows, by the shap library, which checks that it adds
    up. Lundberg & Lee 2017.

    Beside the pairs, filled up to a multiple of 16, it looks at each background row and the sample.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Lundberg & Lee 2017, arXiv:1705.07874"

    n_samples: int = 32

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        require_module(model)
        return Explanation(one_by_one(self._ask, model, inputs, targets, rng=rng))

    def _ask(self, sample: Sample) -> Tensor:
        column = Column(Halves(sample.scalar))
        made = library().DeepExplainer(column, sample.drawn(self.n_samples))
        try:
            return torch.as_tensor(made.shap_values(sample.x))
        except AssertionError as refusal:
            raise Unsupported(f"shap's DeepExplainer found that {refusal}") from None

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        pairs = filled(self.n_samples)
        return Rows(self.n_samples + pairs + 1, pairs)


@dataclass(frozen=True)
class ShapLinear:
    """Weight times the distance from the mean reference, by the shap library, for linear models.

    Lundberg & Lee 2017.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "glassbox"
    needs: ClassVar[tuple[str, ...]] = ("linear",)
    paper: ClassVar[str] = "Lundberg & Lee 2017, arXiv:1705.07874"

    baseline: Baseline

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        linear_of(model)
        return Explanation(one_by_one(self._ask, model, inputs, targets, rng=rng))

    def _ask(self, sample: Sample) -> Tensor:
        weight = linear_of(sample.model).weight[sample.targets[0]].double().numpy()
        background = sample.references(self.baseline).flatten(1).double().numpy()
        shap, at_zero = library(), 0.0  # the constant moves nobody's credit
        masker = shap.maskers.Independent(background, max_samples=len(background))
        made = shap.LinearExplainer((weight, at_zero), masker)
        return torch.as_tensor(made.shap_values(sample.x.flatten(1).double().numpy())[0])

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)


@dataclass(frozen=True)
class ShapTree:
    """Shapley values of trees, by the shap library: the path-dependent game, its default without a
    background. Lundberg+ 2020.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "glassbox"
    needs: ClassVar[tuple[str, ...]] = ("trees",)
    paper: ClassVar[str] = "Lundberg+ 2020, doi:10.1038/s42256-019-0138-9"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        trees = trees_of(model)
        if trees.category_set is not None:
            raise Unsupported(
                "shap takes no questions of categories from users: use tree_shap_path_dependent"
            )
        made = library().TreeExplainer({"trees": _shap_trees(trees)})
        columns = columns_of(trees, inputs.x.flatten(1)).double()
        with undisturbed(model.module):
            found = made.shap_values(columns.numpy(), check_additivity=False)
        credits = torch.from_numpy(np.asarray(found)).view(*columns.shape, -1)
        own = credits[torch.arange(len(inputs)), :, targets]
        return Explanation(_of_elements(own, trees, inputs).to(inputs.x.dtype))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)


def _of_elements(values: Tensor, trees: TreeStructure, inputs: Inputs) -> Tensor:
    """`[B, Q] -> [B, *S]`: those of columns that are no elements of x go to their units."""
    if trees.columns is None:
        return torch.where(inputs.units < 0, 0, values.view(inputs.x.shape))
    by_unit = torch.zeros(len(inputs), units.width(inputs.units) + 1, dtype=values.dtype)
    for rows, layout in layouts(inputs):
        unit = units_of_columns(trees, layout)
        place = torch.where(unit < 0, by_unit.shape[1] - 1, unit).expand(len(rows), -1)
        by_unit[rows] = by_unit[rows].scatter_add(1, place, values[rows])
    return units.spread(by_unit[:, :-1], inputs.units)


def _shap_trees(trees: TreeStructure) -> list[dict[str, Any]]:
    """Trees as shap takes them from users; in ours a leaf is its own child, in theirs it has -1."""
    ends = [*trees.roots.tolist()[1:], len(trees.element)]
    found = []
    missing_left = torch.zeros(len(trees.left), dtype=torch.bool)
    missing_left = missing_left if trees.missing_left is None else trees.missing_left
    for start, end in zip(trees.roots.tolist(), ends, strict=True):
        at = torch.arange(start, end)
        leaf = trees.left[at] == at
        left, right = (torch.where(leaf, -1, way[at] - start) for way in (trees.left, trees.right))
        tree = {
            "children_left": left,
            "children_right": right,
            "children_default": torch.where(missing_left[at], left, right),
            "features": torch.where(leaf, -2, trees.element[at]),
            "thresholds": trees.threshold[at].double(),
            "values": trees.value[at],
            "node_sample_weight": trees.cover[at].double(),
        }
        found.append({name: value.numpy() for name, value in tree.items()})
    return found
