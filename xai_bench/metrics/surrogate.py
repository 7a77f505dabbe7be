"""How well a simple model stands for the explained one.

Global surrogates say of the model, not of an explainer: every explainer of a cell has the same
score, which tells how simple the model is. They are metrics all the same, one number per held-out
sample, because so their means have intervals, are stored with the cell and can be compared across
models, depths and data like everything else. An explainer's own surrogate is judged by what its
map adds up to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions
from xai_bench.core.model_outputs import outputs
from xai_bench.metrics.common import pooled, total
from xai_bench.metrics.correlation import rounding
from xai_bench.metrics.probes.other_models.surrogates import (
    BackgroundSays,
    LineSays,
    TreeSays,
)
from xai_bench.types import Case, Unsupported


@dataclass(frozen=True)
class GlobalTreeAccuracy:
    """Whether a tree of this depth, learnt from the model on the background, predicts the model's
    class: 1 or 0 per sample, so that the mean is the accuracy.
    """

    category: ClassVar[str] = "surrogate"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Craven & Shavlik 1996 (fidelity)"
    depth: int = 4

    def score(self, case: Case) -> Tensor:
        return _agreement(case, case.measure(TreeSays("outputs", self.depth)))


@dataclass(frozen=True)
class GlobalTreeR2:
    """Share of the variance of the target output that a tree of this depth explains, learnt from
    the model on the background.

    Per sample 1 less the squared error, in variances of the background: the mean is R2, a single
    number may be far below 0.
    """

    category: ClassVar[str] = "surrogate"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Craven & Shavlik 1996 (fidelity)"
    depth: int = 4

    def score(self, case: Case) -> Tensor:
        return _explained(case, _of_target(case, case.measure(TreeSays("target", self.depth))))


@dataclass(frozen=True)
class GlobalLinearAccuracy:
    """Whether a ridge regression of the outputs, learnt from the model on the background, predicts
    the model's class: 1 or 0 per sample.
    """

    category: ClassVar[str] = "surrogate"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Craven & Shavlik 1996 (fidelity)"

    def score(self, case: Case) -> Tensor:
        return _agreement(case, case.measure(LineSays("outputs")))


@dataclass(frozen=True)
class GlobalLinearR2:
    """Share of the variance of the target output that a ridge regression explains, learnt from the
    model on the background; per sample as of the tree.
    """

    category: ClassVar[str] = "surrogate"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Craven & Shavlik 1996 (fidelity)"

    def score(self, case: Case) -> Tensor:
        return _explained(case, _of_target(case, case.measure(LineSays("target"))))


@dataclass(frozen=True)
class OwnSurrogateR2:
    """Share of the variance of the target output that the explainer's maps explain, read as a
    surrogate: the mean output over the background, and what the map adds up to.

    For an explainer with a global surrogate, its R2 on held-out samples; exactly 1 for Shapley
    values against the whole background. Lower for one whose absence is not the background, be its
    map right or wrong. Contributions only.
    """

    category: ClassVar[str] = "surrogate"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Craven & Shavlik 1996 (fidelity); Lundberg & Lee 2017"
    scale_invariant: ClassVar[bool] = False

    def score(self, case: Case) -> Tensor:
        if case.kind != "contribution":
            raise Unsupported(f"attributions of kind '{case.kind}' do not add up to an output")
        mean = _of_target(case, case.measure(BackgroundSays("target")).mean(0, keepdim=True))
        return _explained(case, mean + total(pooled(case)))


def _agreement(case: Case, guess: Tensor) -> Tensor:
    """`[B, C] -> [B]`."""
    if case.model.n_outputs < 2:
        raise Unsupported("a model of one value predicts no class; use the R2 of the surrogate")
    return (guess.argmax(1) == outputs(case.model, case.inputs).argmax(1)).double()


def _explained(case: Case, guess: Tensor) -> Tensor:
    """`[B] -> [B]`; NaN where the output over the background varies by no more than rounding."""
    found = case.measure(BackgroundSays("target"))
    own = coalitions.values_at(case.model, case.inputs, case.targets, case.inputs.x[:, None])[:, 0]
    spread = _of_target(case, found.amax(0, keepdim=True) - found.amin(0, keepdim=True))
    size = _of_target(case, found.abs().amax(0, keepdim=True))
    variance = _of_target(case, found.var(0, correction=0, keepdim=True))
    varies = spread > rounding(case) * size
    return torch.where(varies, 1 - (guess - own).square() / variance, torch.nan)


def _of_target(case: Case, values: Tensor) -> Tensor:
    """`[B, C]` or `[1, C] -> [B]`: the column of each sample's class."""
    return values.expand(len(case.targets), -1).gather(1, case.targets[:, None])[:, 0]
