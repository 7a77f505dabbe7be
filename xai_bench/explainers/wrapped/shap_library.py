"""The shap library's explainers; the one file that imports it.

Those that mask features are given one feature per unit. A feature's value says where the unit comes
from: `R` is the sample, `0 <= r < R` the r-th reference; a reference that equals the sample in a
unit is given as `R`, for shap evaluates nothing for features that do not vary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.tree_structure import columns_of, units_of_columns
from xai_bench.explainers.glassbox.structure import layouts, linear_of, trees_of
from xai_bench.explainers.stated_rows import WithoutModel
from xai_bench.explainers.wrapped.common import (
    Column,
    Floats,
    Halves,
    Sample,
    SampleBySample,
    not_installed,
    rows_of_pairs,
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


def shap() -> Any:
    """The library; raises `Unsupported` where it is not installed."""
    try:
        import shap as library
    except ImportError:
        raise not_installed("shap") from None
    return library


class SourceCodes:
    """The coalitions of one sample as shap sees them: where each unit comes from.

    Attributes:
        x: `[1, U]`, the sample; background: `[R, U]`, the references.
    """

    def __init__(self, sample: Sample, baseline: Baseline) -> None:
        self.sample, self.references = sample, sample.references(baseline)
        n = len(self.references)
        layout = sample.inputs.units.expand(self.references.shape)
        differs = units.pool((self.references != sample.x).double(), layout)
        self.x: Floats = np.full((1, sample.n_units), float(n))
        self.background: Floats = (
            torch.where(differs > 0, torch.arange(n)[:, None], n).double().numpy()
        )

    def values(self, points: Floats) -> Floats:
        """`points [n, U] -> [n]`: the target output with every unit from its source."""
        source = torch.from_numpy(points).round().long()
        # `R` itself says that a unit is the sample's own.
        kept = source == len(self.references)
        # All absent units of a point come from one reference; where none is absent, any will do.
        reference = source.amin(1).clamp(max=len(self.references) - 1)
        elements = units.kept_elements(kept[None], self.sample.inputs.units)[0]
        return self.sample.values(torch.where(elements, self.sample.x, self.references[reference]))


@dataclass(frozen=True)
class ShapKernel(SampleBySample):
    """KernelSHAP by the shap library. Lundberg & Lee 2017.

    `budget` is in rows per sample; without one, shap takes `2 U + 2048` coalitions.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Lundberg & Lee 2017, arXiv:1705.07874"
    library: ClassVar[str] = "shap"

    baseline: Baseline
    budget: int | None = None
    l1_reg: str | float = "num_features(10)"

    def attribution(self, sample: Sample) -> Tensor:
        """`[*S]`; raises `Unsupported` for too small a budget."""
        codes = SourceCodes(sample, self.baseline)
        n_samples = self._n_samples(len(codes.background))
        explainer = shap().KernelExplainer(codes.values, codes.background)
        values = explainer.shap_values(codes.x, nsamples=n_samples, l1_reg=self.l1_reg, silent=True)
        return sample.spread(torch.from_numpy(values[0]))

    def _n_samples(self, n_references: int) -> int | str:
        """Beside these coalitions, shap evaluates the sample and every reference."""
        if self.budget is None:
            return "auto"
        n_samples = (self.budget - 1) // n_references - 1
        if n_samples < 1:
            raise Unsupported(
                f"a budget of {self.budget} rows leaves shap no coalition to evaluate"
            )
        return n_samples

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """Unknown: it depends on how many units differ from their references."""
        return None


@dataclass(frozen=True)
class ShapPermutation(SampleBySample):
    """Shapley values over random orders and their reverses, by the shap library.

    `budget` is in rows per sample; without one, shap takes 500 coalitions. Mitchell+ 2022.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Castro+ 2009; Mitchell+ 2022, arXiv:2104.12199"
    library: ClassVar[str] = "shap"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)  # orders are drawn

    baseline: Baseline
    budget: int | None = None

    def attribution(self, sample: Sample) -> Tensor:
        """`[*S]`; raises `Unsupported` where not one pair of orders fits."""
        codes, library = SourceCodes(sample, self.baseline), shap()
        n_evals, least = evaluations(self.budget, codes), 2 * sample.n_units + 1
        if n_evals < least:
            raise Unsupported(
                f"shap needs {least} coalitions for {sample.n_units} units; found {n_evals}"
            )
        masker = library.maskers.Independent(codes.background, max_samples=len(codes.background))
        explainer = library.PermutationExplainer(codes.values, masker, seed=sample.seed)
        explanation = explainer(codes.x, max_evals=n_evals, silent=True)
        return sample.spread(torch.from_numpy(explanation.values[0]))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """Unknown: it depends on how many units differ from their references."""
        return None


@dataclass(frozen=True)
class ShapPartition(SampleBySample):
    """Owen values along a tree of the units, clustered by their correlation over the background, by
    the shap library. Owen 1977.

    `budget` is in rows per sample; without one, shap takes 500 coalitions.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    needs: ClassVar[tuple[str, ...]] = ("background",)
    paper: ClassVar[str] = "Owen 1977; Lundberg & Lee 2017, arXiv:1705.07874"
    library: ClassVar[str] = "shap"
    # Columns that correlate in the background stay together.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)

    baseline: Baseline
    budget: int | None = None

    def attribution(self, sample: Sample) -> Tensor:
        """`[*S]`; raises `Unsupported` where correlations need more units or rows."""
        codes, library = SourceCodes(sample, self.baseline), shap()
        rows = sample.inputs.domain.background
        pooled = units.pool(rows.double(), sample.inputs.units.expand(rows.shape)).numpy()
        if len(rows) < 2 or sample.n_units < 2:
            raise Unsupported("units are clustered by correlation: give two units and two rows")
        tree = library.utils.hclust(pooled, metric="correlation")
        masker = library.maskers.Partition(
            codes.background, max_samples=len(codes.background), clustering=tree
        )
        explainer = library.PartitionExplainer(codes.values, masker)
        n_evals = evaluations(self.budget, codes)
        explanation = explainer(codes.x, max_evals=n_evals, silent=True)
        return sample.spread(torch.from_numpy(explanation.values[0]))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """Unknown: shap does not split parts of the tree that are worth nothing."""
        return None


def evaluations(budget: int | None, codes: SourceCodes) -> int:
    """Coalitions within the budget, or shap's default."""
    return 500 if budget is None else budget // len(codes.background)


@dataclass(frozen=True)
class ShapGradient(SampleBySample):
    """Expected gradients over the background, by the shap library. Erion+ 2021."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Erion+ 2021, arXiv:1906.10670"
    library: ClassVar[str] = "shap"
    # Rows in which columns differ; single precision.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry", "linearity")

    budget: int = 200

    def attribution(self, sample: Sample) -> Tensor:
        """`[1, *S, 1]`, the mean over `budget` draws of a background row and a place."""
        column = Column(sample.scalar, active=False)
        explainer = shap().GradientExplainer(column, sample.background)
        column.active = True
        values = explainer.shap_values(sample.x, self.budget, rseed=sample.seed)
        return torch.as_tensor(values).to(sample.x.device)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row per draw, forward and back."""
        return Rows(self.budget, self.budget)


@dataclass(frozen=True)
class ShapDeep(SampleBySample):
    """DeepLIFT against `n_samples` background rows, by the shap library, which checks that it adds
    up. Lundberg & Lee 2017.

    Beside the pairs, filled up to a multiple of 16, it evaluates the rows and the sample alone.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "one_call")
    paper: ClassVar[str] = "Lundberg & Lee 2017, arXiv:1705.07874"
    library: ClassVar[str] = "shap"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)  # rows in which columns differ

    n_samples: int = 32

    def attribution(self, sample: Sample) -> Tensor:
        """`[1, *S, 1]`, the mean over background rows; raises `Unsupported` where it does not add
        up.
        """
        column = Column(Halves(sample.scalar))
        explainer = shap().DeepExplainer(column, sample.drawn(self.n_samples))
        try:
            return torch.as_tensor(explainer.shap_values(sample.x)).to(sample.x.device)
        except AssertionError as refusal:
            raise Unsupported(f"shap's DeepExplainer found that {refusal}") from None

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """Every background row and the sample alone, and all pairs of them, forward and back."""
        pairs = rows_of_pairs(self.n_samples)
        return Rows(self.n_samples + pairs + 1, pairs)


@dataclass(frozen=True)
class ShapLinear(WithoutModel, SampleBySample):
    """Weight times the distance from the mean reference, by the shap library, for linear models.

    Lundberg & Lee 2017.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "glassbox"
    needs: ClassVar[tuple[str, ...]] = ("linear",)
    paper: ClassVar[str] = "Lundberg & Lee 2017, arXiv:1705.07874"
    library: ClassVar[str] = "shap"

    baseline: Baseline

    def attribution(self, sample: Sample) -> Tensor:
        """`[F]`, from the weights; raises `Unsupported` where the model is not linear in x."""
        weight = linear_of(sample.model).weight[sample.targets[0]].double().numpy()
        background = sample.references(self.baseline).flatten(1).double().numpy()
        library, intercept = shap(), 0.0  # which changes no attribution
        masker = library.maskers.Independent(background, max_samples=len(background))
        explainer = library.LinearExplainer((weight, intercept), masker)
        return torch.as_tensor(explainer.shap_values(sample.x.flatten(1).double().numpy())[0])


@dataclass(frozen=True)
class ShapTree(WithoutModel):
    """Shapley values of trees, by the shap library: the path-dependent game, its default without a
    background. Lundberg+ 2020.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "glassbox"
    needs: ClassVar[tuple[str, ...]] = ("trees",)
    paper: ClassVar[str] = "Lundberg+ 2020, doi:10.1038/s42256-019-0138-9"
    library: ClassVar[str] = "shap"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` for a model without trees, or whose trees compare categories."""
        trees = trees_of(model)
        if trees.category_set is not None:
            raise Unsupported(
                "shap takes no trees from users that compare categories: use "
                "tree_shap_path_dependent"
            )
        explainer = shap().TreeExplainer({"trees": _shap_trees(trees)})
        columns = columns_of(trees, inputs.x.flatten(1)).double()
        with undisturbed(model.module):
            values = explainer.shap_values(columns.numpy(), check_additivity=False)
        by_class = torch.from_numpy(np.asarray(values)).view(*columns.shape, -1)
        of_target = by_class[torch.arange(len(inputs)), :, targets]
        return Explanation(_of_elements(of_target, trees, inputs).to(inputs.x.dtype))


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
    made = []
    missing_left = torch.zeros(len(trees.left), dtype=torch.bool)
    missing_left = missing_left if trees.missing_left is None else trees.missing_left
    for start, end in zip(trees.roots.tolist(), ends, strict=True):
        at = torch.arange(start, end)
        leaf = trees.left[at] == at
        left, right = (torch.where(leaf, -1, c[at] - start) for c in (trees.left, trees.right))
        tree = {
            "children_left": left,
            "children_right": right,
            "children_default": torch.where(missing_left[at], left, right),
            "features": torch.where(leaf, -2, trees.element[at]),
            "thresholds": trees.threshold[at].double(),
            "values": trees.value[at],
            "node_sample_weight": trees.cover[at].double(),
        }
        made.append({name: value.numpy() for name, value in tree.items()})
    return made
