"""Words of sentences that a program writes: lists and numbers of things."""

from __future__ import annotations

from collections.abc import Sequence


def listed(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def count(n: int, noun: str) -> str:
    """`1 metric`, `2 metrics`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"
