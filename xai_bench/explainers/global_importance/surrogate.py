"""Global surrogates: a simple model fitted to the model's outputs, explained in its place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from xai_bench.core.calls.model_outputs import class_outputs
from xai_bench.explainers.global_importance.fitted_importance import (
    not_fitted,
    require_classes,
    require_variation,
)
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows


@dataclass(frozen=True)
class LinearSurrogate:
    """A ridge regression of the target output on the background, one per class: its coefficient
    times the distance from the background's mean, which is the surrogate's Shapley value.

    Lundberg & Lee 2017.

    Attributes:
        ridge: the penalty, relative to the variance of an element after scaling.
        coefficients: `[C, *S]`, from `fit`.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "global_importance"
    needs: ClassVar[tuple[str, ...]] = ("background",)
    paper: ClassVar[str] = "Lundberg & Lee 2017, arXiv:1705.07874 (linear SHAP, on a surrogate)"
    # Columns of the background correlate by chance.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry")

    ridge: float = 1e-3
    coefficients: Tensor | None = field(default=None, compare=False, repr=False)

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> LinearSurrogate:
        """The explainer with its coefficients; takes `N * C` rows.

        Raises `Unsupported` where all background rows are equal.
        """
        require_variation(background)
        scale = background.domain.scale.double()
        rows = ((background.x - background.x.mean(0)) / scale).flatten(1)
        responses = class_outputs(model, background)
        # The dual form: as many equations as rows, of which there are fewer than pixels.
        gram = rows @ rows.T + self.ridge * len(rows) * torch.eye(len(rows), dtype=rows.dtype)
        inverse = torch.linalg.pinv(gram, rtol=1e-12, hermitian=True)
        # With the pseudo-inverse, so that a ridge of 0 gives the fit of least norm.
        slopes = (rows.T @ (inverse @ (responses - responses.mean(0)))).T
        return replace(self, coefficients=slopes.view(-1, *scale.shape) / scale)

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises ValueError before `fit`, `Unsupported` where targets are more than a class."""
        if self.coefficients is None:
            raise not_fitted(self)
        require_classes(targets)
        centred = inputs.x - inputs.domain.background.mean(0)
        attribution = self.coefficients[targets] * centred
        return Explanation(torch.where(inputs.units < 0, 0, attribution).to(inputs.x.dtype))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """No rows: all work is done in `fit`."""
        return Rows(0)


@dataclass(frozen=True)
class TreeSurrogate:
    """A regression tree of the target output on the background, one per class. On a sample's path
    to its leaf, every change of the node's mean is attributed to the element that is compared.

    Attributions add up to the tree's prediction minus its mean. Craven & Shavlik 1996; Saabas 2014.

    Attributes:
        trees: one per class, from `fit`.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "global_importance"
    needs: ClassVar[tuple[str, ...]] = ("background",)
    paper: ClassVar[str] = "Craven & Shavlik 1996; Saabas 2014"
    # One of two equal columns is compared; thresholds do not add up.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry", "linearity")

    max_depth: int = 4
    min_samples_leaf: int = 2
    trees: tuple[_Tree, ...] = field(default=(), compare=False, repr=False)

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> TreeSurrogate:
        """The explainer with its trees; takes `N * C` rows.

        Raises `Unsupported` where all background rows are equal.
        """
        from sklearn.tree import DecisionTreeRegressor

        require_variation(background)
        seed = int(rng.child("tree").integers(2**31 - 1)[0])
        # Among splits of equal gain scikit-learn draws, hence the seed.
        regressor = DecisionTreeRegressor(
            max_depth=self.max_depth, min_samples_leaf=self.min_samples_leaf, random_state=seed
        )
        rows = background.x.flatten(1).numpy()
        responses = class_outputs(model, background).numpy()
        trees = (_Tree.of(regressor.fit(rows, response).tree_) for response in responses.T)
        return replace(self, trees=tuple(trees))

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises ValueError before `fit`, `Unsupported` where targets are more than a class."""
        if not self.trees:
            raise not_fitted(self)
        require_classes(targets)
        x = inputs.x.flatten(1)
        attribution = torch.zeros(x.shape, dtype=torch.float64)
        for k, tree in enumerate(self.trees):
            of_class = targets == k
            attribution[of_class] = tree.attribution(x[of_class])
        by_element = attribution.view(inputs.x.shape).to(inputs.x.dtype)
        return Explanation(torch.where(inputs.units < 0, 0, by_element))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """No rows: all work is done in `fit`."""
        return Rows(0)


@dataclass(frozen=True, eq=False)
class _Tree:
    """Nodes of a tree, `[n_nodes]` each. A leaf is its own child on both sides.

    Attributes:
        element: the element that a node compares with its `threshold`.
        left, right: the child where the element is at most the threshold, and the other one.
        mean: of the training responses in the node.
    """

    element: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    mean: Tensor
    depth: int

    @staticmethod
    def of(tree: Any) -> _Tree:
        """From scikit-learn's `tree_`, where a leaf has children -1 and element -2."""
        itself = torch.arange(tree.node_count)
        left, right = torch.tensor(tree.children_left), torch.tensor(tree.children_right)
        return _Tree(
            element=torch.tensor(tree.feature).clamp(min=0),
            threshold=torch.tensor(tree.threshold),
            left=torch.where(left < 0, itself, left),
            right=torch.where(right < 0, itself, right),
            mean=torch.tensor(tree.value[:, 0, 0]),
            depth=int(tree.max_depth),
        )

    def attribution(self, x: Tensor) -> Tensor:
        """`[b, D] -> [b, D]`: the changes of the mean, at the elements that caused them."""
        out = torch.zeros(x.shape, dtype=torch.float64)
        node = torch.zeros(len(x), dtype=torch.long)
        # Paths that end early stay at their leaf, where nothing changes.
        for _ in range(self.depth):
            element = self.element[node][:, None]
            is_left = x.gather(1, element)[:, 0] <= self.threshold[node]
            child = torch.where(is_left, self.left[node], self.right[node])
            out.scatter_add_(1, element, (self.mean[child] - self.mean[node])[:, None])
            node = child
        return out
