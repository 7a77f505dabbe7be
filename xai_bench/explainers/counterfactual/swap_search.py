"""A greedy search among texts in which one token more is another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import counterfactuals
from xai_bench.core.calls import model_outputs
from xai_bench.explainers.counterfactual.search import CounterfactualSearch, explanation_of
from xai_bench.types import Explanation, Inputs, Kind, Model, Rows, Unsupported


class SwapCounterfactuals(CounterfactualSearch):
    """Base of counterfactuals of texts, in which words are swapped one after the other."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "counterfactual"
    needs: ClassVar[tuple[str, ...]] = ("vocabulary",)
    fits_tokens: ClassVar[bool] = True

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """Unknown: whoever has flipped is done."""
        return None


def require_classes(model: Model) -> None:
    """Raise `Unsupported` for a model whose prediction no swap can change."""
    if model.n_outputs < 2:
        raise Unsupported("only a classifier has a prediction that a swap can change")


class SwapSearch(ABC):
    """The state of all samples: `x [B, T]` so far, the `lead [B]` of the class, who is done.

    A subclass proposes swaps; the one with the smallest lead by the model itself is taken.
    """

    def __init__(self, model: Model, inputs: Inputs, targets: Tensor) -> None:
        self.model = model
        self.inputs, self.targets, self.x = inputs, targets, inputs.x.clone()
        everyone = torch.arange(len(inputs))
        self.lead = self._leads(everyone, inputs.x[:, None])[:, 0]
        # A sample that is not in the explained class has nothing to leave.
        self.is_active = self.lead > 0
        self.has_flipped = torch.zeros_like(self.is_active)

    def step(self) -> None:
        """One more swap for every sample that is still in its class."""
        rows = self.is_active.nonzero()[:, 0]
        if not len(rows):
            return
        points, is_swap = self.candidates(rows)
        if not is_swap.any():
            return
        # A place without a word has nothing to swap: no row is spent on it.
        sample, number = is_swap.nonzero(as_tuple=True)
        leads = self.lead.new_full(is_swap.shape, torch.inf)
        leads[is_swap] = self._leads(rows[sample], points[sample, number][:, None])[:, 0]
        least, best = leads.min(1)
        helps = least < self.lead[rows]
        chosen = points[torch.arange(len(rows)), best]
        self.x[rows[helps]], self.lead[rows[helps]] = chosen[helps], least[helps]
        self.has_flipped[rows] = helps & (least < 0)
        self.is_active[rows] = helps & (least >= 0)

    def undo(self) -> None:
        """Put tokens back, from the first to the last, wherever the prediction stays changed."""
        changed = (self.x != self.inputs.x) & self.has_flipped[:, None]
        for place in range(self.x.shape[1]):
            rows = (changed[:, place] & (changed.sum(1) > 1)).nonzero()[:, 0]
            if not len(rows):
                continue
            tried = self.x[rows].clone()
            tried[:, place] = self.inputs.x[rows, place]
            keeps = self._leads(rows, tried[:, None])[:, 0] < 0
            self.x[rows[keeps]] = tried[keeps]
            changed[rows[keeps], place] = False

    def _leads(self, rows: Tensor, points: Tensor) -> Tensor:
        """`points [b, K, T] -> [b, K]`: the class's output less the largest of the others."""
        outputs = model_outputs.outputs_at(self.model, self.inputs.take(rows), points)
        flat = counterfactuals.margin(
            outputs.flatten(0, 1), self.targets[rows].repeat_interleave(points.shape[1]), None
        )
        return flat.view(points.shape[:2])

    def explanation(self, n_steps: int) -> Explanation:
        """What is found in so many steps, without swaps that are not needed."""
        for _ in range(n_steps):
            self.step()
        self.undo()
        points = torch.where(self.has_flipped[:, None], self.x, torch.nan)
        return explanation_of(self.inputs, points[:, None])

    @abstractmethod
    def candidates(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """`rows [b] -> [b, K, T], [b, K]` bool: the texts so far with one more swap each, and which
        of them are to be tried.
        """
