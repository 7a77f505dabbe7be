"""Help with misspelt names."""

from __future__ import annotations

from collections.abc import Iterable

from xai_bench.names import near


def listed(names: Iterable[str], at_most: int = 8) -> str:
    """The names in one line, shortened where there are many."""
    all_names = list(names)
    more = f" and {len(all_names) - at_most} more" if len(all_names) > at_most else ""
    return ", ".join(repr(name) for name in all_names[:at_most]) + more


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """`did you mean ...? ` where something is near, then what there is."""
    known = list(options)
    close = near(name, known)
    hint = f"did you mean {' or '.join(repr(n) for n in close)}? " if close else ""
    return f"{hint}There is {listed(known)}"
