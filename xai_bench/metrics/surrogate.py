"""How well a simple model approximates the explained one.

Global surrogates measure the model, not an explainer: every explainer of a cell has the same score,
which shows how simple the model is. They are metrics nevertheless, one number per held-out sample,
so that their means have intervals, are stored with the cell and can be compared across models,
depths and data like everything else. An explainer's own surrogate is measured by the sum of its
attributions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions
from xai_bench.core.calls.model_outputs import outputs
from xai_bench.metrics.common import pooled, total
from xai_bench.metrics.correlation import rounding
from xai_bench.metrics.probes.other_models.surrogates import (
    BackgroundOutputs,
    LinearSurrogate,
    TreeSurrogate,
)
from xai_bench.types import Case, Unsupported


@dataclass(frozen=True)
class GlobalTreeAccuracy:
    """Whether a tree of this depth, fitted to the model on the background, predicts its class.

    1 or 0 per sample, so that the mean is the accuracy.
    """

    category: ClassVar[str] = "surrogate"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Craven & Shavlik 1996 (fidelity)"
    depth: int = 4

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or 1."""
        return _agreement(case, case.measure(TreeSurrogate("outputs", self.depth)))


@dataclass(frozen=True)
class GlobalTreeR2:
    """Share of the variance of the target output that a tree of this depth explains.

    The tree is fitted to the model on the background. Per sample 1 less the squared error, in
    variances of the background: the mean is R2, a single number may be far below 0.
    """

    category: ClassVar[str] = "surrogate"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Craven & Shavlik 1996 (fidelity)"
    depth: int = 4

    def score(self, case: Case) -> Tensor:
        """`[B]`, at most 1."""
        return _explained_share(
            case, _of_target(case, case.measure(TreeSurrogate("target", self.depth)))
        )


@dataclass(frozen=True)
class GlobalLinearAccuracy:
    """Whether a ridge regression, fitted to the model on the background, predicts its class.

    1 or 0 per sample, so that the mean is the accuracy.
    """

    category: ClassVar[str] = "surrogate"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Craven & Shavlik 1996 (fidelity)"

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or 1."""
        return _agreement(case, case.measure(LinearSurrogate("outputs")))


@dataclass(frozen=True)
class GlobalLinearR2:
    """Share of the variance of the target output that a ridge regression explains.

    The regression is fitted to the model on the background; per sample as of the tree.
    """

    category: ClassVar[str] = "surrogate"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Craven & Shavlik 1996 (fidelity)"

    def score(self, case: Case) -> Tensor:
        """`[B]`, at most 1."""
        return _explained_share(case, _of_target(case, case.measure(LinearSurrogate("target"))))


@dataclass(frozen=True)
class OwnSurrogateR2:
    """Share of the variance of the target output that the explainer's own maps explain.

    They are read as a surrogate: the mean output over the background plus the sum of the map. For
    an explainer with a global surrogate this is its R2 on held-out samples; exactly 1 for Shapley
    values against the whole background. Lower for an explainer with another baseline than the
    background, whether its map is right or wrong. Contributions only.
    """

    category: ClassVar[str] = "surrogate"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Craven & Shavlik 1996 (fidelity); Lundberg & Lee 2017"
    scale_invariant: ClassVar[bool] = False

    def score(self, case: Case) -> Tensor:
        """`[B]`, at most 1."""
        if case.kind != "contribution":
            raise Unsupported(f"attributions of kind '{case.kind}' do not add up to an output")
        mean = _of_target(case, case.measure(BackgroundOutputs("target")).mean(0, keepdim=True))
        return _explained_share(case, mean + total(pooled(case)))


def _agreement(case: Case, guess: Tensor) -> Tensor:
    """`[B, C] -> [B]`: 1 where guess and model have the same largest output, else 0."""
    if case.model.n_outputs < 2:
        raise Unsupported("a model of one value predicts no class; use the R2 of the surrogate")
    return (guess.argmax(1) == outputs(case.model, case.inputs).argmax(1)).double()


def _explained_share(case: Case, guess: Tensor) -> Tensor:
    """`[B] -> [B]`: 1 less the squared error of the guess, in variances over the background.

    NaN where the output over the background varies by no more than rounding.
    """
    background = case.measure(BackgroundOutputs("target"))
    # Squared errors of single samples in units of the variance: their mean is R2.
    own = coalitions.values_at(case.model, case.inputs, case.targets, case.inputs.x[:, None])[:, 0]
    spread = _of_target(case, background.amax(0, keepdim=True) - background.amin(0, keepdim=True))
    size = _of_target(case, background.abs().amax(0, keepdim=True))
    variance = _of_target(case, background.var(0, correction=0, keepdim=True))
    varies = spread > rounding(case) * size
    return torch.where(varies, 1 - (guess - own).square() / variance, torch.nan)


def _of_target(case: Case, values: Tensor) -> Tensor:
    """`[B, C]` or `[1, C] -> [B]`: the column of each sample's class."""
    return values.expand(len(case.targets), -1).gather(1, case.targets[:, None])[:, 0]
