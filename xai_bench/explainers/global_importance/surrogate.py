"""Global surrogates: a simple model learnt from the model's answers, explained in its place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from xai_bench.explainers.global_importance.class_outputs import answers, require_classes
from xai_bench.explainers.global_importance.permutation import require_variation
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows


@dataclass(frozen=True)
class LinearSurrogate:
    """A ridge regression of the target output on the background, one per class: its coefficient
    times the distance from the background's mean, which is the surrogate's Shapley value.

    `ridge` is relative to the variance of an element, after scaling. Lundberg & Lee 2017.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "global_importance"
    paper: ClassVar[str] = "Lundberg & Lee 2017, arXiv:1705.07874 (linear SHAP, on a surrogate)"

    ridge: float = 1e-3
    coefficients: Tensor | None = field(default=None, compare=False, repr=False)

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> LinearSurrogate:
        """Ready to explain; `coefficients` is `[C, *S]`. Takes `N * C` rows."""
        require_variation(background)
        scale = background.domain.scale.double()
        rows = ((background.x - background.x.mean(0)) / scale).flatten(1)
        found = answers(model, background)
        # The dual form: as many equations as rows, of which there are fewer than pixels.
        gram = rows @ rows.T + self.ridge * len(rows) * torch.eye(len(rows), dtype=rows.dtype)
        inverse = torch.linalg.pinv(gram, rtol=1e-12, hermitian=True)
        slopes = (rows.T @ (inverse @ (found - found.mean(0)))).T
        return replace(self, coefficients=slopes.view(-1, *scale.shape) / scale)

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        if self.coefficients is None:
            raise ValueError("a linear surrogate has nothing to tell before fit; call fit first")
        require_classes(targets)
        centred = inputs.x - inputs.domain.background.mean(0)
        credits = self.coefficients[targets] * centred
        return Explanation(torch.where(inputs.units < 0, 0, credits).to(inputs.x.dtype))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)


@dataclass(frozen=True)
class TreeSurrogate:
    """A regression tree of the target output on the background, one per class. On a sample's way
    down, every change of the node's mean is credited to the element that was asked about.

    Attributions add up to the tree's answer minus its mean. Craven & Shavlik 1996; Saabas 2014.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "global_importance"
    paper: ClassVar[str] = "Craven & Shavlik 1996; Saabas 2014"

    max_depth: int = 4
    min_samples_leaf: int = 2
    trees: tuple[_Tree, ...] = field(default=(), compare=False, repr=False)

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> TreeSurrogate:
        """Ready to explain. Takes `N * C` rows."""
        from sklearn.tree import DecisionTreeRegressor

        require_variation(background)
        seed = int(rng.child("tree").integers(2**31 - 1)[0])
        regressor = DecisionTreeRegressor(
            max_depth=self.max_depth, min_samples_leaf=self.min_samples_leaf, random_state=seed
        )
        rows = background.x.flatten(1).numpy()
        found = answers(model, background).numpy()
        return replace(self, trees=tuple(_tree(regressor.fit(rows, a).tree_) for a in found.T))

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        if not self.trees:
            raise ValueError("a tree surrogate has nothing to tell before fit; call fit first")
        require_classes(targets)
        x = inputs.x.flatten(1)
        credits = torch.zeros(x.shape, dtype=torch.float64)
        for k, tree in enumerate(self.trees):
            of_class = targets == k
            credits[of_class] = tree.credits(x[of_class])
        out = credits.view(inputs.x.shape).to(inputs.x.dtype)
        return Explanation(torch.where(inputs.units < 0, 0, out))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)


@dataclass(frozen=True, eq=False)
class _Tree:
    """Nodes of a tree, `[n_nodes]` each. A leaf is its own child on both sides."""

    element: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    mean: Tensor
    depth: int

    def credits(self, x: Tensor) -> Tensor:
        """`[b, D] -> [b, D]`: the changes of the mean, at the elements that caused them."""
        out = torch.zeros(x.shape, dtype=torch.float64)
        node = torch.zeros(len(x), dtype=torch.long)
        for _ in range(self.depth):
            asked = self.element[node][:, None]
            below = x.gather(1, asked)[:, 0] <= self.threshold[node]
            child = torch.where(below, self.left[node], self.right[node])
            out.scatter_add_(1, asked, (self.mean[child] - self.mean[node])[:, None])
            node = child
        return out


def _tree(found: Any) -> _Tree:
    """From the arrays of scikit-learn's `tree_`, where a leaf has children -1 and element -2."""
    itself = torch.arange(found.node_count)
    left, right = torch.tensor(found.children_left), torch.tensor(found.children_right)
    return _Tree(
        element=torch.tensor(found.feature).clamp(min=0),
        threshold=torch.tensor(found.threshold),
        left=torch.where(left < 0, itself, left),
        right=torch.where(right < 0, itself, right),
        mean=torch.tensor(found.value[:, 0, 0]),
        depth=int(found.max_depth),
    )
