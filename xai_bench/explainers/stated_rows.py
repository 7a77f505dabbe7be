"""Closed forms of what an explanation costs, shared by many explainers."""

from __future__ import annotations

from xai_bench.types import Rows


class OneBackwardPass:
    """Base of explainers that send every sample once through the model, and back."""

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row forward and one back."""
        return Rows(1, 1)


class WithoutModel:
    """Base of explainers that ask the model for nothing when they explain."""

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """No row."""
        return Rows(0)


def in_equal_shares(budget: int, n_shares: int) -> int:
    """The rows of a budget that are spent where `n_shares` parts of the work get as many each."""
    return budget // n_shares * n_shares
