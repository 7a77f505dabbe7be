"""Help with misspelt names, the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def near(word: str, options: Iterable[str], n: int = 3) -> list[str]:
    """Those of `options` that `word` may have been meant to be, whatever its case; best first."""
    lowered = {option.lower(): option for option in options}
    close = get_close_matches(word.lower(), list(lowered), n=n, cutoff=0.6)
    return [lowered[name] for name in close]


def suggest(word: str, options: Iterable[str]) -> str:
    """The near misses of `word` among `options`, or else all of them."""
    known = sorted({str(option) for option in options})
    close = near(word, known)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"choose from {', '.join(known)}" if known else "there is none"


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
